// A circuit that one can look around in: hover names and fades the rest, a click pins, arrows walk, zoom and pan.
// The files circuit_graph_places.js and circuit_graph_picture.js stand above.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const show = () => graph(root, data, (value) => setTriggerValue("pin", value));
  show();
  root.watch?.disconnect();
  let width = root.clientWidth;
  root.watch = new ResizeObserver(() => {
    if (Math.abs(root.clientWidth - width) > 24) { width = root.clientWidth; show(); }
  });
  root.watch.observe(root);
}

function graph(root, data, pin) {
  const { marks, edges, kinds, pinned, sides, parts, unit } = data, room = root.clientWidth || 900;
  const whole = root.matches(":fullscreen");
  const plan = places(data, room, whole ? window.innerHeight - 220 : 640), { frame } = plan, { scene, paths, hits, nodes } = picture(data, plan);
  const focused = root.contains(root.getRootNode().activeElement) ? root.getRootNode().activeElement?.dataset?.node : null;
  const tall = whole ? window.innerHeight - 100 : Math.max(240, Math.min(780, frame.height * Math.min(1.15, room / frame.width)));
  const svg = draw("svg", { width: room, height: tall, role: "group", "aria-label": "Circuit: arrows walk from mark to mark, Enter pins", tabindex: 0 });
  const float = make("div", "float");
  float.hidden = true;
  svg.append(scene);

  // What is near to what.
  const incident = marks.map(() => []);
  edges.forEach(([from, to], i) => { incident[from].push(i); if (to !== from) incident[to].push(i); });
  // A head is touched by the keys and values that it shares, too.
  const near = marks.map((mark, i) => mark.kind !== "head" ? incident[i] : [...incident[i], ...marks.flatMap((keys, j) => (
    keys.kind === "kv" && keys.layer === mark.layer && Math.abs(keys.column - mark.column) < keys.span / 2 ? incident[j] : []
  ))]);
  const called = (i) => (marks[i].label ? `${marks[i].label} (${marks[i].name})` : marks[i].name);
  const into = (kind) => (kind < 3 ? ` ${kinds[kind]}` : "");
  const title = ([from, to, kind]) => `${called(from)} → ${called(to)}${into(kind)}`;
  const row = (text, value) => {
    const line = make("tr");
    line.append(make("td", "", text), make("td", "num", value));
    return line;
  };

  const held = new Set(pinned.map((name) => marks.findIndex((mark) => mark.name === name)).filter((i) => i >= 0));
  function light(some) {
    const lit = some ?? (held.size ? new Set([...held].flatMap((i) => near[i])) : null);
    const ends = lit && new Set([...lit].flatMap((i) => edges[i].slice(0, 2)));
    paths.forEach((path, i) => path.classList.toggle("faded", Boolean(lit && !lit.has(i))));
    nodes.forEach((node, i) => node.classList.toggle("faded", Boolean(lit && !ends.has(i) && !held.has(i) && node !== svg.getRootNode().activeElement)));
  }
  function tell(box, ...lines) {
    float.replaceChildren(...lines);
    float.hidden = false;
    const home = root.getBoundingClientRect(), beside = box.right - home.left + 10;
    const start = beside + float.offsetWidth < home.width ? beside : box.left - home.left - float.offsetWidth - 10;
    float.style.left = `${Math.max(0, start)}px`;
    float.style.top = `${Math.max(0, Math.min(box.top - home.top, root.clientHeight - float.offsetHeight))}px`;
  }
  const quiet = () => { float.hidden = true; light(null); };

  function tellMark(i) {
    light(new Set(near[i]));
    const table = make("table"), ranked = [...near[i]].sort((a, b) => Math.abs(edges[b][3]) - Math.abs(edges[a][3]));
    ranked.slice(0, 8).forEach((j) => {
      const [from, to, kind, score] = edges[j];
      table.append(row(from === i ? `→ ${called(to)}${into(kind)}` : `← ${called(from)}${into(kind) && `, as${into(kind)}`}`, signed(score)));
    });
    const going = near[i].filter((j) => edges[j][0] === i).length;
    tell(
      nodes[i].querySelector(".shape").getBoundingClientRect(),
      make("strong", "mono", called(i)),
      make("div", "muted", `${near[i].length - going} in, ${going} out${ranked.length > 8 ? "; the strongest:" : ""}`),
      table,
      make("div", "muted", held.has(i) ? "pinned; a click lets it go" : "click to pin, with Shift to add to the pinned"),
    );
  }
  function tellEdge(i, event) {
    light(new Set([i]));
    const [, , , score, side] = edges[i], table = make("table");
    (parts[i] ?? []).forEach(([name, value]) => table.append(row(name, value === null ? "" : signed(value))));
    tell(
      { left: event.clientX, right: event.clientX, top: event.clientY },
      make("strong", "mono", title(edges[i])),
      make("div", "", `${signed(score)} ${unit}${score < 0 ? " (works against the answer)" : ""}`),
      ...(sides ? [make("div", "muted", sides[side])] : []),
      ...(parts[i] ? [table] : []),
    );
  }

  hits.forEach((hit, i) => {
    hit.dataset.hit = "";
    hit.onpointerenter = (event) => tellEdge(i, event);
    hit.onpointerleave = quiet;
  });
  const choose = (i, more) => pin({ node: marks[i].name, more: Boolean(more) });
  nodes.forEach((node, i) => {
    const going = near[i].filter((j) => edges[j][0] === i).length;
    node.setAttribute("aria-label", `${called(i)}: ${near[i].length - going} edges in, ${going} out`);
    node.setAttribute("aria-pressed", String(held.has(i)));
    node.classList.toggle("pinned", held.has(i));
    node.onpointerenter = () => tellMark(i);
    node.onpointerleave = quiet;
    node.onfocus = () => { if (node.matches(":focus-visible")) tellMark(i); };
    node.onblur = quiet;
    node.onclick = (event) => { if (!moved) choose(i, event.shiftKey || event.ctrlKey || event.metaKey); };
    node.onkeydown = (event) => {
      if (event.key === "Enter" || event.key === " ") choose(i, event.shiftKey);
      else if (event.key.startsWith("Arrow")) walk(i, event.key);
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
  });
  function walk(i, key) {
    const here = plan.at[i], flat = key === "ArrowLeft" || key === "ArrowRight", sign = key === "ArrowRight" || key === "ArrowDown" ? 1 : -1;
    let best = -1, least = Infinity;
    plan.at.forEach((there, j) => {
      const across = there.x - here.x, down = there.y - here.y, ahead = sign * (flat ? across : down), off = Math.abs(flat ? down : across);
      if (j === i || ahead < 2) return;
      const far = ahead + (flat ? 6 : 0.4) * off;
      if (far < least) [best, least] = [j, far];
    });
    if (best >= 0) nodes[best].focus();
  }
  const first = held.size ? [...held][0] : marks.findIndex((mark) => mark.kind === "logits");
  if (nodes.length) nodes[Math.max(0, first)].setAttribute("tabindex", 0);

  // Zoom and pan. What the reader has set stays while the circuit changes.
  const fit = Math.min(room / frame.width, tall / frame.height, 1.15);
  const fitted = () => ({ k: fit, x: (room - frame.width * fit) / 2 - frame.x * fit, y: (tall - frame.height * fit) / 2 - frame.y * fit });
  const view = root.circuitView?.touched && root.circuitView.room === room ? root.circuitView : { ...fitted(), room, touched: false };
  root.circuitView = view;
  const place = () => scene.setAttribute("transform", `translate(${view.x},${view.y}) scale(${view.k})`);
  const zoom = (by, x = room / 2, y = tall / 2) => {
    const k = Math.max(fit * 0.5, Math.min(8, view.k * by)), part = k / view.k;
    Object.assign(view, { k, x: x - (x - view.x) * part, y: y - (y - view.y) * part, touched: true });
    place();
  };
  const reset = () => { Object.assign(view, fitted(), { touched: false }); place(); };
  place();
  svg.onwheel = (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const box = svg.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY * 0.004), event.clientX - box.left, event.clientY - box.top);
  };
  let hold = null, moved = false;
  svg.onpointerdown = (event) => { hold = [event.clientX, event.clientY, view.x, view.y]; moved = false; };
  svg.onpointermove = (event) => {
    if (!hold || !event.buttons) { hold = null; return; }
    const [dx, dy] = [event.clientX - hold[0], event.clientY - hold[1]];
    if (!moved && Math.hypot(dx, dy) < 4) return;
    if (!moved) svg.setPointerCapture(event.pointerId);
    moved = true;
    Object.assign(view, { x: hold[2] + dx, y: hold[3] + dy, touched: true });
    place();
  };
  svg.onpointerup = () => { hold = null; setTimeout(() => { moved = false; }); };
  svg.onkeydown = (event) => {
    const pans = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
    if (event.key === "+" || event.key === "=") zoom(1.3);
    else if (event.key === "-") zoom(1 / 1.3);
    else if (event.key === "0") reset();
    else if (event.key === "Escape") { if (held.size) pin({ node: "", more: false }); quiet(); }
    else if (event.target === svg && pans[event.key]) { view.x += pans[event.key][0]; view.y += pans[event.key][1]; view.touched = true; place(); }
    else return;
    event.preventDefault();
  };

  // Buttons and the legend.
  const bar = make("div", "bar"), button = (text, label, act) => {
    const one = make("button", "tool", text);
    one.setAttribute("aria-label", label);
    one.title = label;
    one.onclick = act;
    bar.append(one);
  };
  button("−", "Zoom out", () => zoom(1 / 1.3));
  button("+", "Zoom in (Ctrl and wheel)", () => zoom(1.3));
  button("Fit", "See the whole circuit", reset);
  button("SVG", "Save this drawing as SVG", () => {
    quiet();
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([standalone(svg, frame)], { type: "image/svg+xml" }));
    link.download = `${data.name}.svg`;
    root.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  button(whole ? "Leave" : "Full screen", whole ? "Leave full screen" : "Full screen", () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen()));
  const legend = make("div", "legend muted");
  const swatch = (className, text) => { const item = make("span"); item.append(make("i", className), text); legend.append(item); };
  if (sides) sides.forEach((text, i) => { if (edges.some((edge) => edge[4] === i)) swatch(`side${i}`, text); });
  else kinds.forEach((text, i) => { if (edges.some((edge) => edge[2] === i)) swatch(LINES[i], `into ${i < 3 ? text : ["an MLP", "the logits", "a head"][i - 3]}`); });
  swatch("wide", "wider: larger score");
  if (edges.some((edge) => edge[3] < 0)) swatch("dashed", "dashed: works against the answer");
  bar.append(legend);
  root.replaceChildren(bar, svg, float);
  light(null);
  if (focused) nodes[marks.findIndex((mark) => mark.name === focused)]?.focus();
  root.dataset.edges = String(edges.length);
  root.dataset.marks = String(marks.length);
}
