// What stands around the picture and stays in sight when it is scrolled: marks above, words below, layers on the left.
function marksOf({ x, top, across, columns, width }, { tokens, target, answer }) {
  const group = draw("g", {}), size = Math.max(4, Math.min(7, across / 4));
  group.append(draw("rect", { class: "sheet", x: 0, y: 0, width, height: top - 14 }));
  columns.forEach((position) => {
    const at = x(position), on = position === target;
    const one = draw("g", { class: on ? "mark on" : "mark", role: "button", "data-id": `t${position}`, "aria-pressed": on });
    one.setAttribute("aria-label", `trace the prediction at ${tokens[position].whole}, position ${position}`);
    one.append(
      draw("rect", { class: "grip", x: at - across / 2, y: 12, width: across, height: 20 }),
      draw("path", { d: `M${at - size},${19}L${at + size},${19}L${at},${19 + 1.4 * size}Z` }),
    );
    group.append(one);
  });
  if (answer) {
    const late = x(target) > width - 120;
    group.append(draw("text", { class: "answer", x: x(target) + (late ? 8 : -8), y: 13, "text-anchor": late ? "end" : "start" }, answer));
  }
  return group;
}

function wordsOf({ x, floor, height, width, columns, across, alive, dots }, { tokens, target }) {
  const group = draw("g", {}), every = Math.ceil(13 / across);
  group.append(draw("rect", { class: "sheet", x: 0, y: floor + 8, width, height: height - floor - 8 }));
  const reached = new Set(alive.filter(([kind, layer]) => layer === 0 && (kind === ATTENTION || kind === STAYING)).map((edge) => edge[3]));
  columns.forEach((position, i) => {
    if (i % every && position !== target) return;
    const kind = `word${position === target ? " picked" : reached.has(position) ? "" : " idle"}`;
    const place = `translate(${x(position) - 5},${floor + 18}) rotate(45)`;
    group.append(draw("text", { class: kind, transform: place, "data-word": position }, tokens[position].text));
  });
  dots.forEach(([at, count]) => group.append(draw("text", { class: "dots", x: at, y: floor + 20, "text-anchor": "middle", "data-skipped": count }, `+${count}`)));
  return group;
}

function namesOf({ left, up, top, floor, height, state, middle, one }, { layers }) {
  const group = draw("g", {}), every = Math.ceil(14 / up);
  group.append(draw("rect", { class: "sheet", x: 0, y: 0, width: left - 10, height }));
  const name = (text, y) => group.append(draw("text", { class: "level", x: left - 16, y: y + 4, "text-anchor": "end" }, text));
  for (let layer = 0; layer < layers; layer++) {
    if (layer % every === 0 || layer === layers - 1) name(layer, one ? (state(layer) + state(layer + 1)) / 2 : middle(layer));
  }
  name("input", state(0));
  const corners = draw("g", {});
  corners.append(
    draw("rect", { class: "sheet above", x: 0, y: 0, width: left - 10, height: top - 14 }),
    draw("text", { class: "level above", x: left - 16, y: 26, "text-anchor": "end" }, "layer"),
    draw("rect", { class: "sheet below", x: 0, y: floor + 8, width: left - 10, height: height - floor - 8 }),
  );
  return { names: group, corners };
}

function guidesOf({ columns, x, top, floor }) {
  const group = draw("g", { class: "guides" });
  columns.forEach((position) => group.append(draw("line", { x1: x(position), x2: x(position), y1: top, y2: floor })));
  return group;
}
