// The drawing of a circuit as SVG: edges below, marks above. What it says comes as text, never as HTML.
const LINES = ["q", "k", "v", "m", "o", "h"]; // classes of the kinds of edges
const COPIED = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "fill-opacity", "opacity", "font-size", "font-family", "font-weight", "text-anchor"];
const signed = (value) => {
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size < 0.001 || size >= 1e5 ? size.toExponential(1) : String(Number(size.toPrecision(3)));
  return (value > 0 ? "+" : "−") + text;
};

function picture(data, plan) {
  const { marks, edges, sides } = data, strongest = Math.max(...edges.map((edge) => Math.abs(edge[3])), 1e-12);
  const scene = draw("g", { class: "scene" }), back = draw("g", { class: "back" }), wires = draw("g", {}), fronts = draw("g", {});
  plan.empty.forEach(([x, y]) => back.append(draw("circle", { cx: x, cy: y, r: 1.6, class: "absent" })));
  [...plan.rows].forEach(([layer, y]) => back.append(draw("text", { x: plan.labels, y: y + 4, class: "layer", "text-anchor": "end" }, `layer ${layer}`)));
  plan.gaps.forEach(([y, first, last]) => back.append(
    draw("text", { x: plan.labels, y: y + 4, class: "layer skipped", "text-anchor": "end" }, first === last ? `${first} –` : `${first}–${last} –`),
  ));
  const through = marks.map(() => 0);
  edges.forEach(([from, to, , score]) => { through[from] += Math.abs(score); through[to] += Math.abs(score); });
  const most = Math.max(...through.filter((_, i) => !["input", "logits"].includes(marks[i].kind)), 1e-12);

  // Keys and values that several heads share stand below these heads.
  marks.forEach((mark, i) => {
    if (mark.kind !== "kv") return;
    marks.forEach((head, j) => {
      if (head.kind === "head" && head.layer === mark.layer && Math.abs(head.column - mark.column) < mark.span / 2) {
        back.append(draw("line", { x1: plan.at[j].x, x2: plan.at[j].x, y1: plan.at[j].y + plan.at[j].height / 2, y2: plan.at[i].y, class: "stem" }));
      }
    });
  });

  const paths = [], hits = [];
  edges.map((_, i) => i).reverse().forEach((i) => {
    const [, , kind, score, side] = edges[i], part = Math.abs(score) / strongest;
    const shade = sides ? `side${side}` : LINES[kind];
    paths[i] = draw("path", {
      d: plan.curves[i],
      class: `edge ${shade}${score < 0 ? " against" : ""}`,
      "stroke-width": (0.9 + 6.1 * part).toFixed(2),
      "stroke-opacity": (0.5 + 0.45 * Math.sqrt(part)).toFixed(2),
    });
    hits[i] = draw("path", { d: plan.curves[i], class: "hit", "stroke-width": Math.max(7, 1 + 6.3 * part).toFixed(1) });
    wires.append(paths[i], hits[i]);
  });

  const nodes = marks.map((mark, i) => {
    const { x, y, width, height } = plan.at[i];
    const node = draw("g", { class: `mark ${mark.kind}`, role: "button", tabindex: -1 });
    node.dataset.node = mark.name;
    const shape = draw("rect", { x: x - width / 2, y: y - height / 2, width, height, rx: { head: 9, kv: 3, mlp: 2, neuron: 2 }[mark.kind] ?? 5, class: "shape" });
    shape.style.setProperty("--strength", `${Math.round(62 * Math.min(1, through[i] / most))}%`);
    node.append(shape);
    const size = ["input", "logits", "group"].includes(mark.kind) ? 11 : Math.min(11, plan.tall * 0.68);
    const middle = { x, y: y + size * 0.36, "text-anchor": "middle", class: "name", style: `font-size: ${size.toFixed(1)}px` };
    if (mark.kind !== "kv") node.append(draw("text", middle, mark.text));
    if (mark.label) node.append(draw("text", { x, y: y - height / 2 - 3.5, "text-anchor": "middle", class: "label" }, mark.label));
    fronts.append(node);
    return node;
  });
  scene.append(back, wires, fronts);
  return { scene, paths, hits, nodes };
}

// A file that looks the same without this page: every style is written into the element.
function standalone(svg, frame) {
  const copy = svg.cloneNode(true), from = svg.querySelectorAll("*"), to = copy.querySelectorAll("*");
  from.forEach((node, i) => {
    const style = getComputedStyle(node);
    if (node.tagName !== "g") COPIED.forEach((name) => to[i].setAttribute(name, style.getPropertyValue(name)));
    ["class", "tabindex", "role", "style"].forEach((name) => to[i].removeAttribute(name));
  });
  copy.querySelectorAll("[stroke='rgba(0, 0, 0, 0)'], [data-hit]").forEach((node) => node.remove());
  copy.firstElementChild.removeAttribute("transform");
  copy.removeAttribute("style");
  copy.setAttribute("xmlns", SPACE);
  copy.setAttribute("viewBox", `${frame.x} ${frame.y} ${frame.width} ${frame.height}`);
  copy.setAttribute("width", Math.round(frame.width));
  copy.setAttribute("height", Math.round(frame.height));
  const paper = getComputedStyle(svg).getPropertyValue("--st-background-color") || "#ffffff";
  copy.prepend(draw("rect", { x: frame.x, y: frame.y, width: frame.width, height: frame.height, fill: paper.trim() }));
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(copy)}`;
}
