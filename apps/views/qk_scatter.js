// One head's queries and keys as points: hover, lasso, isolate, colour and turn them. All of that happens here at once;
// the server is told afterwards, for the address and for what it shows beside.
const make = (tag, className, text) => {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const said = (value) => (Number.isNaN(value) ? "undefined" : String(Number(value.toPrecision(3))).replace("-", "−"));
const many = (n) => n.toLocaleString("en");
const LABELS = 250; // points up to which tokens are written beside them
const FIRST = { colour: "", modulo: 5, show: "both", size: false, find: "", exact: false, point: null, selected: "", isolated: [] };

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  if (root.scatter?.version !== data.version) {
    root.scatter?.end();
    root.scatter = scatter(root, data, root.scatter);
  }
  root.scatter.report = (view) => setTriggerValue("view", view); // of this drawing: an earlier one is no longer listened to
  root.scatter.take(data.view);
  root.dataset.ready = data.version;
}

function scatter(root, { version, content }, before) {
  const points = pointsOf(content), { count, dims } = points;
  const view = { ...FIRST }, past = [];
  let turn = 0, told = -1;
  const camera = { zoom: 1, x: 0, y: 0, yaw: dims === 3 ? -300 : 0, pitch: dims === 3 ? 200 : 0 };
  const home = { ...camera }, same = before?.name === content.name; // other colours of the same points: look from the same place
  if (same) Object.assign(camera, before.camera);
  const at = flat(count), sx = new Float64Array(count), sy = new Float64Array(count);
  const ink = { x: new Float64Array(count), y: new Float64Array(count), radius: new Float32Array(count), triangle: new Uint8Array(count), colour: new Uint32Array(count), alpha: new Float32Array(count) };
  for (let i = points.queries; i < count; i++) ink.triangle[i] = 1;
  const fixed = shuffled(count);
  let shown = points.placed, lit = null, shownCount = count, litCount = count, near = null, glance = null;
  let width = 0, height = 0, scale = 1, hovered = -1, tool = same ? before.tool() : dims === 3 ? "turn" : "lasso", drag = null, asked = false;
  const self = { version, name: content.name, camera, tool: () => tool };

  // What stands around the picture.
  const bar = make("div", "bar"), stage = make("div", "stage"), under = make("div", "under"), status = make("div", "status muted");
  const base = make("canvas"), over = make("canvas", "over"), float = make("div", "float"), hint = make("div", "hint muted");
  status.setAttribute("role", "status");
  over.tabIndex = 0;
  over.setAttribute("role", "application");
  over.setAttribute("aria-roledescription", "scatter plot");
  over.setAttribute("aria-label", `${many(points.queries)} queries and ${many(count - points.queries)} keys. Arrow keys go from point to point, Enter chooses, plus and minus zoom, Shift with arrows ${dims === 3 ? "turns" : "moves"}, 0 fits, Escape clears.`);
  float.hidden = true;
  stage.append(base, over, hint, float);
  const field = (label, node) => { const line = make("label", "field"); line.append(make("span", "", label), node); return line; };
  const press = (text, title, act) => { const node = make("button", "press", text); node.title = title; node.onclick = act; return node; };
  const tools = make("div", "tools");
  tools.setAttribute("role", "group");
  tools.setAttribute("aria-label", "What dragging does");
  const names = { turn: ["Turn", "Drag to turn the cloud"], lasso: ["Lasso", "Drag around points to select them; with Shift, a box"], box: ["Box", "Drag a box to select"], move: ["Move", "Drag to move the picture; the wheel zooms"] };
  Object.entries(names).filter(([name]) => dims === 3 || name !== "turn").forEach(([name, [text, title]]) => {
    const node = press(text, title, () => { tool = name; marked(); });
    node.dataset.tool = name;
    tools.append(node);
  });
  const marked = () => {
    tools.querySelectorAll("button").forEach((node) => node.setAttribute("aria-pressed", String(node.dataset.tool === tool)));
    over.dataset.tool = tool;
  };
  const colour = make("select");
  points.colourings.forEach(({ name }) => colour.append(new Option(name, name)));
  colour.setAttribute("aria-label", "Colour by");
  colour.onchange = () => change({ colour: colour.value });
  const modulo = make("input"), moduloLine = field("n", modulo);
  Object.assign(modulo, { type: "number", min: 2, max: 100, step: 1 });
  modulo.setAttribute("aria-label", "Positions modulo");
  modulo.onchange = () => { if (modulo.checkValidity() && modulo.value) change({ modulo: Number(modulo.value) }); };
  const kinds = make("select");
  [["both", "both"], ["queries", "● queries"], ["keys", "▲ keys"]].forEach(([value, text]) => kinds.append(new Option(text, value)));
  kinds.setAttribute("aria-label", "Points shown");
  kinds.onchange = () => change({ show: kinds.value });
  const find = make("input"), list = make("datalist");
  find.type = "search";
  find.placeholder = "a token";
  find.setAttribute("aria-label", "Find a token");
  list.id = `words-${version}`;
  find.setAttribute("list", list.id);
  content.frequent.forEach((word) => list.append(new Option(word)));
  let typing = 0;
  find.oninput = () => {
    clearTimeout(typing);
    view.find = find.value;
    refresh();
    typing = setTimeout(tell, 600);
  };
  const size = make("input"), sizeLine = make("label", "field tick");
  size.type = "checkbox";
  size.onchange = () => change({ size: size.checked });
  sizeLine.append(size, "Size by value norm");
  sizeLine.hidden = !points.sizes;
  const whole = make("input"), wholeLine = make("label", "field tick");
  whole.type = "checkbox";
  whole.onchange = () => change({ exact: whole.checked });
  wholeLine.append(whole, "whole");
  wholeLine.title = "Only tokens that are the text, not those that hold it";
  const search = make("span", "search");
  search.append(field("Find", find), wholeLine);
  const isolate = press("Isolate", "Show the lit points alone, where they are", () => change({ isolated: [...view.isolated, ...litRegions()], selected: "", find: "" }));
  const undo = press("Undo", "Take back the last selection or isolation", () => {
    const before = past.pop() ?? { selected: "", isolated: view.selected ? view.isolated : view.isolated.slice(0, -1) };
    change(before, false);
  });
  const clear = press("Clear", "Select nothing and show all points", () => change({ selected: "", isolated: [], find: "" }));
  const fit = press("Fit", "Show the whole cloud again", () => { Object.assign(camera, home); look(); });
  const full = press("Full screen", "", () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen()));
  bar.append(tools, field("Colour", colour), moduloLine, field("Show", kinds), sizeLine, search, list, isolate, undo, clear, fit);
  full.className = "corner";
  stage.append(full);
  root.replaceChildren(bar, stage, under, status);

  const litRegions = () => [view.selected, view.find.trim() && `${view.exact ? "T" : "H"}${encodeURIComponent(view.find.trim())}`].filter(Boolean);
  const both = (masks) => {
    const all = points.placed.slice();
    for (const mask of masks) for (let i = 0; i < count; i++) all[i] &= mask[i];
    return all;
  };
  const total = (mask) => {
    let sum = 0;
    for (let i = 0; i < count; i++) sum += mask[i];
    return sum;
  };
  const kept = new Map(); // region -> mask
  const mask = (text) => {
    if (!kept.has(text)) kept.set(text, insideOf(text, points));
    return kept.get(text);
  };

  // From the view to the pixels: `refresh` after a change of what is shown or lit, `look` after one of the camera.
  function refresh() {
    shown = view.isolated.length ? both(view.isolated.map(mask)) : points.placed;
    if (view.show !== "both") shown = shown.map((bit, i) => (isKey(i) === (view.show === "keys") ? bit : 0));
    const regions = glance ? [...litRegions(), glance] : litRegions();
    lit = regions.length ? both([shown, ...regions.map(mask)]) : null;
    [shownCount, litCount] = [total(shown), lit ? total(lit) : total(shown)];
    controls();
    look();
  }
  function look() {
    turned(points, camera.yaw, camera.pitch, at);
    const [wide, high] = dims === 3 ? [0.85 * points.far, 0.85 * points.far] : [points.wide, points.high];
    scale = Math.max(1e-9, Math.min(width / wide, height / high)) * 0.46 * camera.zoom;
    for (let i = 0; i < count; i++) {
      sx[i] = width / 2 + (at.x[i] - camera.x) * scale;
      sy[i] = height / 2 - (at.y[i] - camera.y) * scale;
    }
    near = null;
    paint();
    draw();
  }
  const soon = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; look(); });
  };
  const colouring = () => points.colourings.find(({ name }) => name === view.colour) ?? points.colourings[0];
  const ground = () => rgb(getComputedStyle(root).getPropertyValue("--st-background-color").trim() || "#ffffff");
  const isDark = () => { const [red, green, blue] = ground(); return 0.3 * red + 0.6 * green + 0.1 * blue < 128; };
  const coloursOf = (one) => (isDark() ? one.dark : one.light);

  function paint() {
    const ratio = Math.min(2, window.devicePixelRatio || 1), [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (!w || !h) return;
    if (base.width !== w || base.height !== h) [base.width, base.height] = [w, h];
    const one = colouring(), colours = coloursOf(one).map((text) => packed(rgb(text)));
    const room = Math.max(2.1, Math.min(5.2, 7 - 1.09 * Math.log10(Math.max(2, shownCount)))) * Math.min(2, Math.max(1, camera.zoom ** 0.3)) * ratio;
    const clear = Math.max(0.5, Math.min(0.88, 0.88 - 0.3 * Math.log10(Math.max(1, shownCount / 1500))));
    const order = dims === 3 ? farFirst(at.depth, points.far, count) : fixed, parts = [new Uint32Array(count), new Uint32Array(count)], ends = [0, 0];
    for (let k = 0; k < count; k++) {
      const i = order[k];
      if (!shown[i]) continue;
      const depth = dims === 3 ? (at.depth[i] / points.far + 1) / 2 : 1, bright = !lit || lit[i] ? 1 : 0;
      ink.x[i] = sx[i] * ratio;
      ink.y[i] = sy[i] * ratio;
      ink.radius[i] = room * (dims === 3 ? 0.8 + 0.45 * depth : 1) * (view.size && points.sizes ? factor(i) : 1);
      ink.colour[i] = colours[one.index[i] - 1];
      ink.alpha[i] = (bright ? clear : 0.09) * (dims === 3 ? 0.4 + 0.6 * depth : 1);
      parts[bright][ends[bright]++] = i;
    }
    const context = base.getContext("2d"), image = context.createImageData(w, h), pixels = new Uint32Array(image.data.buffer);
    pixels.fill((0xff000000 | packed(ground())) >>> 0);
    parts.forEach((part, k) => blend(pixels, w, h, part.subarray(0, ends[k]), ink)); // the dimmed ones below
    context.putImageData(image, 0, 0);
  }
  const factor = (i) => {
    const value = numberOf(points.sizes, i);
    return Number.isNaN(value) ? 0.8 : Math.max(0.35, Math.min(2.6, Math.sqrt(value / points.sizes.middle)));
  };

  // Above the pixels: lines, rings, labels, the lasso. This alone is drawn anew when the pointer moves.
  function draw() {
    const ratio = Math.min(2, window.devicePixelRatio || 1), context = over.getContext("2d");
    if (over.width !== Math.round(width * ratio) || over.height !== Math.round(height * ratio)) [over.width, over.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const style = getComputedStyle(root), text = style.getPropertyValue("--st-text-color").trim() || "#222222", ground_ = `rgb(${ground()})`;
    const region = view.selected[0] === "L" ? lassoOf(view.selected) : null;
    if (drag?.path) outline(context, drag.path, text);
    else if (region && region.yaw === camera.yaw && region.pitch === camera.pitch) {
      outline(context, region.corners.map(([x, y]) => [width / 2 + (x - camera.x) * scale, height / 2 - (y - camera.y) * scale]), text);
    }
    for (const one of new Set([view.point, hovered])) {
      if (!(one >= 0) || one === null || !shown[one]) continue;
      const lines = linesOf(one), pale = one === view.point ? 1 : 0.55;
      lines.forEach(([other, weight]) => {
        if (!shown[other]) return;
        context.globalAlpha = pale * (0.35 + 0.6 * weight);
        context.strokeStyle = text;
        context.lineWidth = 0.8 + 4.5 * weight;
        context.beginPath();
        context.moveTo(sx[one], sy[one]);
        context.lineTo(sx[other], sy[other]);
        context.stroke();
      });
      context.globalAlpha = 1;
      if (one === view.point) lines.forEach(([other]) => { if (shown[other]) ring(context, other, 5.5, 1.3, text, ground_); });
      ring(context, one, one === view.point ? 8 : 6.5, one === view.point ? 2.4 : 1.6, text, ground_);
    }
    labels(context, style, text, ground_);
  }
  const outline = (context, corners, text) => {
    context.beginPath();
    corners.forEach(([x, y]) => context.lineTo(x, y));
    context.closePath();
    context.fillStyle = text;
    context.globalAlpha = 0.06;
    context.fill("evenodd");
    context.globalAlpha = 0.55;
    context.setLineDash([5, 4]);
    context.lineWidth = 1.2;
    context.strokeStyle = text;
    context.stroke();
    context.setLineDash([]);
    context.globalAlpha = 1;
  };
  const ring = (context, i, radius, line, text, ground_) => {
    for (const [wider, style] of [[2, ground_], [0, text]]) {
      context.beginPath();
      context.arc(sx[i], sy[i], radius, 0, 7);
      context.lineWidth = line + wider;
      context.strokeStyle = style;
      context.stroke();
    }
  };
  function labels(context, style, text, ground_) {
    const wanted = [], taken = [];
    if (view.point !== null && shown[view.point]) wanted.push(view.point, ...linesOf(view.point).map(([other]) => other).filter((i) => shown[i]));
    const some = lit ?? shown;
    let inView = 0;
    for (let i = 0; i < count && inView <= LABELS; i++) if (some[i] && sx[i] > 0 && sy[i] > 0 && sx[i] < width && sy[i] < height && ++inView <= LABELS) wanted.push(i);
    if (inView > LABELS) wanted.length -= LABELS;
    context.font = `11.5px ${style.getPropertyValue("--st-code-font") || "monospace"}`;
    context.textBaseline = "middle";
    context.lineJoin = "round";
    for (const i of wanted) {
      const word = short(points.words[points.word[i]], 14), room = context.measureText(word).width;
      const flip = sx[i] + 10 + room > width, box = [flip ? sx[i] - 10 - room : sx[i] + 10, sy[i] - 7, room, 14];
      if (taken.some(([x, y, w, h]) => x < box[0] + box[2] && box[0] < x + w && y < box[1] + box[3] && box[1] < y + h)) continue;
      taken.push(box);
      context.strokeStyle = ground_;
      context.lineWidth = 3;
      context.strokeText(word, box[0], sy[i]);
      context.fillStyle = text;
      context.fillText(word, box[0], sy[i]);
    }
  }

  // The keys that a query attends to most, or the queries that attend most to a key, with their weights.
  let asking = null;
  function linesOf(i) {
    if (i < points.queries) {
      const from = i * points.each, found = [];
      for (let k = from; k < from + points.each; k++) if (points.strongest[k] !== NOBODY) found.push([points.strongest[k], points.weights[k] / 255]);
      return found;
    }
    if (asking?.key !== i) {
      const found = [];
      for (let k = 0; k < points.strongest.length; k++) if (points.strongest[k] === i) found.push([Math.floor(k / points.each), points.weights[k] / 255]);
      asking = { key: i, found: found.sort((a, b) => b[1] - a[1]).slice(0, Math.max(points.each, 5)) };
    }
    return asking.found;
  }

  // What a point is.
  const word = (i) => points.words[points.word[i]];
  const short = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);
  const isKey = (i) => i >= points.queries;
  function card(i) {
    const one = colouring(), lines = [make("strong", "mono", word(i)), make("div", "muted", `${isKey(i) ? "▲ key" : "● query"} · position ${points.position[i]} · ${content.input_word} ${points.input[i]}${points.tag && points.tag[i] !== NOWHERE ? ` · ${content.tags[points.tag[i]]}` : ""}`)];
    if (one.numbers && one.name !== "position") lines.push(make("div", "", `${one.name} ${said(numberOf(one.numbers, i))}`));
    if (points.sizes && !Number.isNaN(numberOf(points.sizes, i))) lines.push(make("div", "", `${points.sizes.name} ${said(numberOf(points.sizes, i))}`));
    const reads = linesOf(i).slice(0, 3).map(([other, weight]) => `${word(other)} ${weight.toFixed(2)}`);
    if (reads.length) lines.push(make("div", "mono small", `${isKey(i) ? "read by" : "reads"} ${reads.join(" · ")}`));
    lines.push(make("div", "sentence muted", content.texts[points.input[i]]));
    return lines;
  }
  function hover(i) {
    if (i === hovered) return;
    hovered = i;
    root.dataset.hover = String(i);
    draw();
    float.hidden = i < 0;
    if (i < 0) return;
    float.replaceChildren(...card(i));
    const right = sx[i] + 16, left = right + float.offsetWidth < width ? right : sx[i] - float.offsetWidth - 16;
    float.style.left = `${Math.max(0, left)}px`;
    float.style.top = `${Math.max(0, Math.min(sy[i] + 10, height - float.offsetHeight))}px`;
  }
  const under_ = (x, y, reach) => (near ??= gridOf(sx, sy, shown, width, height))(x, y, reach, lit);

  // Changes: at once here, then told.
  function change(values, remember = true) {
    if (remember && ("selected" in values || "isolated" in values)) past.push({ selected: view.selected, isolated: view.isolated });
    Object.assign(view, values);
    refresh();
    tell();
  }
  function tell() {
    clearTimeout(typing);
    self.report({ ...view, turn: ++turn });
  }
  self.take = (given) => {
    if (given.turn < turn && given.turn > 0) return; // an answer to what has been changed again since
    if (told !== given.stamp) Object.assign(view, { ...FIRST, ...given.values });
    told = given.stamp;
    if (!points.colourings.some(({ name }) => name === view.colour)) view.colour = points.colourings[0].name;
    if (!(view.point < count)) view.point = null;
    refresh();
  };

  function controls() {
    marked();
    colour.value = view.colour;
    kinds.value = view.show;
    modulo.value = view.modulo;
    moduloLine.hidden = view.colour !== "position mod";
    if (root.getRootNode().activeElement !== find) find.value = view.find;
    size.checked = view.size;
    whole.checked = view.exact;
    whole.disabled = !view.find;
    isolate.disabled = !lit || !litCount || litCount === shownCount;
    undo.disabled = !past.length && !view.isolated.length && !view.selected;
    clear.disabled = !view.selected && !view.isolated.length && !view.find;
    const missing = count - total(points.placed);
    status.textContent = (shownCount < count - missing ? `${many(shownCount)} of ${many(count)} points shown` : `${many(shownCount)} points`)
      + (lit ? `, ${many(litCount)} ${view.find && !view.selected ? "found" : "selected"}` : "") + (missing ? `; ${many(missing)} have no place` : "") + ".";
    hint.textContent = dims === 3 ? "drag turns · Shift-drag selects a box · wheel zooms" : "drag selects · Shift-drag a box · wheel zooms";
    root.dataset.shown = String(shownCount);
    root.dataset.lit = String(lit ? litCount : shownCount);
    root.dataset.colour = view.colour;
    legend();
  }
  let drawn = "";
  function legend() {
    const one = colouring(), key = `${one.name} ${isDark()} ${view.selected}`;
    if (key === drawn) return;
    drawn = key;
    const entries = make("div", "legend"), kinds_ = one.name === "query or key";
    if (!kinds_) entries.append(make("span", "shapes muted", "● query  ▲ key"));
    const { legend: { items = [], bar, low, high, note } } = one;
    if (bar) {
      const ramp = make("span", "ramp");
      ramp.style.background = `linear-gradient(to right, ${coloursOf(one).slice(0, bar.length).join(", ")})`;
      entries.append(make("span", "muted", one.name), make("span", "mono", low), ramp, make("span", "mono", high), ...(note ? [make("span", "muted", note)] : []));
    }
    items.forEach(({ text, count: of }, i) => {
      const index = (bar?.length ?? 0) + i, region = `K${index}.${encodeURIComponent(one.name)}`, entry = make("button", "plain entry"), swatch = make("i");
      if (kinds_) {
        swatch.className = "shape";
        swatch.textContent = index ? "▲" : "●";
        swatch.style.color = coloursOf(one)[index];
      } else swatch.style.backgroundColor = coloursOf(one)[index];
      entry.append(swatch, text, make("span", "muted count", many(of)));
      entry.title = "Select these points";
      entry.setAttribute("aria-pressed", String(view.selected === region));
      entry.onpointerenter = () => { glance = region; refresh(); };
      entry.onpointerleave = () => { if (glance) { glance = null; refresh(); } };
      entry.onclick = () => { glance = null; change({ selected: view.selected === region ? "" : region }); };
      entries.append(entry);
    });
    under.replaceChildren(entries);
  }

  // The pointer, the wheel, the keys.
  const spot = (event) => { const box = over.getBoundingClientRect(); return [(event.clientX - box.left) * width / box.width, (event.clientY - box.top) * height / box.height]; };
  over.onpointerdown = (event) => {
    const [x, y] = spot(event), move = event.button > 0 || tool === "move";
    over.setPointerCapture(event.pointerId);
    drag = { x, y, from: { ...camera }, act: event.shiftKey && !move ? "box" : move ? "move" : tool, moved: false };
    over.focus({ preventScroll: true });
    event.preventDefault();
  };
  over.oncontextmenu = (event) => event.preventDefault();
  over.onpointermove = (event) => {
    const [x, y] = spot(event);
    if (!drag) return hover(under_(x, y));
    const [dx, dy] = [x - drag.x, y - drag.y];
    if (!drag.moved && Math.hypot(dx, dy) < 4) return;
    drag.moved = true;
    hover(-1);
    if (drag.act === "move") { [camera.x, camera.y] = [drag.from.x - dx / scale, drag.from.y + dy / scale]; soon(); }
    else if (drag.act === "turn") {
      [camera.yaw, camera.pitch] = [Math.round(drag.from.yaw + dx * 4), Math.round(Math.max(-900, Math.min(900, drag.from.pitch + dy * 4)))];
      soon();
    } else if (drag.act === "box") { drag.path = [[drag.x, drag.y], [x, drag.y], [x, y], [drag.x, y]]; draw(); }
    else {
      drag.path ??= [[drag.x, drag.y]];
      const [lastX, lastY] = drag.path.at(-1);
      if (Math.hypot(x - lastX, y - lastY) >= 4) drag.path.push([x, y]);
      draw();
    }
  };
  over.onpointerup = (event) => {
    const done = drag, [x, y] = spot(event);
    drag = null;
    if (!done) return;
    if (!done.moved) {
      const found = under_(x, y, 12);
      if (found >= 0) change({ point: found === view.point ? null : found });
      else if (view.selected) change({ selected: "" });
      else if (view.point !== null) change({ point: null });
    } else if (done.path?.length > 2) {
      const every = Math.ceil(done.path.length / 60);
      const corners = done.path.filter((_, i) => i % every === 0).map(([px, py]) => [(px - width / 2) / scale + camera.x, (height / 2 - py) / scale + camera.y]);
      change({ selected: lassoText(content.name, corners, camera.yaw, camera.pitch) });
    } else draw();
  };
  over.onpointercancel = () => { drag = null; draw(); };
  over.onpointerleave = () => { if (!drag) hover(-1); };
  const zoom = (by, x = width / 2, y = height / 2) => {
    const before = camera.zoom;
    camera.zoom = Math.max(0.5, Math.min(200, before * by));
    const gain = 1 / scale - before / (camera.zoom * scale); // the place under the pointer stays there
    camera.x += (x - width / 2) * gain;
    camera.y -= (y - height / 2) * gain;
    soon();
  };
  over.addEventListener("wheel", (event) => {
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...spot(event));
    event.preventDefault();
  }, { passive: false });
  over.onkeydown = (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key];
    if (way && event.shiftKey && dims === 3) { camera.yaw += 50 * way[0]; camera.pitch = Math.max(-900, Math.min(900, camera.pitch + 50 * way[1])); look(); }
    else if (way && event.shiftKey) { camera.x += 40 * way[0] / scale; camera.y -= 40 * way[1] / scale; look(); }
    else if (way) hover(beyond(way));
    else if (event.key === "Enter" && hovered >= 0) change({ point: hovered === view.point ? null : hovered });
    else if (event.key === "+" || event.key === "=") zoom(1.25);
    else if (event.key === "-") zoom(0.8);
    else if (event.key === "0") fit.onclick();
    else if (event.key === "Escape" && (view.selected || view.point !== null)) change(view.selected ? { selected: "" } : { point: null });
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  /** The nearest point in a direction from the one that is pointed at. */
  function beyond([right, down]) {
    const here = hovered >= 0 ? hovered : view.point, [x, y] = here === null ? [width / 2, height / 2] : [sx[here], sy[here]];
    let [best, least] = [hovered, Infinity];
    for (let i = 0; i < count; i++) {
      if (!shown[i] || (lit && !lit[i]) || i === here) continue;
      const [dx, dy] = [sx[i] - x, sy[i] - y], along = dx * right + dy * down, aside = Math.abs(dx * down) + Math.abs(dy * right);
      if (along > 0.5 && along >= aside && along + 2 * aside < least) [best, least] = [i, along + 2 * aside];
    }
    return best;
  }

  function measure() {
    const room = stage.clientWidth;
    if (!room) return;
    const tall = document.fullscreenElement ? window.innerHeight - 170 : Math.max(400, Math.min(640, room * 0.72));
    if (room === width && tall === height) return;
    [width, height] = [room, tall];
    stage.style.height = `${tall}px`;
    look();
  }
  const watch = new ResizeObserver(measure);
  watch.observe(stage);
  self.end = () => watch.disconnect();
  measure();
  return self;
}
