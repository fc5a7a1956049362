// The hand: pointer, wheel and keys over the picture.
function hand(plot, over, hover) {
  let drag = null;
  const spot = (event) => {
    const box = over.getBoundingClientRect();
    return [(event.clientX - box.left) * plot.width / box.width, (event.clientY - box.top) * plot.height / box.height];
  };
  const tilted = (pitch) => Math.round(Math.max(-900, Math.min(900, pitch)));
  const toggled = (i) => plot.change({ point: i === plot.view.point ? null : i });
  const follow = {
    move: (dx, dy) => {
      Object.assign(plot.camera, { x: drag.from.x - dx / plot.scale, y: drag.from.y + dy / plot.scale });
      plot.soon();
    },
    turn: (dx, dy) => {
      Object.assign(plot.camera, { yaw: Math.round(drag.from.yaw + dx * 4), pitch: tilted(drag.from.pitch + dy * 4) });
      plot.soon();
    },
    box: (dx, dy) => {
      const [x, y] = [drag.x + dx, drag.y + dy];
      plot.path = [[drag.x, drag.y], [x, drag.y], [x, y], [drag.x, y]];
      plot.moved();
    },
    lasso: (dx, dy) => {
      plot.path ??= [[drag.x, drag.y]];
      const [x, y] = [drag.x + dx, drag.y + dy], [lastX, lastY] = plot.path.at(-1);
      if (Math.hypot(x - lastX, y - lastY) >= 4) plot.path.push([x, y]);
      plot.moved();
    },
  };
  over.onpointerdown = (event) => {
    const [x, y] = spot(event), move = event.button > 0 || plot.tool === "move";
    over.setPointerCapture(event.pointerId);
    drag = { x, y, from: { ...plot.camera }, act: move ? "move" : event.shiftKey ? "box" : plot.tool, moved: false };
    over.focus({ preventScroll: true });
    event.preventDefault();
  };
  over.onpointermove = (event) => {
    const [x, y] = spot(event);
    if (!drag) return hover(plot.under(x, y));
    const [dx, dy] = [x - drag.x, y - drag.y];
    if (!drag.moved && Math.hypot(dx, dy) < 4) return;
    drag.moved = true;
    hover(-1);
    follow[drag.act](dx, dy);
  };
  over.onpointerup = (event) => {
    const { moved } = drag ?? { moved: true }, { path, camera, scale, width, height } = plot;
    [drag, plot.path] = [null, null];
    if (!moved) {
      const found = plot.under(...spot(event), 12);
      if (found >= 0) toggled(found);
      else if (plot.view.selected) plot.change({ selected: "" });
      else if (plot.view.point !== null) plot.change({ point: null });
    } else if (path?.length > 2) {
      const every = Math.ceil(path.length / 60); // so that a lasso fits into an address
      const corners = path.filter((_, i) => i % every === 0).map(([x, y]) => [(x - width / 2) / scale + camera.x, (height / 2 - y) / scale + camera.y]);
      plot.change({ selected: lassoText(plot.content.name, corners, camera.yaw, camera.pitch) });
    } else plot.moved();
  };
  over.onpointercancel = () => { [drag, plot.path] = [null, null]; plot.moved(); };
  over.onpointerleave = () => { if (!drag) hover(-1); };
  over.oncontextmenu = (event) => event.preventDefault(); // the right button moves
  const zoom = (by, x = plot.width / 2, y = plot.height / 2) => {
    const { camera, scale } = plot, before = camera.zoom;
    camera.zoom = Math.max(0.5, Math.min(200, before * by));
    const gain = (1 - before / camera.zoom) / scale; // the place under the pointer stays there
    camera.x += (x - plot.width / 2) * gain;
    camera.y -= (y - plot.height / 2) * gain;
    plot.scale *= camera.zoom / before;
    plot.soon();
  };
  over.addEventListener("wheel", (event) => {
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...spot(event));
    event.preventDefault();
  }, { passive: false });
  over.onkeydown = (event) => {
    const way = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key], { camera, view } = plot;
    if (way && event.shiftKey) {
      if (plot.solid) Object.assign(camera, { yaw: camera.yaw + 50 * way[0], pitch: tilted(camera.pitch + 50 * way[1]) });
      else Object.assign(camera, { x: camera.x + 40 * way[0] / plot.scale, y: camera.y - 40 * way[1] / plot.scale });
      plot.look();
    } else if (way) hover(plot.beyond(way));
    else if (event.key === "Enter" && plot.hovered >= 0) toggled(plot.hovered);
    else if (event.key === "+" || event.key === "=") zoom(1.25);
    else if (event.key === "-") zoom(0.8);
    else if (event.key === "0") { Object.assign(camera, plot.home); plot.look(); }
    else if (event.key === "Escape" && view.selected) plot.change({ selected: "" });
    else if (event.key === "Escape" && view.point !== null) plot.change({ point: null });
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
}
