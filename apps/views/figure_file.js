// Makes PNG and SVG files of a figure in the browser, with the plotly.js that came with the Python package.
let library = null;
function plotly(address) {
  library ??= new Promise((resolve, reject) => {
    if (window.Plotly) return resolve(window.Plotly);
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { library = null; reject(new Error("plotly.min.js could not be read from this app.")); };
    document.head.append(script);
  });
  return library;
}

const done = new Set();

async function save({ figure, format, name, width, height, id }, address, root) {
  const status = root.querySelector(".status");
  if (done.has(id)) return;
  done.add(id);
  status.textContent = `Making the ${format.toUpperCase()} file …`;
  try {
    const Plotly = await plotly(address);
    const spec = JSON.parse(figure);
    const url = await Plotly.toImage(spec, { format, width, height, scale: format === "png" ? 2 : 1 });
    const link = document.createElement("a");
    link.href = url;
    link.download = `${name}.${format}`;
    root.append(link); // inside the menu: a click outside would close it
    link.click();
    link.remove();
    status.textContent = "";
  } catch (error) {
    status.textContent = `No file was made: ${error.message}`;
  }
}

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".root");
  if (!root.firstChild) {
    for (const format of ["png", "svg"]) {
      const button = document.createElement("button");
      button.className = "make";
      button.textContent = format.toUpperCase();
      button.dataset.format = format;
      button.onclick = () => setTriggerValue("format", format);
      root.append(button);
    }
    const status = document.createElement("span");
    status.className = "status muted";
    root.append(status);
  }
  if (data.job) save(data.job, data.plotly, root);
}
