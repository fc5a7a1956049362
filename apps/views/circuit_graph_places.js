// Where everything of a circuit is drawn: layers upward, heads in columns, the MLPs in a column of their own at the right.
const GAP = 16, BESIDE = 26; // right of all columns, for what goes from the input straight to the logits

function places({ marks, edges, layers, columns, mlps, apart }, room, high) {
  const used = [...new Set(marks.map((mark) => mark.layer))].filter((layer) => layer >= 0 && layer < layers).sort((a, b) => a - b);
  const left = 62, right = mlps ? 86 : 40;
  const wide = columns + (mlps ? 1.4 : 0) + Math.max(0, ...marks.filter((mark) => mark.kind === "neuron").map((mark) => mark.column - columns - 0.4));
  const across = Math.max(38, Math.min(104, (room - left - right) / wide));
  const up = Math.max(26, Math.min(92, high / Math.max(1, used.length)));
  const tall = Math.max(13, Math.min(18, up * 0.5));
  const box = Math.min(46, across * 0.74);
  const rows = new Map(), gaps = [];
  let y = -Math.max(30, up * 0.62);
  used.forEach((layer, i) => {
    if (layer > (i ? used[i - 1] + 1 : 0)) { gaps.push([y + up * 0.36 - GAP / 2, i ? used[i - 1] + 1 : 0, layer - 1]); y -= GAP; }
    rows.set(layer, y);
    y -= up;
  });
  if (!used.length || used[used.length - 1] < layers - 1) {
    gaps.push([y + up * 0.36 - GAP / 2, used.length ? used[used.length - 1] + 1 : 0, layers - 1]);
    y -= GAP;
  }
  const above = marks.some((mark) => mark.layer === used.at(-1) && mark.kind !== "head" && mark.kind !== "kv");
  const top = y + up * (above ? 0.34 : 0.44) - (above ? tall / 2 + 16 : 0), x = (column) => left + across * ((column >= columns ? column + 0.4 : column) + 0.5);
  const end = x(columns - 1 + (mlps ? 1 : 0)) + across / 2;
  const place = (one) => {
    if (one.kind === "input" || one.kind === "logits") {
      return { x: (left + end + BESIDE) / 2, y: one.kind === "input" ? 0 : top, width: end + BESIDE - left, height: 18 };
    }
    const base = rows.get(one.layer);
    if (one.kind === "kv") return { x: x(one.column), y: base + tall / 2 + (up < 34 ? 4 : 6), width: across * (one.span - 1) + box, height: up < 34 ? 4 : 7 };
    if (one.kind === "mlp") return { x: x(one.column), y: base - up * 0.42, width: box, height: tall };
    if (one.kind === "neuron") return { x: x(one.column), y: base - up * 0.42, width: box * 0.9, height: tall - 4 };
    if (one.kind === "group") return { x: x(one.column), y: base - up * 0.2, width: Math.max(box, 16 + 6.6 * one.text.length), height: tall + 6 };
    return { x: x(one.column), y: base, width: box, height: tall };
  };
  const at = marks.map(place);
  const shared = marks.some((mark) => mark.kind === "kv");
  const port = (mark, box, kind) => {
    const shift = mark.kind === "kv" ? [0, -0.18, 0.18][kind] ?? 0 : mark.kind === "head" && apart && !shared ? [-0.3, 0, 0.3][kind] ?? 0 : 0;
    return [box.x + shift * box.width, box.y + box.height / 2];
  };

  // A curve keeps to the gutters between columns where it would else run through the marks of a column.
  const curve = ([from, to, kind], i) => {
    const start = at[from], stop = at[to], sway = ((i * 37) % 13 - 6) / 6, side = (from * 7 + to * 3) % 2 ? 1 : -1;
    let [x2, y2] = port(marks[to], stop, kind), x1 = start.x, y1 = start.y - start.height / 2;
    const column = (x, mark) => (mark.kind === "group"
      ? left + across * Math.round((x - left) / across) - x + across * 0.05 * sway
      : side * across * (0.46 + 0.05 * sway));
    const fromBar = marks[from].kind === "input", toBar = marks[to].kind === "logits";
    if (fromBar && toBar) { x1 = x2 = end + BESIDE / 2; return line([x1, y1], [x1, y1 - 20], [x1, y2 + 20], [x1, y2]); }
    if (fromBar) {
      x1 = Math.min(end - 4, Math.max(left + 4, x2 + column(x2, marks[to])));
      return line([x1, y1], [x1, y1 + (y2 - y1) * 0.8], [x2, y2 + Math.min(46, (y1 - y2) * 0.5)], [x2, y2]);
    }
    if (toBar) {
      x2 = Math.min(end - 4, Math.max(left + 4, x1 + column(x1, marks[from])));
      return line([x1, y1], [x1, y1 - Math.min(46, (y1 - y2) * 0.5)], [x2, y2 + (y1 - y2) * 0.8], [x2, y2]);
    }
    const rise = y1 - y2, reach = Math.max(16, Math.abs(rise) * 0.42);
    const near = Math.abs(x2 - x1) < across * 0.55, far = Math.abs(rise) > up * 1.1;
    const bow = !(near && far) ? 0 : marks[from].kind === "mlp" ? 22 + Math.min(72, rise * 0.12) : side * across * (0.62 + 0.1 * sway);
    return line([x1, y1], [x1 + bow, y1 - reach], [x2 + bow, y2 + reach], [x2, y2]);
  };
  const empty = used.flatMap((layer) => Array.from({ length: columns }, (_, column) => [x(column), rows.get(layer)]));
  return {
    at, gaps, rows, empty, tall, curves: edges.map(curve), left, labels: left - 14,
    frame: { x: 0, y: top - 26, width: end + BESIDE + (mlps ? 60 : 14), height: 52 - top },
  };
}

const line = (...points) => {
  const [a, b, c, d] = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`);
  return `M${a}C${b} ${c} ${d}`;
};
