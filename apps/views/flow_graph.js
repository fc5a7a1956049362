// The layered graph of tokens: edges as wide as what they carry. Clicking a node explains it; clicking the input picks a source.
const said = (value) => (value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toFixed(3));
const brief = (value) => (value >= 0.995 ? value.toFixed(1) : value >= 0.005 ? value.toFixed(2).slice(1) : value > 0 ? "<.01" : "0");
const percent = (value) => (value > 0 && value < 0.005 ? "<1%" : `${Math.round(value * 100)}%`);

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const { tokens, breaks, first, levels, edges, numbers, shares, target, source, thin, scale, what } = data;
  const room = root.clientWidth || 900;
  const left = 30 + 6.4 * Math.max(8, ...levels.map((name) => name.length)), gap = breaks.length ? 26 : 0;
  const across = Math.max(26, Math.min(120, (room - left - 50 - gap * breaks.length) / tokens.length));
  const up = Math.max(16, Math.min(48, 460 / Math.max(1, levels.length - 1)));
  const top = 18, floor = top + up * (levels.length - 1);
  const x = (node) => left + across * (node - first + 0.5) + gap * breaks.filter((at) => node >= at).length;
  const y = (level) => floor - up * level;
  const width = x(first + tokens.length - 1) + across / 2 + 50, under = floor + (shares ? 46 : 32);
  const longest = Math.max(...tokens.map((token) => token.text.length));
  const height = under + 22 + longest * 7.3 * 0.71;
  const svg = draw("svg", { width, height, role: "group", "aria-label": "Graph of tokens" });
  const float = make("div", "float");
  float.hidden = true;
  const token = (node) => tokens[node - first]?.whole ?? `position ${node}`;
  const levelName = (level) => (level ? `after ${levels[level]}` : "input");

  function show(box, lines) {
    float.replaceChildren(...lines);
    float.hidden = false;
    const home = root.getBoundingClientRect();
    const beside = box.right - home.left + 8;
    const start = beside + float.offsetWidth < home.width ? beside : box.left - home.left - float.offsetWidth - 8;
    float.style.left = `${Math.max(0, start)}px`;
    float.style.top = `${Math.max(0, Math.min(box.top - home.top + root.scrollTop, root.scrollHeight - float.offsetHeight))}px`;
  }

  // Edges: thin ones first, so that wide ones lie on top.
  const layer = draw("g", {});
  const drawn = [...edges].reverse().map(([step, query, key, value]) => {
    const [x1, y1, x2, y2] = [x(query), y(step + 1), x(key), y(step)];
    const bend = (y2 - y1) * 0.45;
    const path = draw("path", {
      d: `M${x1},${y1}C${x1},${y1 + bend} ${x2},${y2 - bend} ${x2},${y2}`,
      class: query === key ? "edge own" : "edge",
      "stroke-width": (0.5 + 9 * Math.min(1, value)).toFixed(2),
      "stroke-opacity": (0.25 + 0.65 * Math.min(1, Math.sqrt(value) * 1.3)).toFixed(2),
    });
    path.onpointerenter = (event) => show(
      { left: event.clientX, right: event.clientX, top: event.clientY },
      [make("strong", "mono", `${token(query)} ← ${token(key)}`), make("div", "muted", `in ${levels[step + 1]}`), make("div", "", `${what}: ${said(value)}`)],
    );
    path.onpointerleave = () => { float.hidden = true; };
    layer.append(path);
    return [path, value];
  });
  svg.append(layer);

  // Nodes: what reaches them decides whether they are filled.
  const carried = new Map([[`${target[0]}.${target[1]}`, 1]]);
  edges.forEach(([step, , key, value]) => carried.set(`${step}.${key}`, (carried.get(`${step}.${key}`) ?? 0) + value));
  levels.forEach((name, level) => tokens.forEach((_, i) => {
    const node = first + i, id = `${level}.${node}`, through = carried.get(id) ?? 0;
    const isTarget = level === target[0] && node === target[1], isSource = level === 0 && node === source;
    const group = draw("g", { class: "node", tabindex: level === 0 || isTarget ? 0 : -1, role: "button" });
    group.setAttribute("aria-label", level ? `explain ${token(node)} ${levelName(level)}` : `flow to ${token(node)}`);
    group.setAttribute("aria-pressed", String(isTarget || isSource));
    group.dataset.node = id;
    group.classList.toggle("target", isTarget);
    group.classList.toggle("source", isSource);
    group.classList.toggle("idle", level > target[0]);
    group.classList.toggle("full", through > 0.001);
    group.append(
      draw("rect", { class: "hit", x: x(node) - across / 2, y: y(level) - up / 2, width: across, height: up }),
      draw("circle", { class: "dot", cx: x(node), cy: y(level), r: isTarget || isSource ? 6 : 2 + 3 * Math.sqrt(Math.min(1, through)) }),
    );
    group.onclick = () => setTriggerValue("click", id);
    group.onkeydown = (event) => {
      if (event.key === "Enter" || event.key === " ") { setTriggerValue("click", id); event.preventDefault(); }
    };
    group.onpointerenter = () => show(group.querySelector(".dot").getBoundingClientRect(), [
      make("strong", "mono", token(node)),
      make("div", "muted", `position ${node}, ${levelName(level)}`),
      ...(level < target[0] && through > 0 ? [make("div", "", `${what} on the edges from above: ${said(through)}`)] : []),
      ...(level === 0 ? [make("div", "", `${what}: ${said(numbers[i])}${shares ? `, ${percent(shares[i])} of all` : ""}`)] : []),
      make("div", "muted", level ? "click to explain this node" : "click to see the flow to this source"),
    ]);
    group.onpointerleave = () => { float.hidden = true; };
    svg.append(group);
  }));

  // Below the input: numbers, bars, words.
  const most = Math.max(...numbers, 1e-9);
  tokens.forEach(({ text }, i) => {
    const at = x(first + i), picked = first + i === source ? " picked" : "";
    const wide = Math.max(1, (across - 8) * numbers[i] / most);
    svg.append(
      draw("rect", { class: `bar${picked}`, x: at - wide / 2, y: floor + 9, width: numbers[i] > 0 ? wide : 0, height: 4 }),
      draw("text", { class: `number${picked}`, x: at, y: floor + 27, "text-anchor": "middle" }, brief(numbers[i])),
    );
    if (shares) svg.append(draw("text", { class: `share${picked}`, x: at, y: floor + 41, "text-anchor": "middle" }, percent(shares[i])));
    const word = draw("text", { class: `word${picked}`, transform: `translate(${at - 5},${under + 10}) rotate(45)` }, text);
    word.append(draw("title", {}, `${token(first + i)}, position ${first + i}`));
    svg.append(word);
  });

  // Names of the levels, carried along when the graph is scrolled sideways.
  const names = draw("g", { class: "names" });
  names.append(draw("rect", { x: 0, y: 0, width: left - 12, height }));
  const every = Math.ceil(15 / up);
  levels.forEach((name, level) => {
    if (level % every && level !== levels.length - 1 && level !== target[0]) return;
    const mark = level === target[0] ? " picked" : "";
    names.append(draw("text", { class: `level${mark}`, x: left - 18, y: y(level) + 4, "text-anchor": "end" }, name));
  });
  names.append(draw("text", { class: "level", x: left - 18, y: floor + 27, "text-anchor": "end" }, "reaches it"));
  if (shares) names.append(draw("text", { class: "level", x: left - 18, y: floor + 41, "text-anchor": "end" }, "share"));
  svg.append(names);

  const slider = make("label", "slider"), input = make("input"), output = make("output");
  input.type = "range";
  input.min = 0;
  input.max = scale.length - 1;
  input.setAttribute("aria-label", "Leave out edges thinner than");
  const prune = (at) => {
    let kept = 0;
    drawn.forEach(([path, value]) => {
      const stays = value >= scale[at];
      path.style.display = stays ? "" : "none";
      kept += stays;
    });
    output.textContent = `${scale[at]} · ${kept.toLocaleString("en")} of ${edges.length.toLocaleString("en")} edges drawn`;
    root.dataset.kept = String(kept);
  };
  input.oninput = () => prune(Number(input.value));
  input.onchange = () => setTriggerValue("thin", scale[Number(input.value)]);
  input.value = thin;
  slider.append("Leave out edges thinner than", input, output);
  prune(thin);

  const legend = make("div", "legend muted");
  legend.append(make("i"), "from another token", make("i", "own"), "the token’s own", make("i", "dot"), "explained, and the chosen source");
  const full = make("button", "corner", "Full screen");
  full.onclick = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());
  const old = root.querySelector(".scroller");
  const scroller = make("div", "scroller");
  scroller.append(svg);
  const place = old ? [old.scrollLeft, old.scrollTop] : [1e6, 0]; // at first the right end: the answer
  root.replaceChildren(slider, scroller, legend, float, full);
  scroller.onscroll = () => names.setAttribute("transform", `translate(${scroller.scrollLeft},0)`);
  [scroller.scrollLeft, scroller.scrollTop] = place;
  scroller.onscroll();
  root.dataset.ready = `${levels.length}.${tokens.length}`;
}
