// Effects of patches on one canvas. Pointer and arrow keys say the numbers of a cell; a click or Enter reports its patch.
const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const number = (value) => (Number.isNaN(value) ? "undefined" : String(Number(value.toPrecision(3)))).replace("-", "−");
const GAP = 1;

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const { rows, columns, palette, patches, most, differ } = data;
  const [effect, value, probability] = data.numbers.map(floats);
  const width = columns[0].length, height = rows.length;
  const chosen = new Set(data.chosen);
  const half = (palette.length - 1) / 2;
  const tokens = columns.length > 1;
  const side = 62;

  const canvas = make("canvas", "cells");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "grid");
  canvas.setAttribute("aria-label", `Effects by ${data.rowName} and ${data.columnName}: arrow keys move, Enter patches`);
  const spoken = make("div", "spoken");
  spoken.setAttribute("aria-live", "polite");
  const float = make("div", "float");
  float.hidden = true;
  const scroller = make("div", "scroller"), board = make("div", "board");
  const labels = (texts, className) => {
    const line = make("div", `labels ${className}${tokens ? " tokens" : ""}`);
    line.append(make("span", "corner-label", !tokens ? "head" : className === "above" ? "clean" : "corrupted"));
    texts.forEach((text, i) => {
      const label = make("span", "label mono", text);
      label.classList.toggle("differs", differ[i]);
      label.classList.toggle("flat", [...text].length < 3);
      label.title = tokens ? `${text}, position ${i}` : `head ${text}`;
      line.append(label);
    });
    return line;
  };
  const above = labels(columns[0], "above"), below = columns[1] ? labels(columns[1], "below") : null;
  const middle = make("div", "middle"), names = make("div", "names");
  const every = rows.length > 40 ? Math.ceil(rows.length / 40) : 1;
  rows.forEach((text, i) => names.append(make("span", "name", i === 0 ? `${data.rowName} ${text}` : i % every && i !== rows.length - 1 ? "" : text)));
  middle.append(names, canvas);
  board.append(above, middle, ...(below ? [below] : []));
  scroller.append(board);

  const legend = make("div", "legend");
  legend.append(make("span", "", `−${number(most)}`));
  palette.forEach((colour) => {
    const swatch = make("i");
    swatch.style.backgroundColor = colour;
    legend.append(swatch);
  });
  legend.append(make("span", "", number(most)), make("span", "muted", "effect: 0 as in the run that is patched, 1 as in the run the patch comes from"));
  const full = make("button", "corner", "Full screen");
  full.onclick = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());

  let cellWidth = 20, cellHeight = 16, at = root.patchAt ?? null;
  if (at !== null && at >= width * height) at = null;
  function draw() {
    const room = (root.clientWidth || 700) - side - 12;
    cellWidth = Math.max(tokens ? 17 : 20, Math.min(56, Math.floor(room / width)));
    cellHeight = Math.max(11, Math.min(22, Math.floor(560 / height)));
    const scale = window.devicePixelRatio || 1;
    canvas.style.width = `${cellWidth * width}px`;
    canvas.style.height = `${cellHeight * height}px`;
    canvas.width = Math.round(cellWidth * width * scale);
    canvas.height = Math.round(cellHeight * height * scale);
    board.style.setProperty("--cell", `${cellWidth}px`);
    board.style.setProperty("--row", `${cellHeight}px`);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    for (let i = 0; i < height; i++) {
      for (let j = 0; j < width; j++) {
        const k = i * width + j, one = effect[k];
        if (Number.isNaN(one)) continue;
        pen.fillStyle = palette[half + Math.round(half * Math.max(-1, Math.min(1, one / most)))];
        pen.fillRect(j * cellWidth, i * cellHeight, cellWidth - GAP, cellHeight - GAP);
      }
    }
    pen.lineWidth = 2;
    for (let k = 0; k < patches.length; k++) {
      if (!chosen.has(patches[k]) && k !== at) continue;
      pen.strokeStyle = k === at ? getComputedStyle(root).color : "#d9822b";
      const inset = k === at && chosen.has(patches[k]) ? 3 : 1;
      if (chosen.has(patches[k])) {
        pen.strokeStyle = "#d9822b";
        pen.strokeRect((k % width) * cellWidth + 1, Math.floor(k / width) * cellHeight + 1, cellWidth - GAP - 2, cellHeight - GAP - 2);
      }
      if (k === at) {
        pen.strokeStyle = getComputedStyle(root).color;
        pen.lineWidth = 1;
        pen.strokeRect((k % width) * cellWidth + inset - 0.5, Math.floor(k / width) * cellHeight + inset - 0.5, cellWidth - GAP - 2 * inset + 1, cellHeight - GAP - 2 * inset + 1);
        pen.lineWidth = 2;
      }
    }
  }
  function tell(k) {
    const i = Math.floor(k / width), j = k % width;
    const where = tokens
      ? `${data.rowName} ${rows[i]}, position ${j}: ${columns[0][j]}${differ[j] ? ` / ${columns[1][j]}` : ""}`
      : `layer ${rows[i]}, head ${columns[0][j]}`;
    const table = make("table");
    [["effect", number(effect[k])], [data.metric, number(value[k])], [`probability of ${data.token}`, `${(100 * probability[k]).toPrecision(3)}%`]].forEach(([name, text]) => {
      const line = make("tr");
      line.append(make("td", "", name), make("td", "num", text));
      table.append(line);
    });
    float.replaceChildren(make("strong", "", where), table, make("div", "muted", chosen.has(patches[k]) ? "Click to take this patch away." : "Click to apply this patch."));
    float.hidden = false;
    const box = canvas.getBoundingClientRect(), home = root.getBoundingClientRect();
    const right = box.left - home.left + (j + 1) * cellWidth + 8;
    const left = right + float.offsetWidth < home.width ? right : box.left - home.left + j * cellWidth - float.offsetWidth - 8;
    float.style.left = `${Math.max(0, left)}px`;
    const top = box.top - home.top + i * cellHeight;
    float.style.top = `${Math.max(0, Math.min(top, root.scrollHeight - float.offsetHeight))}px`;
    return `${where}, effect ${number(effect[k])}`;
  }
  const cellOf = (event) => {
    const box = canvas.getBoundingClientRect();
    const j = Math.floor((event.clientX - box.left) / cellWidth), i = Math.floor((event.clientY - box.top) / cellHeight);
    return i >= 0 && i < height && j >= 0 && j < width ? i * width + j : null;
  };
  const report = (k) => { if (k !== null && !Number.isNaN(effect[k])) setTriggerValue("click", patches[k]); };
  canvas.onpointermove = (event) => {
    const k = cellOf(event);
    if (k === null || Number.isNaN(effect[k])) float.hidden = true;
    else tell(k);
    canvas.dataset.cell = k === null ? "" : patches[k];
  };
  canvas.onpointerleave = () => { float.hidden = true; };
  canvas.onclick = (event) => { at = root.patchAt = cellOf(event); draw(); report(at); };
  canvas.onkeydown = (event) => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0], Home: [0, -width], End: [0, width] }[event.key];
    if (event.key === "Enter" || event.key === " ") {
      if (at !== null) report(at);
      event.preventDefault();
    } else if (step) {
      const i = at === null ? 0 : Math.max(0, Math.min(height - 1, Math.floor(at / width) + step[0]));
      const j = at === null ? 0 : Math.max(0, Math.min(width - 1, (at % width) + step[1]));
      at = root.patchAt = i * width + j;
      draw();
      spoken.textContent = tell(at);
      event.preventDefault();
    } else if (event.key === "Escape") float.hidden = true;
  };
  canvas.onfocus = () => { if (canvas.matches(":focus-visible")) { at = at ?? 0; root.patchAt = at; draw(); spoken.textContent = tell(at); } };
  canvas.onblur = () => { float.hidden = true; };

  const focused = parentElement.activeElement?.tagName === "CANVAS";
  const scrolled = root.querySelector(".scroller")?.scrollLeft ?? 0;
  root.replaceChildren(legend, scroller, spoken, float, full);
  draw();
  scroller.scrollLeft = scrolled;
  if (focused) canvas.focus({ preventScroll: true });
  root.patchWatch?.disconnect();
  root.patchWatch = new ResizeObserver(() => draw());
  root.patchWatch.observe(root);
  root.dataset.ready = String(patches.length);
}
