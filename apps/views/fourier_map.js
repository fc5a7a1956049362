// Panels of cells by frequency, a canvas each. Pointer and arrow keys say the numbers of a cell; a click or Enter reports it.
const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const number = (value) => (Number.isNaN(value) ? "undefined" : `${(100 * value).toPrecision(3)} %`);
const SIDE = 58, APART = 6, CHANCE = 40, LABEL = 22, FEW = 12;
// Whether the label at i is written: one in `every`, but of those beside a key one only the key.
const shows = (i, every, keys) => keys.includes(i) || (i % every === 0 && !keys.some((k) => Math.abs(k - i) < every));

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const { palette, most, words } = data;
  const shade = (value) => palette[Math.max(0, Math.min(palette.length - 1, Math.round((palette.length - 1) * value / most)))];
  const spoken = make("div", "spoken");
  spoken.setAttribute("aria-live", "polite");
  const float = make("div", "float");
  float.hidden = true;

  const legend = make("div", "legend");
  legend.append(make("span", "", "0 %"));
  palette.forEach((colour) => {
    const swatch = make("i");
    swatch.style.backgroundColor = colour;
    legend.append(swatch);
  });
  legend.append(make("span", "", number(most)), make("span", "muted", words.value));
  if (words.mark) {
    const dot = make("span", "muted");
    dot.append(make("b", "dot"), document.createTextNode(words.mark));
    legend.append(dot);
  }
  const board = make("div", "panels");

  const panels = data.panels.map((given, which) => {
    const values = floats(given.values), marked = floats(given.marked), beside = given.beside ? floats(given.beside) : null;
    const width = given.columns.length, height = given.rows.length;
    const box = make("div", "panel"), scroller = make("div", "scroller"), inner = make("div", "board");
    const canvas = make("canvas", "cells");
    canvas.tabIndex = 0;
    canvas.dataset.panel = String(which);
    canvas.setAttribute("role", "grid");
    canvas.setAttribute("aria-label", `${given.title || words.value} by ${words.row} and ${words.column}: arrow keys move${words.click ? ", Enter chooses" : ""}`);
    const names = make("div", "names"), middle = make("div", "middle");
    const above = make("div", "labels above"), second = make("div", "labels above");
    middle.append(names, canvas);
    inner.append(above, second, middle);
    scroller.append(inner);
    if (given.title) box.append(make("div", "title", given.title));
    box.append(scroller);
    board.append(box);
    let at = root.fourierAt?.[which] ?? null;
    if (at !== null && at >= width * height) at = null;
    const keep = (k) => { at = k; (root.fourierAt ??= {})[which] = k; };
    const one = { width, height, canvas, size, beside };
    let cellWidth = 20, cellHeight = 14;

    function size(wide, high) {
      cellWidth = wide;
      cellHeight = high;
      const labels = (line, name, texts) => {
        line.replaceChildren(make("span", "corner-label", name));
        const every = texts.length <= FEW ? 1 : Math.max(1, Math.ceil(LABEL / cellWidth));
        texts.forEach((text, j) => {
          const label = make("span", "label", shows(j, every, given.keyColumns) ? text : "");
          label.style.width = `${cellWidth}px`;
          line.append(label);
        });
        if (beside && line === above) line.append(make("span", "label chance", words.beside));
      };
      labels(above, words.column, given.columns);
      labels(second, words.under, given.under);
      const each = Math.max(1, Math.ceil(10 / cellHeight));
      names.replaceChildren(...given.rows.map((text, i) => {
        const written = Number.isNaN(Number(text)) || shows(i, height <= FEW ? 1 : each, given.keyRows);
        return make("span", "name", written ? text : "");
      }));
      inner.style.setProperty("--row", `${cellHeight}px`);
      paint();
    }
    function paint() {
      const extra = beside ? APART + Math.min(cellWidth, 16) : 0, scale = window.devicePixelRatio || 1;
      const gap = cellWidth > 5 && cellHeight > 5 ? 1 : 0;
      canvas.style.width = `${cellWidth * width + extra}px`;
      canvas.style.height = `${cellHeight * height}px`;
      canvas.width = Math.round((cellWidth * width + extra) * scale);
      canvas.height = Math.round(cellHeight * height * scale);
      const pen = canvas.getContext("2d"), look = getComputedStyle(root);
      pen.setTransform(scale, 0, 0, scale, 0, 0);
      for (let i = 0; i < height; i++) {
        for (let j = 0; j < width; j++) {
          const value = values[i * width + j];
          if (Number.isNaN(value)) continue;
          pen.fillStyle = "rgba(128, 134, 150, 0.2)";
          pen.fillRect(j * cellWidth, i * cellHeight, cellWidth, cellHeight);
          pen.fillStyle = shade(value);
          pen.fillRect(j * cellWidth, i * cellHeight, cellWidth - gap, cellHeight - gap);
          if (marked[i * width + j] && cellWidth > 2) {
            pen.fillStyle = value > most / 2 ? look.getPropertyValue("--st-background-color") : look.color;
            pen.beginPath();
            pen.arc((j + 0.5) * cellWidth, (i + 0.5) * cellHeight, Math.max(1.2, Math.min(3, cellWidth / 4, cellHeight / 4)), 0, 7);
            pen.fill();
          }
        }
        if (beside && !Number.isNaN(beside[i])) {
          pen.fillStyle = shade(beside[i]);
          pen.fillRect(width * cellWidth + APART, i * cellHeight, extra - APART, cellHeight - gap);
        }
      }
      const frame = (k, colour, line) => {
        pen.strokeStyle = colour;
        pen.lineWidth = line;
        pen.strokeRect((k % width) * cellWidth, Math.floor(k / width) * cellHeight, cellWidth - gap, cellHeight - gap);
      };
      const row = given.rowIds.indexOf(data.chosen[0]), column = given.columnIds.indexOf(data.chosen[1]);
      if (row >= 0 && column >= 0) frame(row * width + column, "#d9822b", 2);
      if (at !== null) frame(at, look.color, 1);
    }
    function tell(k) {
      const i = Math.floor(k / width), j = k % width;
      const rowName = /^\d/.test(given.rows[i]) ? `${words.row} ${given.rows[i]}` : given.rows[i];
      const where = `${rowName}, ${words.column} ${given.columns[j]}`;
      const table = make("table");
      const lines = [[words.value, number(values[k])]];
      if (beside) lines.push([words.beside, number(beside[i])]);
      if (given.beneath) {
        if (given.beneath[i]) lines.push([`${words.under} of ${words.row}`, `${given.beneath[i]} ${words.unit}`]);
        if (given.under[j]) lines.push([`${words.under} of ${words.column}`, `${given.under[j]} ${words.unit}`]);
      } else if (given.under[j]) lines.push([words.under, `${given.under[j]} ${words.unit}`]);
      lines.forEach(([name, text]) => {
        const line = make("tr");
        line.append(make("td", "", name), make("td", "num", text));
        table.append(line);
      });
      const parts = [make("strong", "", where), table];
      if (words.click) parts.push(make("div", "muted", words.click));
      float.replaceChildren(...(given.title ? [make("div", "muted", given.title)] : []), ...parts);
      float.hidden = false;
      const here = canvas.getBoundingClientRect(), home = root.getBoundingClientRect();
      const right = here.left - home.left + (j + 1) * cellWidth + 8;
      const left = right + float.offsetWidth < home.width ? right : here.left - home.left + j * cellWidth - float.offsetWidth - 8;
      float.style.left = `${Math.max(0, left)}px`;
      const top = here.top - home.top + i * cellHeight;
      float.style.top = `${Math.max(0, Math.min(top, root.scrollHeight - float.offsetHeight))}px`;
      return `${given.title ? `${given.title}, ` : ""}${where}, ${words.value} ${number(values[k])}${marked[k] && words.mark ? `, ${words.mark}` : ""}`;
    }
    const cellOf = (event) => {
      const here = canvas.getBoundingClientRect();
      const j = Math.floor((event.clientX - here.left) / cellWidth), i = Math.floor((event.clientY - here.top) / cellHeight);
      const k = i >= 0 && i < height && j >= 0 && j < width ? i * width + j : null;
      return k !== null && Number.isNaN(values[k]) ? null : k;
    };
    const report = (k) => {
      if (words.click && k !== null && !Number.isNaN(values[k])) setTriggerValue("click", [given.rowIds[Math.floor(k / width)], given.columnIds[k % width]]);
    };
    canvas.onpointermove = (event) => {
      const k = cellOf(event);
      if (k === null) float.hidden = true;
      else tell(k);
    };
    canvas.onpointerleave = () => { float.hidden = true; };
    canvas.onclick = (event) => { keep(cellOf(event)); paint(); report(at); };
    canvas.onkeydown = (event) => {
      const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0], Home: [0, -width], End: [0, width] }[event.key];
      if (event.key === "Enter" || event.key === " ") {
        report(at);
        event.preventDefault();
      } else if (step) {
        const i = at === null ? 0 : Math.max(0, Math.min(height - 1, Math.floor(at / width) + step[0]));
        const j = at === null ? 0 : Math.max(0, Math.min(width - 1, (at % width) + step[1]));
        if (!Number.isNaN(values[i * width + j])) keep(i * width + j);
        paint();
        if (at !== null) spoken.textContent = tell(at);
        event.preventDefault();
      } else if (event.key === "Escape") float.hidden = true;
    };
    canvas.onfocus = () => {
      if (!canvas.matches(":focus-visible")) return;
      const first = values.findIndex((value) => !Number.isNaN(value));
      if (at === null && first >= 0) keep(first);
      paint();
      if (at !== null) spoken.textContent = tell(at);
    };
    canvas.onblur = () => { float.hidden = true; };
    return one;
  });

  function draw() {
    const room = (root.clientWidth || 700) - 8, most = Math.max(...panels.map((one) => one.width));
    const extra = SIDE + 18 + (panels.some((one) => one.beside) ? CHANCE : 0);
    const level = Math.floor((room - panels.length * extra) / panels.reduce((sum, one) => sum + one.width, 0));
    const wide = level >= 4 ? Math.min(40, level) : Math.max(2, Math.min(14, Math.floor((room - extra) / most)));
    const rows = Math.max(...panels.map((one) => one.height));
    const high = Math.max(4, Math.min(20, Math.floor((level >= 4 ? 520 : 300) / rows)));
    panels.forEach((one) => one.size(data.square ? Math.min(wide, 14) : wide, data.square ? Math.min(wide, 14) : high));
  }
  const focused = parentElement.activeElement?.dataset?.panel;
  root.replaceChildren(legend, board, spoken, float);
  draw();
  if (focused !== undefined) panels[Number(focused)]?.canvas.focus({ preventScroll: true });
  root.fourierWatch?.disconnect();
  root.fourierWatch = new ResizeObserver(() => draw());
  root.fourierWatch.observe(root);
  root.dataset.ready = String(panels.length);
}
