// The answer at each layer and position: a table of words on a colour scale. Hover lists the runners-up; click locks a cell.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const { columns, first, rows, palette, legend, locked } = data;
  const float = make("div", "float");
  float.hidden = true;
  const scroller = make("div", "scroller");
  const table = make("div", "table");
  table.style.gridTemplateColumns = `max-content repeat(${columns.length}, minmax(${data.narrow ? 2 : 3.4}rem, 1fr))`;
  rows.forEach((row) => {
    table.append(make("span", "side", row.label));
    row.cells.forEach((cell, j) => {
      const node = make("button", "plain cell mono", cell.text);
      const [colour, ink] = cell.level === null ? ["transparent", ""] : palette[cell.level];
      node.style.backgroundColor = colour;
      node.style.color = ink;
      const id = `${row.layer}.${first + j}`;
      node.dataset.cell = id;
      node.classList.toggle("on", id === locked);
      node.onclick = () => setTriggerValue("click", id);
      node.onpointerenter = node.onfocus = () => {
        const list = make("table");
        cell.top.forEach(([text, chance]) => {
          const line = make("tr");
          line.append(make("td", "mono", text), make("td", "num", chance));
          list.append(line);
        });
        float.replaceChildren(make("strong", "", `${row.label}, after `), make("strong", "mono", columns[j]), list);
        if (cell.note) float.append(make("div", "muted", cell.note));
        float.hidden = false;
        const box = node.getBoundingClientRect(), home = root.getBoundingClientRect();
        const right = box.right - home.left + 6;
        float.style.left = `${right + float.offsetWidth < home.width ? right : Math.max(0, box.left - home.left - float.offsetWidth - 6)}px`;
        float.style.top = `${Math.max(0, Math.min(box.top - home.top + root.scrollTop, home.height - float.offsetHeight))}px`;
      };
      node.onpointerleave = node.onblur = () => { float.hidden = true; };
      table.append(node);
    });
  });
  table.append(make("span", "side", ""));
  columns.forEach((text) => table.append(make("span", "under mono", text)));
  scroller.append(table);

  const key = make("div", "legend");
  key.append(make("span", "", legend.low));
  palette.forEach(([colour]) => {
    const swatch = make("i");
    swatch.style.backgroundColor = colour;
    key.append(swatch);
  });
  key.append(make("span", "", legend.high), make("span", "muted", legend.what));
  const full = make("button", "corner", "Full screen");
  full.onclick = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());
  const scrolled = root.querySelector(".scroller")?.scrollLeft ?? 1e6; // at first the right end: the answer
  root.replaceChildren(key, scroller, float, full);
  // A grid item sticks only within its own column, so the names of the layers are carried along by hand.
  const sides = table.querySelectorAll(".side");
  const carry = () => sides.forEach((side) => { side.style.transform = `translateX(${scroller.scrollLeft}px)`; });
  scroller.onscroll = carry;
  scroller.scrollLeft = scrolled;
  carry();
  root.dataset.ready = String(rows.length);
}
