// Above the pixels: lines, rings, tokens, the lasso, and the card of a point. This alone is drawn when the pointer moves.
const LABELS = 250; // points in sight up to which tokens are written beside them

function drawOver(plot, canvas) {
  const { width, height, ratio, view, shown, camera, scale } = plot, context = canvas.getContext("2d");
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const ink = { text: plot.css("--st-text-color", "#222222"), ground: `rgb(${plot.ground})` };
  const region = view.selected[0] === "L" ? lassoOf(view.selected) : null;
  if (plot.path) outline(context, plot.path, ink);
  else if (region && region.yaw === camera.yaw && region.pitch === camera.pitch) {
    outline(context, region.corners.map(([x, y]) => [width / 2 + (x - camera.x) * scale, height / 2 - (y - camera.y) * scale]), ink);
  }
  for (const one of new Set([view.point, plot.hovered])) if (one !== null && one >= 0 && shown[one]) reading(plot, context, one, ink);
  tokens(plot, context, ink);
}

function outline(context, corners, { text }) {
  context.beginPath();
  corners.forEach(([x, y]) => context.lineTo(x, y));
  context.closePath();
  context.fillStyle = context.strokeStyle = text;
  context.globalAlpha = 0.06;
  context.fill("evenodd");
  context.globalAlpha = 0.55;
  context.setLineDash([5, 4]);
  context.lineWidth = 1.2;
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
}

/** A point with lines to what it reads, or to what reads it. */
function reading(plot, context, one, ink) {
  const { sx, sy, shown } = plot, chosen = one === plot.view.point, lines = plot.lines(one).filter(([other]) => shown[other]);
  for (const [other, weight] of lines) {
    context.beginPath();
    context.moveTo(sx[one], sy[one]);
    context.lineTo(sx[other], sy[other]);
    for (const [wider, style] of [[2.5, ink.ground], [0, ink.text]]) {
      context.globalAlpha = (chosen ? 1 : 0.6) * (0.6 + 0.4 * weight);
      context.strokeStyle = style;
      context.lineWidth = 1.4 + 4.5 * weight + wider;
      context.stroke();
    }
  }
  context.globalAlpha = 1;
  if (chosen) lines.forEach(([other]) => ring(context, sx[other], sy[other], 5.5, 1.3, ink));
  ring(context, sx[one], sy[one], chosen ? 8 : 6.5, chosen ? 2.4 : 1.6, ink);
}

function ring(context, x, y, radius, line, { text, ground }) {
  for (const [wider, style] of [[2, ground], [0, text]]) {
    context.beginPath();
    context.arc(x, y, radius, 0, 7);
    context.lineWidth = line + wider;
    context.strokeStyle = style;
    context.stroke();
  }
}

/** Tokens beside the chosen point and what it reads, and beside all that is lit where that is not too many. */
function tokens(plot, context, { text, ground }) {
  const { sx, sy, shown, lit, view, width, height } = plot, some = lit ?? shown, wanted = [], more = [], taken = [];
  if (view.point !== null && shown[view.point]) wanted.push(view.point, ...plot.lines(view.point).map(([other]) => other).filter((i) => shown[i]));
  for (let i = 0; i < plot.count && more.length <= LABELS; i++) if (some[i] && sx[i] > 0 && sy[i] > 0 && sx[i] < width && sy[i] < height) more.push(i);
  if (more.length <= LABELS) wanted.push(...more);
  context.font = `11.5px ${plot.css("--st-code-font", "monospace")}`;
  context.textBaseline = "middle";
  context.lineJoin = "round";
  for (const i of wanted) {
    const word = short(plot.word(i), 14), room = context.measureText(word).width;
    const x = sx[i] + 10 + room > width ? sx[i] - 10 - room : sx[i] + 10, y = sy[i] - 7;
    if (taken.some(([left, top, wide]) => left < x + room && x < left + wide && top < y + 14 && y < top + 14)) continue;
    taken.push([x, y, room]);
    context.strokeStyle = ground;
    context.lineWidth = 3;
    context.strokeText(word, x, sy[i]);
    context.fillStyle = text;
    context.fillText(word, x, sy[i]);
  }
}

/** What a point is: texts as text, never as HTML. */
function card(plot, i) {
  const { points, content, colouring } = plot, key = plot.isKey(i), tag = points.tag && points.tag[i] !== NOWHERE ? ` · ${content.tags[points.tag[i]]}` : "";
  const lines = [make("strong", "mono", plot.word(i)), make("div", "muted", `${key ? "▲ key" : "● query"} · position ${points.position[i]} · ${content.input_word} ${points.input[i]}${tag}`)];
  if (colouring.numbers && colouring.name !== "position") lines.push(make("div", "", `${colouring.name} ${said(numberOf(colouring.numbers, i))}`));
  if (points.sizes && !Number.isNaN(numberOf(points.sizes, i))) lines.push(make("div", "", `${points.sizes.name} ${said(numberOf(points.sizes, i))}`));
  const reads = plot.lines(i).slice(0, 3).map(([other, weight]) => `${plot.word(other)} ${weight.toFixed(2)}`);
  if (reads.length) lines.push(make("div", "mono small", `${key ? "read by" : "reads"} ${reads.join(" · ")}`));
  lines.push(make("div", "sentence muted", content.texts[points.input[i]]));
  return lines;
}
