// Tokens as chips. Hovering one shades the tokens it reads (or that read it); a click reports its position.
export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  const { tokens, first, weights, locked, clickable, outlined } = data;
  const bytes = weights ? Uint8Array.from(atob(weights), (c) => c.charCodeAt(0)) : null;
  const n = tokens.length;
  const strip = document.createElement("div");
  strip.className = "strip mono";
  const chips = tokens.map((text, i) => {
    const chip = document.createElement(clickable ? "button" : "span");
    chip.className = "chip" + (clickable ? " plain" : "");
    chip.textContent = text;
    chip.dataset.position = String(first + i);
    chip.title = `position ${first + i}`;
    if (clickable) chip.onclick = () => setTriggerValue("click", first + i);
    strip.append(chip);
    return chip;
  });
  const shade = (i) => {
    chips.forEach((chip, j) => {
      const weight = bytes && i !== null ? bytes[i * n + j] / 255 : 0;
      const part = Math.round(Math.sqrt(weight) * 85);
      chip.style.backgroundColor = part ? `color-mix(in srgb, #2f7fc4 ${part}%, transparent)` : "";
      chip.style.color = part > 55 ? "#fff" : "";
      chip.dataset.weight = weight.toFixed(3);
      chip.classList.toggle("reader", outlined && j === i && i !== null);
    });
  };
  const rest = locked === null || locked === undefined ? null : locked - first;
  const at = rest !== null && rest >= 0 && rest < n ? rest : null;
  chips.forEach((chip, i) => {
    chip.onpointerenter = () => shade(i);
    chip.onfocus = () => shade(i);
  });
  strip.onpointerleave = () => shade(at);
  root.replaceChildren(strip);
  shade(at);
  root.dataset.ready = String(n);
}
