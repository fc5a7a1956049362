// Where everything stands: which columns are shown, and the place of each state in them.
const ATTENTION = 0, STAYING = 1, MLP = 3;
const MIDDLE = 0.56; // height, within a layer, of the stream between attention and MLP

function placed(data, at, zoom, room) {
  const { tokens, layers, target, selected, few } = data;
  const alive = data.edges.filter((edge) => edge[4] > at);
  const wanted = new Set([target, ...alive.flatMap(([, , query, key]) => [query, key])]);
  if (selected) selected.split(".").slice(1).forEach((position) => wanted.add(Number(position)));
  const columns = few ? [...wanted].sort((a, b) => a - b) : tokens.map((_, i) => i);
  const skipped = columns.map((position, i) => position - (i ? columns[i - 1] + 1 : 0)); // tokens left out before each
  const after = tokens.length - 1 - columns.at(-1);
  const left = 66, gap = 26, right = 60 + (after ? gap : 0);
  const gaps = skipped.filter(Boolean).length * gap;
  const across = Math.max(20, Math.min(110, (room - left - right - gaps) / columns.length)) * zoom;
  const up = Math.max(20, Math.min(64, 600 / layers)) * zoom;
  const x = new Map();
  let edge = left;
  columns.forEach((position, i) => {
    edge += skipped[i] ? gap : 0;
    x.set(position, edge + across / 2);
    edge += across;
  });
  const top = 46, floor = top + up * layers + 6;
  const dots = columns.flatMap((position, i) => (skipped[i] ? [[x.get(position) - across / 2 - gap / 2, skipped[i]]] : []));
  if (after) dots.push([edge + gap / 2, after]);
  const longest = Math.max(...columns.map((position) => tokens[position].text.length));
  const state = (level) => floor - up * level; // the stream after `level` layers
  return {
    alive, columns, dots, across, up, left, top, floor, state,
    width: edge + right,
    height: floor + 26 + longest * 7.3 * 0.71,
    aside: Math.min(across * 0.34, 9 + up * 0.22),
    one: data.one,
    x: (position) => x.get(position),
    middle: (layer) => (data.one ? state(layer + 1) : floor - up * (layer + MIDDLE)), // what attention is added to
  };
}

function course([kind, layer, query, key], { x, state, middle, aside, one }) {
  const at = x(query), [low, mid, high] = [state(layer), middle(layer), state(layer + 1)];
  if (kind === STAYING) return `M${at},${mid}L${at},${low}`;
  if (kind === MLP) {
    const from = one ? low : mid;
    return `M${at},${high}C${at + aside},${high} ${at + aside},${from} ${at},${from}`;
  }
  if (kind !== ATTENTION) return `M${at},${high}L${at},${mid}`;
  const bend = low - mid;
  if (query === key) return `M${at},${mid}C${at - 1.4 * aside},${mid + bend * 0.1} ${at - 1.4 * aside},${low - bend * 0.1} ${at},${low}`;
  return `M${at},${mid}C${at},${mid + bend * 0.55} ${x(key)},${low - bend * 0.55} ${x(key)},${low}`;
}

const share = (edge, at) => (Array.isArray(edge[5]) ? edge[5][at] : edge[5]);
const nameOf = ([kind, layer, query, key]) => (kind === ATTENTION ? `e${layer}.${query}.${key}` : kind === MLP ? `m${layer}.${query}` : "");
