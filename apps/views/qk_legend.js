// What the colours of points mean: a swatch for each category, or a bar for a scale. Names come as text, never as HTML.
export default function ({ data, parentElement }) {
  const root = parentElement.querySelector(".root");
  const parts = [make("div", "title", data.title)];
  if (data.bar) {
    const bar = make("div", "bar");
    const step = 100 / data.bar.length;
    const stops = data.bar.map((colour, i) => `${colour} ${i * step}% ${(i + 1) * step}%`);
    bar.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    const ends = make("div", "ends");
    ends.append(make("span", "", data.low), make("span", "", data.high));
    parts.push(bar, ends);
  }
  if (data.items?.length) {
    const list = make("div", "items");
    data.items.forEach((one) => {
      const item = make("span", "item");
      const swatch = make("i");
      swatch.style.background = one.colour;
      item.title = one.text;
      item.append(swatch, make("span", "text", one.text), make("span", "count", one.count.toLocaleString("en")));
      list.append(item);
    });
    parts.push(list);
  }
  if (data.note) parts.push(make("div", "muted note", data.note));
  root.replaceChildren(...parts);
  root.dataset.ready = data.title;
}
