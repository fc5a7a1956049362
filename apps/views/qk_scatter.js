// One head's queries and keys as points: hover, lasso, isolate, colour and turn them. All of that happens here at once;
// the server is told afterwards, for the address and for what it shows beside. The other qk_scatter files stand above.
const said = (value) => (Number.isNaN(value) ? "undefined" : String(Number(value.toPrecision(3))).replace("-", "−"));
const many = (n) => n.toLocaleString("en");
const short = (text, most) => (text.length <= most ? text : `${text.slice(0, most - 1)}…`);

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  if (root.scatter?.version !== data.version) {
    root.scatter?.end();
    root.scatter = scatter(root, data, root.scatter?.plot);
  }
  root.scatter.plot.report = (view) => setTriggerValue("view", view); // of this drawing: an earlier one is not listened to
  root.scatter.plot.take(data.view);
  root.dataset.ready = data.version;
}

function scatter(root, { version, content }, before) {
  const plot = new Plot(root, content, before), { points, count, solid } = plot, missing = count - plot.total(points.placed);
  const stage = make("div", "stage"), over = make("canvas", "over"), float = make("div", "float"), hint = make("div", "hint muted");
  const under = make("div", "under"), status = make("div", "status muted");
  status.setAttribute("role", "status");
  over.tabIndex = 0;
  over.setAttribute("role", "application");
  over.setAttribute("aria-roledescription", "scatter plot");
  over.setAttribute("aria-label", `${many(points.queries)} queries and ${many(count - points.queries)} keys. Arrow keys go from point to point, Enter chooses, plus and minus zoom, Shift with arrows ${solid ? "turns" : "moves"}, 0 fits, Escape clears.`);
  hint.textContent = solid ? "drag turns · Shift-drag selects a box · wheel zooms" : "drag selects · Shift-drag a box · wheel zooms";
  float.hidden = true;
  float.setAttribute("aria-live", "polite");
  const full = make("button", "corner", "Full screen");
  full.onclick = () => (document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen());
  stage.append(plot.canvas, over, hint, full, float);
  const [bar, update] = barOf(plot, version, content.frequent);
  root.replaceChildren(bar, stage, under, status);

  let legend = "";
  plot.moved = () => drawOver(plot, over);
  plot.changed = () => {
    update();
    status.textContent = statusOf(plot, missing);
    Object.assign(root.dataset, { shown: plot.shownCount, lit: plot.litCount, colour: plot.colouring.name });
    const wanted = `${plot.colouring.name} ${plot.dark} ${plot.view.selected}`;
    if (wanted !== legend) under.replaceChildren(legendOf(plot));
    legend = wanted;
  };
  function hover(i) {
    if (i === plot.hovered) return;
    plot.hovered = i;
    root.dataset.hover = String(i);
    plot.moved();
    float.hidden = i < 0;
    if (i < 0) return;
    float.replaceChildren(...card(plot, i));
    const right = plot.sx[i] + 16, left = right + float.offsetWidth < plot.width ? right : plot.sx[i] - float.offsetWidth - 16;
    float.style.left = `${Math.max(0, left)}px`;
    float.style.top = `${Math.max(0, Math.min(plot.sy[i] + 10, plot.height - float.offsetHeight))}px`;
  }
  hand(plot, over, hover);

  function measure() {
    const wide = stage.clientWidth, tall = document.fullscreenElement ? window.innerHeight - 170 : Math.max(400, Math.min(640, wide * 0.72));
    if (!wide || (wide === plot.width && tall === plot.height)) return;
    Object.assign(plot, { width: wide, height: tall });
    stage.style.height = `${tall}px`;
    plot.look();
  }
  const watch = new ResizeObserver(measure);
  watch.observe(stage);
  measure();
  return { version, plot, end: () => watch.disconnect() };
}
