// Answers as rows: the clean run on the left, the corrupted one on the right, what is between them in the middle.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  const percent = (value) => {
    const part = 100 * value;
    return part > 0 && part < 0.001 ? "<0.001%" : `${part >= 99.95 || part === 0 ? part.toFixed(0) : part >= 0.095 ? part.toFixed(1) : part.toPrecision(1)}%`;
  };
  const signed = (value) => {
    const size = (100 * Math.abs(value)).toFixed(1);
    return size === "0.0" ? "0" : `${value < 0 ? "−" : "+"}${size}`;
  };
  const bar = (value, className) => {
    const cell = make("td", `bar ${className}`);
    cell.style.setProperty("--part", `${(100 * value).toFixed(2)}%`);
    cell.append(make("span", "", percent(value)));
    return cell;
  };
  const table = make("table", "answers"), head = make("tr"), body = make("tbody");
  ["answer", "clean", data.patched ? "patched" : "difference", "corrupted"].forEach((name) => {
    const cell = make("th", "", name);
    cell.scope = "col";
    head.append(cell);
  });
  data.rows.forEach(({ text, kind, numbers }) => {
    const row = make("tr", kind);
    const name = make("th", "mono", text);
    name.scope = "row";
    name.title = { answer: "the clean prompt's answer", foil: "the corrupted prompt's answer" }[kind] ?? "";
    const middle = data.patched ? bar(numbers[1], "patched") : make("td", "signed", signed(numbers[0] - numbers[2]));
    if (data.patched) middle.append(make("small", "", signed(numbers[1] - numbers[data.into])));
    row.append(name, bar(numbers[0], ""), middle, bar(numbers[2], ""));
    body.append(row);
  });
  const top = make("thead");
  top.append(head);
  table.append(top, body);
  root.replaceChildren(table);
  root.dataset.ready = String(data.rows.length);
}
