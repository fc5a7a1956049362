// Two prompts, one column a position: what differs is marked, so is where the answer is read.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  const patched = new Set(data.patched);
  const table = make("table", "pair"), body = make("tbody");
  const head = make("tr");
  head.append(make("th", "side", ""));
  data.differ.forEach((_, i) => {
    const cell = make("th", "number", String(i));
    cell.classList.toggle("patched", patched.has(i));
    if (patched.has(i)) cell.title = "patched here";
    head.append(cell);
  });
  const top = make("thead");
  top.append(head);
  data.rows.forEach(([name, tokens]) => {
    const row = make("tr");
    const side = make("th", "side", name);
    side.scope = "row";
    row.append(side);
    tokens.forEach((text, i) => {
      const cell = make("td", "mono", text);
      cell.dataset.position = String(i);
      cell.classList.toggle("differs", data.differ[i]);
      cell.classList.toggle("answer", i === data.answer);
      cell.title = `position ${i}${data.differ[i] ? ", differs" : ""}${i === data.answer ? ", the answer is read here" : ""}`;
      row.append(cell);
    });
    body.append(row);
  });
  table.append(top, body);
  const scroller = make("div", "scroller");
  scroller.append(table);
  root.replaceChildren(scroller);
  root.dataset.ready = String(data.differ.length);
}
