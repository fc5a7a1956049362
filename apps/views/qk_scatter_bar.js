// Around the picture: the tools, the choices, the legend, and how many points there are.
const TOOLS = {
  turn: ["Turn", "Drag to turn the cloud"],
  lasso: ["Lasso", "Drag around points to select them; with Shift, a box"],
  box: ["Box", "Drag a box to select"],
  move: ["Move", "Drag to move the picture; the wheel zooms"],
};
const SHOW = [["both", "both"], ["queries", "● queries"], ["keys", "▲ keys"]];
const labelled = (label, node, name) => {
  const line = make("label", "field");
  node.setAttribute("aria-label", name);
  line.append(make("span", "", label), node);
  return line;
};
const ticked = (label, title, act) => {
  const line = make("label", "field tick"), box = make("input");
  box.type = "checkbox";
  box.onchange = () => act(box.checked);
  line.title = title;
  line.append(box, label);
  return [line, box];
};
const press = (text, title, act) => {
  const node = make("button", "press", text);
  node.title = title;
  node.onclick = act;
  return node;
};

/** The bar above the picture, and how to bring it up to date. */
function barOf(plot, version, frequent) {
  const { view, points } = plot, bar = make("div", "bar"), tools = make("div", "tools");
  tools.setAttribute("role", "group");
  tools.setAttribute("aria-label", "What dragging does");
  Object.entries(TOOLS).filter(([name]) => plot.solid || name !== "turn").forEach(([name, [text, title]]) => {
    const node = press(text, title, () => { plot.tool = name; update(); });
    node.dataset.tool = name;
    tools.append(node);
  });
  const colour = make("select"), modulo = make("input"), kinds = make("select"), find = make("input"), list = make("datalist");
  points.colourings.forEach(({ name }) => colour.append(new Option(name, name)));
  colour.onchange = () => plot.change({ colour: colour.value });
  Object.assign(modulo, { type: "number", min: 2, max: 100, step: 1 });
  modulo.onchange = () => { if (modulo.value && modulo.checkValidity()) plot.change({ modulo: Number(modulo.value) }); };
  const moduloLine = labelled("n", modulo, "Positions modulo");
  SHOW.forEach(([value, text]) => kinds.append(new Option(text, value)));
  kinds.onchange = () => plot.change({ show: kinds.value });
  const [sizeLine, size] = ticked("Size by value norm", "How much the head would add to the stream for attending to the point", (on) => plot.change({ size: on }));
  sizeLine.hidden = !points.sizes;
  list.id = `words-${version}`;
  Object.assign(find, { type: "search", placeholder: plot.content.hint });
  find.setAttribute("list", list.id);
  frequent.forEach((word) => list.append(new Option(word)));
  let typing = 0;
  find.oninput = () => {
    clearTimeout(typing);
    view.find = find.value;
    plot.turn++; // what the server still has to say is about an earlier text
    plot.refresh();
    typing = setTimeout(() => plot.tell(), 600);
  };
  find.onchange = () => {
    clearTimeout(typing);
    plot.tell();
  };
  const [exactLine, exact] = ticked("whole", "Only tokens that are the text, not those that hold it", (on) => plot.change({ exact: on }));
  const search = make("span", "search");
  search.append(labelled("Find", find, "Find a token"), exactLine, list);
  const isolate = press("Isolate", "Show the lit points alone, where they are", () => plot.change({ isolated: [...view.isolated, ...plot.regions], selected: "", find: "" }));
  const undo = press("Undo", "Take back the last selection or isolation", () => plot.undo());
  const clear = press("Clear", "Select nothing and show all points", () => plot.change({ selected: "", isolated: [], find: "" }));
  const fit = press("Fit", "Show the whole cloud again", () => { Object.assign(plot.camera, plot.home); plot.look(); });
  bar.append(tools, labelled("Colour", colour, "Colour by"), moduloLine, labelled("Show", kinds, "Points shown"), sizeLine, search, isolate, undo, clear, fit);
  function update() {
    const { lit, litCount, shownCount } = plot;
    tools.querySelectorAll("button").forEach((node) => node.setAttribute("aria-pressed", String(node.dataset.tool === plot.tool)));
    plot.root.querySelector("canvas.over").dataset.tool = plot.tool;
    [colour.value, kinds.value, modulo.value] = [view.colour, view.show, view.modulo];
    moduloLine.hidden = view.colour !== "position mod";
    if (plot.root.getRootNode().activeElement !== find) find.value = view.find;
    [size.checked, exact.checked, exact.disabled] = [view.size, view.exact, !view.find];
    isolate.disabled = !lit || !litCount || litCount === shownCount;
    undo.disabled = !plot.past.length && !view.isolated.length && !view.selected;
    clear.disabled = !view.selected && !view.isolated.length && !view.find;
  }
  return [bar, update];
}

/** The legend below the picture; an entry lights its points, and a click selects them. */
function legendOf(plot) {
  const { colouring: one, colours, view } = plot, { items = [], bar, low, high, note } = one.legend;
  const entries = make("div", "legend"), kinds = one.name === "query or key";
  if (!kinds) entries.append(make("span", "shapes muted", "● query  ▲ key"));
  if (bar) {
    const ramp = make("span", "ramp");
    ramp.style.background = `linear-gradient(to right, ${colours.slice(0, bar.length).join(", ")})`;
    entries.append(make("span", "muted", one.name), make("span", "mono", low), ramp, make("span", "mono", high));
    if (note) entries.append(make("span", "muted", note));
  }
  items.forEach(({ text, count }, i) => {
    const index = (bar?.length ?? 0) + i, region = `K${index}.${encodeURIComponent(one.name)}`;
    const entry = make("button", "plain entry"), swatch = make("i", kinds ? "shape" : "", kinds ? (index ? "▲" : "●") : "");
    swatch.style[kinds ? "color" : "backgroundColor"] = colours[index];
    entry.append(swatch, text, make("span", "muted count", many(count)));
    entry.title = "Select these points";
    entry.setAttribute("aria-pressed", String(view.selected === region));
    entry.onpointerenter = () => { plot.glance = region; plot.refresh(); };
    entry.onpointerleave = () => { if (plot.glance) { plot.glance = null; plot.refresh(); } };
    entry.onclick = () => { plot.glance = null; plot.change({ selected: view.selected === region ? "" : region }); };
    entries.append(entry);
  });
  return entries;
}

/** How many points are shown and lit, in words. */
function statusOf({ count, shownCount, litCount, lit, view }, missing) {
  const shown = shownCount < count - missing ? `${many(shownCount)} of ${many(count)} points shown` : `${many(shownCount)} points`;
  const chosen = lit ? `, ${many(litCount)} ${view.find && !view.selected ? "found" : "selected"}` : "";
  return `${shown}${chosen}${missing ? `; ${many(missing)} have no place` : ""}.`;
}
