// Where points are: decoded from what the server sends, turned in three dimensions, and found again under the pointer.
const HALF = 32768;
const NOWHERE = 65535; // an undefined number or category
const NOBODY = 2 ** 32 - 1; // no point
const decoded = (text, Type) => {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return new Type(bytes.buffer);
};

/** The points with typed arrays in place of text; x, y, z in 32767ths of the half width of the cloud. */
function pointsOf(content) {
  const { count, dims, words } = content;
  const raw = decoded(content.places, Uint16Array);
  const axis = (d) => Float64Array.from({ length: count }, (_, i) => (d < dims ? raw[i * dims + d] - HALF : 0));
  const points = {
    count, dims, words, x: axis(0), y: axis(1), z: axis(2),
    placed: Uint8Array.from({ length: count }, (_, i) => (raw[i * dims] ? 1 : 0)), // 0 stands for no place
    bare: content.bare,
    queries: content.queries,
    word: decoded(content.word, Uint32Array),
    input: decoded(content.input, Uint32Array),
    position: decoded(content.position, Uint16Array),
    tag: content.tag ? decoded(content.tag, Uint16Array) : null,
    strongest: decoded(content.strongest, Uint32Array),
    weights: decoded(content.weights, Uint8Array),
    each: content.each,
  };
  points.colourings = content.colourings.map((one) => ({ ...one, index: decoded(one.index, Uint8Array), numbers: one.numbers && { ...one.numbers, values: decoded(one.numbers.values, Uint16Array) } }));
  points.sizes = content.sizes ? { ...content.sizes, values: decoded(content.sizes.values, Uint16Array) } : null;
  let [wide, high, far] = [1, 1, 1];
  for (let i = 0; i < count; i++) {
    if (!points.placed[i]) continue;
    wide = Math.max(wide, Math.abs(points.x[i]));
    high = Math.max(high, Math.abs(points.y[i]));
    far = Math.max(far, Math.hypot(points.x[i], points.y[i], points.z[i]));
  }
  return { ...points, wide, high, far };
}

const numberOf = (scale, i) => (scale.values[i] === NOWHERE ? NaN : scale.low + (scale.high - scale.low) * (scale.values[i] / 65534));

/** x, y and depth of every point seen under two angles, in tenths of a degree, written into `into`. */
function turned({ x, y, z, count }, yaw, pitch, into) {
  const [ca, sa, cb, sb] = [Math.cos(yaw * Math.PI / 1800), Math.sin(yaw * Math.PI / 1800), Math.cos(pitch * Math.PI / 1800), Math.sin(pitch * Math.PI / 1800)];
  for (let i = 0; i < count; i++) {
    const back = z[i] * ca - x[i] * sa;
    into.x[i] = x[i] * ca + z[i] * sa;
    into.y[i] = y[i] * cb - back * sb;
    into.depth[i] = y[i] * sb + back * cb;
  }
  return into;
}
const flat = (count) => ({ x: new Float64Array(count), y: new Float64Array(count), depth: new Float64Array(count) });

// Regions as text, read by the server as well: L a lasso, T a token, H tokens that hold a text, S an input, K a colour of a colouring.
const lassoText = (name, corners, yaw, pitch) => `L${name}.${yaw}.${pitch}.` + corners.flat().map((v) => (Math.max(0, Math.min(131071, Math.round(v) + 65536))).toString(36).padStart(4, "0")).join("");
function lassoOf(text) {
  const [, yaw, pitch, digits] = text.slice(1).split(".");
  const numbers = (digits ?? "").match(/.{4}/g)?.map((part) => parseInt(part, 36) - 65536) ?? [];
  return { yaw: Number(yaw), pitch: Number(pitch), corners: Array.from({ length: numbers.length >> 1 }, (_, i) => [numbers[2 * i], numbers[2 * i + 1]]) };
}

/** One byte a point: whether it is in the region. */
function insideOf(text, points) {
  const mask = new Uint8Array(points.count), body = text.slice(1);
  if (text[0] === "L") {
    const { yaw, pitch, corners } = lassoOf(text), at = turned(points, yaw, pitch, flat(points.count));
    for (let i = 0; i < points.count; i++) if (points.placed[i] && within(corners, at.x[i], at.y[i])) mask[i] = 1;
  } else if (text[0] === "T" || text[0] === "H") {
    const found = matching(points, decodeURIComponent(body), text[0] === "T");
    for (let i = 0; i < points.count; i++) mask[i] = found[points.word[i]];
  } else if (text[0] === "S") {
    for (let i = 0; i < points.count; i++) mask[i] = points.input[i] === Number(body) ? 1 : 0;
  } else if (text[0] === "K") {
    const dot = body.indexOf("."), one = points.colourings.find(({ name }) => name === decodeURIComponent(body.slice(dot + 1)));
    for (let i = 0; one && i < points.count; i++) mask[i] = one.index[i] === Number(body.slice(0, dot)) + 1 ? 1 : 0;
  }
  return mask;
}
function within(corners, x, y) {
  let odd = false;
  for (let i = 0, j = corners.length - 1; i < corners.length; j = i++) {
    const a = corners[i], b = corners[j]; // no destructuring: this runs a million times
    if (a[1] > y !== b[1] > y && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0]) odd = !odd;
  }
  return odd;
}

/** One byte a word: whether it is the token that is looked for, or holds it; marks of word pieces do not count. */
function matching({ bare }, text, whole) {
  const wanted = text.trim().toLowerCase();
  return Uint8Array.from(bare, (word) => ((whole ? word === wanted || word === `##${wanted}` : word.includes(wanted)) ? 1 : 0));
}

/** Points by where they are on the screen, in square cells: the nearest to a place is looked for in nine of them. */
function gridOf(sx, sy, shown, width, height, cell = 14) {
  const columns = Math.ceil(width / cell) + 2, rows = Math.ceil(height / cell) + 2;
  const start = new Uint32Array(columns * rows + 1), home = new Int32Array(sx.length);
  for (let i = 0; i < sx.length; i++) {
    const column = Math.floor(sx[i] / cell) + 1, row = Math.floor(sy[i] / cell) + 1;
    home[i] = shown[i] && column >= 0 && row >= 0 && column < columns && row < rows ? row * columns + column : -1;
    if (home[i] >= 0) start[home[i] + 1]++;
  }
  for (let c = 0; c < columns * rows; c++) start[c + 1] += start[c];
  const members = new Uint32Array(start[columns * rows]), next = start.slice();
  for (let i = 0; i < sx.length; i++) if (home[i] >= 0) members[next[home[i]]++] = i;
  return (x, y, reach = cell, first = null) => {
    const column = Math.floor(x / cell) + 1, row = Math.floor(y / cell) + 1;
    let [best, least] = [-1, reach * reach];
    for (let r = Math.max(0, row - 1); r <= Math.min(rows - 1, row + 1); r++) {
      for (let c = Math.max(0, column - 1); c <= Math.min(columns - 1, column + 1); c++) {
        for (let k = start[r * columns + c]; k < start[r * columns + c + 1]; k++) {
          const i = members[k], d = (sx[i] - x) ** 2 + (sy[i] - y) ** 2 + (first && !first[i] ? 16 : 0);
          if (d < least) [best, least] = [i, d];
        }
      }
    }
    return best;
  };
}
