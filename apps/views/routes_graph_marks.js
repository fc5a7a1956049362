// Edges as wide as they contribute, circles for the stream, squares for MLPs.
const KINDS = { [ATTENTION]: "attention", [STAYING]: "stays", [MLP]: "mlp", 4: "stays" };

// The drawn edges, and what is wide enough to be met by a pointer; wide ones lie on top.
function edgesOf(place, at, selected) {
  const layer = draw("g", {}), hits = draw("g", {}), lines = [];
  const order = place.alive.map((edge, i) => [share(edge, at), i]).sort(([a], [b]) => a - b);
  order.forEach(([value, i]) => {
    const edge = place.alive[i], [kind, , query, key] = edge, d = course(edge, place), id = nameOf(edge);
    const own = kind === ATTENTION && query === key ? " own" : "";
    lines[i] = draw("path", {
      d,
      class: `edge ${KINDS[kind]}${own}${id && id === selected ? " picked" : ""}`,
      "stroke-width": (0.6 + 7 * value).toFixed(2),
      "stroke-opacity": (0.42 + 0.5 * Math.min(1, Math.sqrt(value) * 1.2)).toFixed(2),
      "data-name": id,
      "data-share": value,
    });
    layer.append(lines[i]);
    hits.append(draw("path", { d, class: id ? "hit leads" : "hit", "data-part": i, ...(id ? { "data-id": id } : {}) }));
  });
  return { layer, hits, lines };
}

// Circles and squares, and [x, y] of each by its name.
function nodesOf(place, at, { target, selected, layers, one }) {
  const nodes = new Map();
  const put = (id, x, y, weight = 0) => { if (!nodes.has(id)) nodes.set(id, [x, y, weight]); };
  put(`s${layers}.${target}`, place.x(target), place.state(layers));
  place.alive.forEach((edge) => {
    const [kind, layer, query, key] = edge, x = place.x(query), high = place.state(layer + 1);
    if (kind === MLP) put(`m${layer}.${query}`, x + place.aside * 0.75, ((one ? place.state(layer) : place.middle(layer)) + high) / 2, share(edge, at));
    if (!one) put(`a${layer}.${query}`, x, place.middle(layer));
    if (one || kind === ATTENTION || kind === STAYING) put(`s${layer}.${key}`, place.x(key), place.state(layer));
  });
  const group = draw("g", {}), big = Math.min(1.5, place.up / 22);
  nodes.forEach(([x, y, weight], id) => {
    const square = id[0] === "m", r = (id[0] === "s" ? 3.6 : square ? 2.2 + 3.4 * Math.sqrt(weight) : 1.5) * big;
    const mark = square
      ? draw("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r, class: "node square" })
      : draw("circle", { cx: x, cy: y, r, class: id[0] === "s" ? "node" : "node between" });
    if (id === selected) mark.classList.add("picked");
    group.append(mark, draw("circle", { cx: x, cy: y, r: Math.max(r + 2, Math.min(8, place.up / 4)), class: "grip", "data-id": id }));
  });
  return { group, nodes };
}
