// Copies the address of this view; the address holds the whole view.
export default function ({ parentElement }) {
  const root = parentElement.querySelector(".root");
  if (root.firstChild) return;
  const button = document.createElement("button");
  button.className = "copy";
  button.textContent = "Copy link";
  button.title = "Copy the address of this view: whoever opens it on this computer sees the same";
  button.onclick = async () => {
    const address = window.location.href;
    try {
      await navigator.clipboard.writeText(address);
      button.textContent = "Copied";
    } catch {
      window.prompt("Copy this address:", address);
    }
    setTimeout(() => { button.textContent = "Copy link"; }, 1500);
  };
  root.append(button);
}
