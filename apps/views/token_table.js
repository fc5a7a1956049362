// Tokens by methods, one scale of colours. The slider moves the cumulative columns and the ranking without the server.
const number = (value) => (Number.isNaN(value) ? "undefined" : String(Number(value.toPrecision(4))));
const brief = (value) => {
  if (Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 0.0095 || size >= 9999.5) ? value.toExponential(0) : value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2);
  return text.replaceAll("-", "−");
};
const rho = (value) => (value === null ? "undefined" : value.toFixed(2).replace("-", "−"));

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  if (root.table?.version !== data.version) {
    root.table = build(root, data);
    root.dataset.ready = data.version;
  }
  root.table.report = setTriggerValue; // of this drawing: that of an earlier one may no longer be listened to
  root.table.mark(data.row);
  root.table.rest(data.step);
}

function build(root, { tokens, columns, check, steps, control, counted, breaks, palette, version }) {
  const self = { version };
  const all = check ? [...columns, check] : columns;
  const half = (palette.length - 1) / 2;
  const values = all.map((column) => {
    const bytes = Uint8Array.from(atob(column.values), (c) => c.charCodeAt(0));
    return new Float32Array(bytes.buffer);
  });
  const count = counted.filter(Boolean).length;
  let step = 0, chosen = null;
  const stepOf = (j) => Math.min(step, all[j].n_steps - 1);
  const at = (i, j) => values[j][stepOf(j) * tokens.length + i];
  const float = make("div", "float");
  float.hidden = true;

  // The table.
  const table = make("table", "grid");
  const head = make("tr"), body = make("tbody");
  head.append(make("th", "token"));
  const heads = all.map((column, j) => {
    const cell = make("th", column === check ? "check" : "", column.title);
    cell.dataset.method = column.name;
    cell.tabIndex = 0;
    cell.append(make("small", "cost", column.cost), make("small", "after"));
    cell.onpointerenter = cell.onfocus = () => show(cell, headLines(j));
    cell.onpointerleave = cell.onblur = () => { float.hidden = true; };
    head.append(cell);
    return cell;
  });
  const cells = all.map(() => []);
  const rows = tokens.map((token, i) => {
    const row = make("tr"), name = make("th", "token"), button = make("button", "plain");
    row.dataset.row = String(i);
    row.classList.toggle("aside", !counted[i]);
    row.classList.toggle("break", breaks.includes(i));
    button.append(make("span", "pos", String(i)), make("span", "word mono", token));
    button.title = `${token}, position ${i}`;
    button.setAttribute("aria-pressed", "false");
    name.append(button);
    row.append(name);
    all.forEach((column, j) => {
      const cell = make("td", column === check ? "check" : "");
      cell.dataset.cell = `${i}.${j}`;
      cells[j].push(cell);
      row.append(cell);
    });
    body.append(row);
    return row;
  });
  const thead = make("thead");
  thead.append(head);
  table.append(thead, body);
  const scroller = make("div", "scroller");
  scroller.append(table);

  function paint(j) {
    const from = stepOf(j) * tokens.length;
    const column = values[j].subarray(from, from + tokens.length);
    const largest = column.reduce((most, value) => (Math.abs(value) > most ? Math.abs(value) : most), 0);
    column.forEach((value, i) => {
      const cell = cells[j][i];
      cell.textContent = brief(value);
      const part = largest > 0 ? Math.sqrt(Math.abs(value) / largest) : 0;
      const place = Number.isNaN(value) ? null : half + Math.sign(value) * Math.round(half * part);
      const [colour, ink] = place === null ? ["", ""] : palette[place];
      cell.style.backgroundColor = colour;
      cell.style.color = ink;
    });
    const after = all[j].n_steps > 1 ? `after ${steps[stepOf(j)]}` : "";
    heads[j].lastChild.textContent = after;
  }

  // The ranking.
  const question = make("p", "question muted");
  const ranking = make("ol", "ranking");
  const agreement = (j, measure = "spearman") => {
    const values = all[j].agreement[measure] ?? [];
    return values[Math.min(step, values.length - 1)] ?? null;
  };
  function rank() {
    if (!check || count < 2) return;
    const entries = columns.map((column, j) => ({ text: column.title, name: column.name, value: agreement(j), j, same: column.same }));
    if (control) entries.push({ text: "random order", name: "random", value: control.mean });
    entries.sort((a, b) => (a.same ?? false) - (b.same ?? false) || (b.value ?? -9) - (a.value ?? -9));
    ranking.replaceChildren(...entries.map((entry, place) => {
      const item = make("li", entry.name === "random" ? "random" : "");
      item.dataset.method = entry.name;
      item.classList.toggle("chance", control !== null && (entry.value === null || entry.value <= control.high || entry.same === true));
      if (entry.same) item.title = "It takes tokens away just as the check does: that they agree says nothing.";
      item.append(make("span", "place", entry.value === null ? "–" : entry.same ? "=" : String(place + 1)), entry.same ? `${entry.text}, the check itself` : entry.text, make("b", "", rho(entry.value)));
      if (heads[entry.j]) {
        item.onpointerenter = () => heads[entry.j].classList.add("lit");
        item.onpointerleave = () => heads[entry.j].classList.remove("lit");
      }
      return item;
    }));
  }
  question.textContent = !check
    ? "Without a causal check nothing says which method is right."
    : count < 2
      ? "One token has no order, so no method can agree with the causal check or disagree."
      : `Which method orders ${count === tokens.length ? "the" : "the compared"} ${count} tokens most like the causal check does? `
        + "Spearman’s ρ of their sizes, signs left aside: 1 is the same order, 0 none, −1 the reverse."
        + (control ? ` 95 of 100 random orders lie between ${rho(control.low)} and ${rho(control.high)}; grey methods do no better.` : "");

  // The slider.
  const slider = make("label", "slider");
  const input = make("input"), output = make("output");
  input.type = "range";
  input.min = 0;
  input.max = steps.length - 1;
  input.setAttribute("aria-label", "Cumulative methods after layer");
  input.oninput = () => go(Number(input.value));
  input.onchange = () => self.report("step", Number(input.value));
  slider.append("Cumulative methods after", input, output);
  slider.hidden = steps.length < 2 || !all.some((column) => column.n_steps > 1);
  function go(to) {
    const before = all.map((_, j) => stepOf(j));
    step = to;
    input.value = String(to);
    output.textContent = `${steps[to]}${to === steps.length - 1 ? " (last)" : ""}`;
    all.forEach((_, j) => { if (!heads[j].dataset.painted || before[j] !== stepOf(j)) paint(j); heads[j].dataset.painted = "yes"; });
    rank();
  }
  let told = null;
  self.rest = (to) => { if (to !== told) go(to); told = to; }; // what the server says counts once: the hand may be ahead
  self.mark = (row) => {
    rows[chosen]?.classList.remove("on");
    rows[chosen]?.querySelector("button").setAttribute("aria-pressed", "false");
    chosen = row;
    rows[chosen]?.classList.add("on");
    rows[chosen]?.querySelector("button").setAttribute("aria-pressed", "true");
  };

  // Pointing and clicking.
  function placeOf(i, j) {
    if (!counted[i]) return "not compared";
    const size = Math.abs(at(i, j));
    let before = 0, same = 0;
    for (let k = 0; k < tokens.length; k++) {
      if (!counted[k]) continue;
      if (Math.abs(at(k, j)) > size) before++;
      else if (Math.abs(at(k, j)) === size) same++;
    }
    return same > 1 ? `ranks ${before + 1} to ${before + same} of ${count}, a tie` : `rank ${before + 1} of ${count} by size`;
  }
  function headLines(j) {
    const column = all[j], lines = [make("strong", "", column.title)];
    if (column !== check) {
      lines.push(make("p", "muted", `Costs ${column.cost}.`));
      const measures = Object.keys(column.agreement).map((measure) => `${measure} ${rho(agreement(j, measure))}`);
      if (measures.length) lines.push(make("p", "", `Agreement with the causal check: ${measures.join(", ")}.`));
    }
    if (column.note) lines.push(make("p", "", column.note));
    return lines;
  }
  function show(node, lines) {
    float.replaceChildren(...lines);
    float.hidden = false;
    const box = node.getBoundingClientRect(), home = root.getBoundingClientRect();
    const right = box.right - home.left + 6;
    const left = right + float.offsetWidth < home.width ? right : box.left - home.left - float.offsetWidth - 6;
    float.style.left = `${Math.max(0, left)}px`;
    const top = box.top - home.top + root.scrollTop;
    float.style.top = `${Math.max(0, Math.min(top, root.scrollHeight - float.offsetHeight))}px`;
  }
  body.onpointerover = (event) => {
    const cell = event.target.closest("td");
    if (!cell) { float.hidden = true; return; }
    const [i, j] = cell.dataset.cell.split(".").map(Number);
    const value = at(i, j), after = all[j].n_steps > 1 ? `, after ${steps[stepOf(j)]}` : "";
    show(cell, [
      make("strong", "mono", tokens[i]),
      make("p", "", `${all[j].title}${after}: ${number(value)}`),
      make("p", "muted", Number.isNaN(value) ? "not measured" : placeOf(i, j)),
    ]);
  };
  scroller.onpointerleave = () => { float.hidden = true; };
  body.onclick = (event) => {
    const row = event.target.closest("tr");
    if (row) self.report("click", Number(row.dataset.row));
  };
  body.onkeydown = (event) => {
    const next = { ArrowDown: 1, ArrowUp: -1 }[event.key], row = event.target.closest("tr");
    const other = next && rows[Number(row?.dataset.row) + next]?.querySelector("button");
    if (other) { other.focus(); event.preventDefault(); }
  };

  const legend = make("div", "legend");
  legend.append(make("span", "", all.some((column) => column.signed) ? "− largest" : "0"));
  palette.slice(all.some((column) => column.signed) ? 0 : half).forEach(([colour]) => {
    const swatch = make("i");
    swatch.style.backgroundColor = colour;
    legend.append(swatch);
  });
  legend.append(
    make("span", "", "+ largest"),
    make("span", "muted", "Each column is scaled to its own largest absolute score (square-root shades), so compare orders, not numbers. "
      + "Orange speaks against the answer; methods without a sign have no orange."),
  );
  const full = make("button", "corner", "Full screen");
  full.onclick = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());
  root.replaceChildren(question, ranking, slider, scroller, legend, float, full);
  return self;
}
