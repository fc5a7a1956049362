// The route of one prediction through tokens and layers. The slider redraws it here; a click chooses what is explained.
const many = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
const MEETS = "[data-id],[data-part],[data-word],[data-skipped]";

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const { tokens, layers, thresholds, counts, target } = data;
  if (root.routes?.of !== data.of) root.routes = { of: data.of, zoom: 1, left: 1e6, top: 0 }; // the right end: the answer
  const view = Object.assign(root.routes, { at: data.at });
  const float = make("div", "float"), scroller = make("div", "scroller"), output = make("output"), none = make("p", "none");
  float.hidden = true;
  float.setAttribute("aria-live", "polite");
  const names = new Names(root, float, data);
  let place, nodes, lines, here = null, dragged = false;
  const choose = (id) => setTriggerValue("click", id === data.selected ? "" : id);

  function meet(element, event) {
    lines.forEach((line) => line.classList.remove("lit"));
    const { part, id, skipped, word } = element?.dataset ?? {};
    const box = element?.getBoundingClientRect();
    if (part !== undefined) {
      lines[part].classList.add("lit");
      names.show({ left: event.clientX, right: event.clientX, top: event.clientY }, names.ofEdge(place.alive[part], share(place.alive[part], view.at)));
    } else if (id !== undefined) {
      const mlp = id[0] === "m" && place.alive.find((edge) => nameOf(edge) === id);
      names.show(box, names.ofNode(id, mlp ? share(mlp, view.at) : undefined));
    } else if (skipped !== undefined) names.show(box, [make("div", "", `${many(Number(skipped), "token")} not on the route`)]);
    else if (word !== undefined) names.show(box, [make("strong", "mono", names.word(word)), make("div", "muted", `position ${word}`)]);
    else names.hide();
  }

  function redraw() {
    place = placed(data, view.at, view.zoom, root.clientWidth || 900);
    const svg = draw("svg", { width: place.width, height: place.height, role: "application", tabindex: 0 });
    svg.setAttribute("aria-label", `Route of the prediction at ${names.word(target)}. Arrow keys go from state to state, Enter explains.`);
    const edges = edgesOf(place, view.at, data.selected), states = nodesOf(place, view.at, data);
    [lines, nodes] = [edges.lines, states.nodes];
    const marks = marksOf(place, data), words = wordsOf(place, data), side = namesOf(place, data);
    svg.append(guidesOf(place), edges.layer, edges.hits, states.group, side.names, words, marks, side.corners);
    svg.onpointerover = (event) => meet(event.target.closest(MEETS), event);
    svg.onpointerleave = () => meet(null);
    svg.onclick = (event) => {
      const id = event.target.closest("[data-id]")?.dataset.id;
      if (id && !dragged) choose(id);
    };
    svg.onkeydown = (event) => step(event, svg);
    scroller.replaceChildren(svg);
    scroller.onscroll = () => {
      [view.left, view.top] = [scroller.scrollLeft, scroller.scrollTop];
      const up = Math.min(0, view.top + scroller.clientHeight - place.height);
      side.names.setAttribute("transform", `translate(${view.left},0)`);
      marks.setAttribute("transform", `translate(0,${view.top})`);
      words.setAttribute("transform", `translate(0,${up})`);
      side.corners.querySelectorAll(".above").forEach((part) => part.setAttribute("transform", `translate(${view.left},${view.top})`));
      side.corners.querySelectorAll(".below").forEach((part) => part.setAttribute("transform", `translate(${view.left},${up})`));
    };
    [scroller.scrollLeft, scroller.scrollTop] = [view.left, view.top];
    scroller.onscroll();
    const kept = counts[view.at], shown = place.alive.length;
    output.textContent = `${thresholds[view.at]} · ${many(kept, "edge")} kept${shown < kept ? `, the strongest ${shown.toLocaleString("en")} drawn` : ""}`;
    none.hidden = kept > 0;
    none.textContent = `No part of this prediction contributes more than ${thresholds[view.at]}: no edge is left. Choose a smaller threshold.`;
    Object.assign(root.dataset, { kept, drawn: shown, at: thresholds[view.at] });
  }

  function step(event, svg) {
    const id = here ?? (nodes.has(data.selected) ? data.selected : `s${layers}.${target}`);
    if (event.key === "Enter" || event.key === " ") { choose(id); event.preventDefault(); return; }
    const [dx, dy] = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key] ?? [0, 0];
    if (!dx && !dy) return;
    event.preventDefault();
    const [x, y] = nodes.get(id);
    const far = ([u, v]) => {
      const [along, off] = dx ? [(u - x) * dx, Math.abs(v - y)] : [(v - y) * dy, Math.abs(u - x)];
      return along > 1 ? along + 30 * off : Infinity;
    };
    const [distance, name] = [...nodes].map(([other, spot]) => [far(spot), other]).sort(([a], [b]) => a - b)[0];
    if (distance === Infinity) return;
    here = name;
    svg.querySelectorAll(".here").forEach((grip) => grip.classList.remove("here"));
    const grip = svg.querySelector(`.grip[data-id="${here}"]`);
    grip.classList.add("here");
    grip.scrollIntoView({ block: "nearest", inline: "nearest" });
    meet(grip);
  }

  function zoomed(factor) {
    const across = (scroller.scrollLeft + scroller.clientWidth / 2) / place.width, down = (scroller.scrollTop + scroller.clientHeight / 2) / place.height;
    view.zoom = factor ? Math.max(0.4, Math.min(6, view.zoom * factor)) : 1;
    redraw();
    scroller.scrollLeft = across * place.width - scroller.clientWidth / 2;
    scroller.scrollTop = down * place.height - scroller.clientHeight / 2;
  }

  function drag(event) {
    dragged = false;
    if (event.button || event.target.closest("[data-id]")) return;
    const [x, y, left, top] = [event.clientX, event.clientY, scroller.scrollLeft, scroller.scrollTop];
    scroller.onpointermove = (moved) => {
      dragged ||= Math.hypot(moved.clientX - x, moved.clientY - y) > 4;
      [scroller.scrollLeft, scroller.scrollTop] = [left + x - moved.clientX, top + y - moved.clientY];
    };
    scroller.onpointerup = scroller.onpointerleave = () => { scroller.onpointermove = null; };
  }

  const bar = make("div", "bar"), label = make("label", "slider"), input = make("input"), buttons = make("div", "buttons");
  input.type = "range";
  Object.assign(input, { min: 0, max: thresholds.length - 1, value: view.at });
  input.setAttribute("aria-label", "Threshold");
  let drawing = 0; // many steps of a quick hand are one drawing
  input.oninput = () => {
    [view.at, here] = [Number(input.value), null];
    cancelAnimationFrame(drawing);
    drawing = requestAnimationFrame(redraw);
  };
  input.onchange = () => setTriggerValue("threshold", thresholds[Number(input.value)]);
  label.title = "Parts whose share is at most this are left out";
  label.append("Threshold", input, output);
  const button = (text, title, act) => {
    const one = make("button", "plain-button", text);
    one.title = title;
    one.setAttribute("aria-label", title);
    one.onclick = act;
    buttons.append(one);
  };
  button("−", "Zoom out", () => zoomed(1 / 1.3));
  button("+", "Zoom in", () => zoomed(1.3));
  button("Fit", "Fit to the width", () => zoomed(0));
  button("Full screen", "Full screen", () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen()));
  bar.append(label, buttons);
  scroller.onwheel = (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoomed(event.deltaY < 0 ? 1.15 : 1 / 1.15);
  };
  scroller.onpointerdown = drag;
  const legend = make("div", "legend muted");
  const meanings = [["line", "attention"], ["line own", "to itself"], ["line stays", "stays in the stream"]];
  if (data.edges.some(([kind]) => kind === MLP)) meanings.push(["square", "MLP"]);
  meanings.push(["circle", "state of the stream"], ["mark", "the traced prediction"]);
  meanings.forEach(([kind, text]) => {
    const one = make("span");
    one.append(make("i", kind), text);
    legend.append(one);
  });
  root.replaceChildren(bar, none, scroller, legend, float);
  redraw();
  root.dataset.ready = `${layers}.${tokens.length}.${target}`;
}
