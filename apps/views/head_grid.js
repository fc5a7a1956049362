// Every head as one tile of a single sprite picture. Sorting is a new order of the same picture; a click reports a head.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const { sprite, tiles, columns, scores, locked, chosen, rows, heads, names } = data;
  const picked = new Set(chosen);
  // Each picture is cut out on a canvas of its own: pieces of a background would lose a row or column to rounding,
  // and the first column is where the sinks are.
  const sheet = sprite ? new Image() : null;
  const waiting = [];
  const cut = (canvas, [column, row]) => {
    const width = sheet.naturalWidth / sprite.columns, height = sheet.naturalHeight / sprite.rows;
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").drawImage(sheet, column * width, row * height, width, height, 0, 0, width, height);
  };
  const picture = (className, at) => {
    const canvas = make("canvas", className);
    if (sheet.complete && sheet.naturalWidth) cut(canvas, at);
    else waiting.push([canvas, at]);
    return canvas;
  };
  if (sheet) {
    sheet.onload = () => waiting.splice(0).forEach(([canvas, at]) => cut(canvas, at));
    sheet.src = sprite.url;
  }

  const grid = make("div", "grid" + (rows ? " framed" : " flow") + (data.smooth ? " smooth" : ""));
  const tile = data.tile ?? (sprite ? 64 : 24);
  const cells = `repeat(${columns}, minmax(0, ${tile}px))`;
  grid.style.gridTemplateColumns = rows ? `max-content ${cells}` : cells;
  grid.setAttribute("role", "grid");
  const float = make("div", "float");
  float.hidden = true;

  if (rows) {
    grid.append(make("span", "axis corner-label", names[0]));
    heads.forEach((label) => grid.append(make("span", "axis top", label)));
  }
  const buttons = [];
  tiles.forEach((one, i) => {
    if (rows && i % columns === 0) {
      const row = rows[i / columns];
      const label = make("span", "axis side", row.text);
      (row.picks ?? []).forEach((one) => {
        const pick = make("button", "plain pick", one.text);
        pick.setAttribute("aria-label", one.title);
        pick.title = one.title;
        pick.dataset.site = one.id;
        pick.classList.toggle("on", picked.has(one.id));
        pick.onclick = () => setTriggerValue("click", one.id);
        label.append(pick);
      });
      grid.append(label);
    }
    const button = make("button", "plain tile");
    button.dataset.head = one.id;
    button.setAttribute("aria-label", one.title);
    button.setAttribute("aria-pressed", String(one.id === locked || picked.has(one.id)));
    const face = sprite ? picture("face", one.at) : make("span", "face");
    if (one.colour) face.style.backgroundColor = one.colour;
    button.append(face);
    if (!rows) button.append(make("span", "name", one.text));
    if (one.under) button.append(make("span", "under", one.under));
    button.classList.toggle("on", one.id === locked || picked.has(one.id));
    button.onclick = () => setTriggerValue("click", one.id);
    button.onpointerenter = () => preview(button, one, i);
    button.onfocus = () => preview(button, one, i);
    button.onpointerleave = button.onblur = () => { float.hidden = true; };
    button.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
      if (step && buttons[i + step]) { buttons[i + step].focus(); event.preventDefault(); }
    };
    buttons.push(button);
    grid.append(button);
  });

  function preview(button, one, i) {
    float.replaceChildren(make("strong", "", one.title));
    if (sprite) float.append(picture(data.smooth ? "large smooth" : "large", one.at));
    const table = make("table");
    Object.entries(scores).forEach(([name, values]) => {
      const line = make("tr");
      const value = values[i];
      line.append(make("td", "", name), make("td", "num", value === null ? "undefined" : String(value)));
      table.append(line);
    });
    float.append(table);
    float.hidden = false;
    const box = button.getBoundingClientRect(), home = root.getBoundingClientRect();
    const right = box.right - home.left + 8;
    const left = right + float.offsetWidth < home.width ? right : box.left - home.left - float.offsetWidth - 8;
    float.style.left = `${Math.max(0, left)}px`;
    const top = box.top - home.top + root.scrollTop;
    float.style.top = `${Math.max(0, Math.min(top, home.height - float.offsetHeight))}px`;
  }

  const children = [grid, float];
  if (sprite) {
    const full = make("button", "corner", "Full screen");
    full.onclick = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());
    children.push(full);
  }
  const focused = parentElement.activeElement?.dataset?.head;
  root.replaceChildren(...children);
  if (focused) root.querySelector(`[data-head="${focused}"]`)?.focus({ preventScroll: true });
  float.hidden = true;
  root.dataset.ready = String(tiles.length);
}
