// What things are called, and the box that says so.
const said = (value) => (value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : value.toFixed(3));

class Names {
  constructor(root, float, { tokens, one, divided }) {
    Object.assign(this, { root, float, tokens, one, of: divided ? "what is kept of its sum" : "its sum" });
  }

  word(position) { return this.tokens[Number(position)].whole; }

  node(id) {
    const [level, position] = id.slice(1).split(".");
    if (id[0] === "t") return [this.word(level), `position ${level}`, "click to trace the prediction made here"];
    if (id[0] === "m") return [this.word(position), `position ${position}, MLP of layer ${level}`, "click for its neurons"];
    const after = id[0] === "a" ? `after the attention of layer ${level}` : Number(level) ? `after layer ${level - 1}` : "input";
    return [this.word(position), `position ${position}, ${after}`, "click for what it would predict"];
  }

  ofNode(id, value) {
    const [name, where, hint] = this.node(id);
    const lines = [make("strong", "mono", name), make("div", "muted", where)];
    if (value !== undefined) lines.push(make("div", "", `contributes ${said(value)} of ${this.of}`));
    return [...lines, make("div", "muted", hint)];
  }

  ofEdge([kind, layer, query, key, , , heads], value) {
    const of = `of layer ${layer}`, beside = this.one ? `the block ${of}` : `the ${kind === STAYING ? "attention" : "MLP"} ${of}`;
    const what = kind === ATTENTION ? `attention ${of}` : kind === MLP ? `MLP ${of}` : `the stream past ${beside}`;
    const lines = [
      make("strong", "mono", kind === ATTENTION ? `${this.word(query)} ← ${this.word(key)}` : this.word(query)),
      make("div", "muted", kind === ATTENTION ? `position ${query} ← ${key}, ${what}${query === key ? ", to itself" : ""}` : `position ${query}, ${what}`),
      make("div", "", `contributes ${said(value)} of ${this.of}`),
    ];
    if (heads?.length) lines.push(make("div", "muted", heads.map(([head, of]) => `head ${head}: ${said(of)}`).join(" · ")));
    const hint = { [ATTENTION]: "click for its heads", [MLP]: "click for its neurons" }[kind];
    return hint ? [...lines, make("div", "muted", hint)] : lines;
  }

  show(box, lines) {
    const { float, root } = this;
    float.replaceChildren(...lines);
    float.hidden = false;
    const home = root.getBoundingClientRect(), beside = box.right - home.left + 12;
    const start = beside + float.offsetWidth < home.width ? beside : box.left - home.left - float.offsetWidth - 12;
    float.style.left = `${Math.max(0, start)}px`;
    float.style.top = `${Math.max(0, Math.min(box.top - home.top + root.scrollTop, root.scrollHeight - float.offsetHeight))}px`;
  }

  hide() { this.float.hidden = true; }
}
