// Puts points into the pixels of a canvas: circles are queries, triangles keys, blended by hand, which twenty thousand bear.
const PHASES = 2; // places within a pixel that a mark can have along each axis
const marks = new Map();

/** How much of each pixel a mark covers, from 0 to 255; a triangle has the area of the circle of its radius. */
function markOf(triangle, radius, px, py) {
  const name = ((Math.round(radius * 4) * 2 + triangle) * PHASES + px) * PHASES + py;
  if (marks.has(name)) return marks.get(name);
  const r = Math.round(radius * 4) / 4, arm = triangle ? 1.555 * r : r, side = 2 * Math.ceil(arm) + 3, half = (side - 1) / 2;
  const cover = new Uint8Array(side * side), fine = 4;
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      let hits = 0;
      for (let a = 0; a < fine * fine; a++) {
        const x = column + (a % fine + 0.5) / fine - 0.5 - half - px / PHASES, y = row + (Math.floor(a / fine) + 0.5) / fine - 0.5 - half - py / PHASES;
        const low = arm / 2 - y; // above the lower edge; the other two edges lean by 60 degrees
        hits += triangle ? low > 0 && arm + y > Math.sqrt(3) * Math.abs(x) : x * x + y * y < r * r;
      }
      cover[row * side + column] = Math.round(255 * hits / fine / fine);
    }
  }
  const mark = { side, half, cover };
  marks.set(name, mark);
  return mark;
}

/** Blend the points in `order` into `pixels`, `width` by `height`; places and radii in pixels, colours packed. */
function blend(pixels, width, height, order, { x, y, radius, triangle, colour, alpha }) {
  for (let k = 0; k < order.length; k++) {
    const i = order[k], at = (x[i] - 0.5) * PHASES, down = (y[i] - 0.5) * PHASES;
    if (!(at > -60 && down > -60 && at < (width + 30) * PHASES && down < (height + 30) * PHASES)) continue;
    const left = Math.round(at), top = Math.round(down);
    const { side, half, cover } = markOf(triangle[i], radius[i], left & 1, top & 1);
    const red = colour[i] & 255, green = (colour[i] >> 8) & 255, blue = colour[i] >> 16, strength = alpha[i];
    const x0 = (left >> 1) - half, y0 = (top >> 1) - half;
    for (let row = Math.max(0, -y0); row < side && y0 + row < height; row++) {
      for (let column = Math.max(0, -x0), p = (y0 + row) * width + x0 + column; column < side && x0 + column < width; column++, p++) {
        const part = cover[row * side + column] * strength;
        if (part === 0) continue;
        const a = part / 255, old = pixels[p], r = old & 255, g = (old >> 8) & 255, b = (old >> 16) & 255;
        pixels[p] = 0xff000000 | ((b + (blue - b) * a) << 16) | ((g + (green - g) * a) << 8) | (r + (red - r) * a);
      }
    }
  }
}

/** The order in which to draw, far ones first; the same ones always where there is no depth, neither kind on top. */
function farFirst(depth, far, count) {
  const start = new Uint32Array(257), order = new Uint32Array(count), home = new Uint8Array(count);
  for (let i = 0; i < count; i++) start[(home[i] = Math.max(0, Math.min(255, (depth[i] / far + 1) * 127.5)) | 0) + 1]++;
  for (let c = 0; c < 256; c++) start[c + 1] += start[c];
  for (let i = 0; i < count; i++) order[start[home[i]]++] = i;
  return order;
}
function shuffled(count) {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1, seed = 1; i > 0; i--) {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    const j = seed % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

const packed = ([red, green, blue]) => red | (green << 8) | (blue << 16);
/** Any colour that CSS knows as [r, g, b]. */
function rgb(text) {
  if (!rgb.kept.has(text)) {
    const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
    context.fillStyle = text;
    context.fillRect(0, 0, 1, 1);
    rgb.kept.set(text, [...context.getImageData(0, 0, 1, 1).data].slice(0, 3));
  }
  return rgb.kept.get(text);
}
rgb.kept = new Map();
