// What the picture is: the points, what the reader has chosen of them, from where they are seen, and their pixels.
const FIRST = { colour: "", modulo: 5, show: "both", size: false, find: "", exact: false, point: null, selected: "", isolated: [] };
const UNMEANT = 0.09; // opacity of points that are not selected

class Plot {
  /** `before` is the plot that was here: other colours of the same points are seen from the same place. */
  constructor(root, content, before) {
    const points = pointsOf(content), { count, dims } = points;
    Object.assign(this, { root, content, points, count, dims, solid: dims === 3 });
    this.view = { ...FIRST };
    this.past = []; // what Undo goes back to
    this.home = { zoom: 1, x: 0, y: 0, yaw: this.solid ? -300 : 0, pitch: this.solid ? 200 : 0 };
    const same = before?.content.name === content.name;
    this.camera = same ? before.camera : { ...this.home };
    this.tool = same ? before.tool : this.solid ? "turn" : "lasso";
    this.at = flat(count);
    this.sx = new Float64Array(count);
    this.sy = new Float64Array(count);
    this.ink = { x: new Float64Array(count), y: new Float64Array(count), radius: new Float32Array(count), triangle: new Uint8Array(count).fill(1, points.queries), colour: new Uint32Array(count), alpha: new Float32Array(count) };
    this.fixed = shuffled(count);
    this.masks = new Map();
    Object.assign(this, { shown: points.placed, lit: null, shownCount: count, litCount: count, grid: null, glance: null });
    Object.assign(this, { width: 0, height: 0, scale: 1, hovered: -1, path: null, turn: 0, told: null, asked: false });
    this.canvas = make("canvas");
    this.changed = () => {}; // after a change of what is shown or lit
    this.moved = () => {}; // after anything that is seen
    this.report = () => {};
  }

  isKey(i) { return i >= this.points.queries; }
  word(i) { return this.points.words[this.points.word[i]]; }
  get ratio() { return Math.min(2, window.devicePixelRatio || 1); }
  css(name, otherwise) { return getComputedStyle(this.root).getPropertyValue(name).trim() || otherwise; }
  get ground() { return rgb(this.css("--st-background-color", "#ffffff")); }
  get dark() { const [red, green, blue] = this.ground; return 0.3 * red + 0.6 * green + 0.1 * blue < 128; }
  get colouring() { return this.points.colourings.find(({ name }) => name === this.view.colour) ?? this.points.colourings[0]; }
  get colours() { return this.dark ? this.colouring.dark : this.colouring.light; }

  /** What is selected and looked for, as regions. */
  get regions() {
    const text = this.view.find.trim();
    return [this.view.selected, text && (this.view.exact ? "T" : "H") + encodeURIComponent(text)].filter(Boolean);
  }
  mask(region) {
    if (!this.masks.has(region)) this.masks.set(region, insideOf(region, this.points));
    return this.masks.get(region);
  }
  all(first, regions) {
    const both = first.slice();
    for (const mask of regions.map((region) => this.mask(region))) for (let i = 0; i < this.count; i++) both[i] &= mask[i];
    return both;
  }
  total(mask) {
    let sum = 0;
    for (let i = 0; i < this.count; i++) sum += mask[i];
    return sum;
  }

  /** After a change of what is shown or lit. */
  refresh() {
    const { view, points } = this;
    this.shown = view.isolated.length ? this.all(points.placed, view.isolated) : points.placed;
    if (view.show !== "both") this.shown = this.shown.map((bit, i) => (this.isKey(i) === (view.show === "keys") ? bit : 0));
    const regions = this.glance ? [...this.regions, this.glance] : this.regions;
    this.lit = regions.length ? this.all(this.shown, regions) : null;
    this.shownCount = this.total(this.shown);
    this.litCount = this.lit ? this.total(this.lit) : this.shownCount;
    this.grid = null;
    this.changed();
    this.paint();
    this.moved();
  }

  /** After a change of the camera or of the room there is. */
  look() {
    const { camera, points, at, sx, sy, width, height } = this;
    turned(points, camera.yaw, camera.pitch, at);
    const [wide, high] = this.solid ? [0.85 * points.far, 0.85 * points.far] : [points.wide, points.high];
    this.scale = Math.max(1e-9, Math.min(width / wide, height / high)) * 0.46 * camera.zoom;
    for (let i = 0; i < this.count; i++) {
      sx[i] = width / 2 + (at.x[i] - camera.x) * this.scale;
      sy[i] = height / 2 - (at.y[i] - camera.y) * this.scale;
    }
    this.grid = null;
    this.paint();
    this.moved();
  }
  /** The same with the next frame, once for all that asks until then. */
  soon() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.look();
    });
  }

  paint() {
    const { ink, at, points, lit, shown, view, solid, ratio, count, camera, colouring: { index } } = this;
    const [w, h] = [Math.round(this.width * ratio), Math.round(this.height * ratio)];
    if (!w || !h) return;
    if (this.canvas.width !== w || this.canvas.height !== h || !this.image) {
      [this.canvas.width, this.canvas.height] = [w, h];
      this.image = this.canvas.getContext("2d").createImageData(w, h);
    }
    const colours = this.colours.map((text) => packed(rgb(text))), sized = view.size && points.sizes;
    const room = Math.max(2.1, Math.min(5.2, 7 - 1.09 * Math.log10(Math.max(2, this.shownCount)))) * Math.min(2, Math.max(1, camera.zoom ** 0.3)) * ratio;
    const clear = Math.max(0.5, Math.min(0.88, 0.88 - 0.3 * Math.log10(Math.max(1, this.shownCount / 1500))));
    const order = solid ? farFirst(at.depth, points.far, count) : this.fixed;
    const parts = [new Uint32Array(count), new Uint32Array(count)], ends = [0, 0];
    for (let k = 0; k < count; k++) {
      const i = order[k];
      if (!shown[i]) continue;
      const near = solid ? (at.depth[i] / points.far + 1) / 2 : 1, bright = !lit || lit[i] ? 1 : 0;
      ink.x[i] = this.sx[i] * ratio;
      ink.y[i] = this.sy[i] * ratio;
      ink.radius[i] = room * (solid ? 0.8 + 0.45 * near : 1) * (sized ? this.factor(i) : 1);
      ink.colour[i] = colours[index[i] - 1];
      ink.alpha[i] = (bright ? clear : UNMEANT) * (solid ? 0.4 + 0.6 * near : 1);
      parts[bright][ends[bright]++] = i;
    }
    const pixels = new Uint32Array(this.image.data.buffer);
    pixels.fill((0xff000000 | packed(this.ground)) >>> 0);
    parts.forEach((part, k) => blend(pixels, w, h, part.subarray(0, ends[k]), ink)); // the dimmed ones below
    this.canvas.getContext("2d").putImageData(this.image, 0, 0);
  }
  /** How much larger than others a point is: its area goes with its number. */
  factor(i) {
    const value = numberOf(this.points.sizes, i);
    return Number.isNaN(value) ? 0.8 : Math.max(0.35, Math.min(2.6, Math.sqrt(value / this.points.sizes.middle)));
  }

  /** The point under a place on the screen, -1 if none; one that is lit sooner than one that is not. */
  under(x, y, reach) {
    this.grid ??= gridOf(this.sx, this.sy, this.shown, this.width, this.height);
    return this.grid(x, y, reach, this.lit);
  }
  /** The nearest point in a direction from the one that is pointed at. */
  beyond([right, down]) {
    const { sx, sy, shown, lit } = this, here = this.hovered >= 0 ? this.hovered : this.view.point;
    const [x, y] = here === null ? [this.width / 2, this.height / 2] : [sx[here], sy[here]];
    let [best, least] = [this.hovered, Infinity];
    for (let i = 0; i < this.count; i++) {
      if (!shown[i] || (lit && !lit[i]) || i === here) continue;
      const dx = sx[i] - x, dy = sy[i] - y, along = dx * right + dy * down, aside = Math.abs(dx * down) + Math.abs(dy * right);
      if (along > 0.5 && along >= aside && along + 2 * aside < least) [best, least] = [i, along + 2 * aside];
    }
    return best;
  }
  /** The keys that a query attends to most, or the queries that attend most to a key: [point, weight]. */
  lines(i) {
    const { strongest, weights, each, queries } = this.points, found = [];
    if (i < queries) {
      for (let k = i * each; k < (i + 1) * each; k++) if (strongest[k] !== NOBODY) found.push([strongest[k], weights[k] / 255]);
      return found;
    }
    if (this.asking?.key !== i) {
      for (let k = 0; k < strongest.length; k++) if (strongest[k] === i) found.push([Math.floor(k / each), weights[k] / 255]);
      this.asking = { key: i, found: found.sort((a, b) => b[1] - a[1]).slice(0, Math.max(each, 5)) };
    }
    return this.asking.found;
  }

  /** A change by the reader: seen at once, then told. */
  change(values, remember = true) {
    const { selected, isolated } = this.view;
    if (remember && ("selected" in values || "isolated" in values)) this.past.push({ selected, isolated });
    Object.assign(this.view, values);
    this.refresh();
    this.tell();
  }
  tell() {
    this.report({ ...this.view, turn: ++this.turn });
  }
  /** What the server says counts once, and not where the reader has changed more since. */
  take({ values, stamp, turn }) {
    if (turn > 0 && turn < this.turn) return;
    this.turn = Math.max(turn, this.turn);
    const before = JSON.stringify([this.view, this.dark]);
    if (this.told !== stamp) Object.assign(this.view, FIRST, values);
    this.told = stamp;
    this.view.colour = this.colouring.name;
    if (!(this.view.point < this.count)) this.view.point = null;
    const after = JSON.stringify([this.view, this.dark]);
    if (before !== after || this.seen !== after) this.refresh();
    this.seen = after;
  }
  undo() {
    const { selected, isolated } = this.view;
    this.change(this.past.pop() ?? { selected: "", isolated: selected ? isolated : isolated.slice(0, -1) }, false);
  }
}
