// The live line: one event a second; the browser comes back by itself when the line was cut.

import { $, base } from "./parts.js";

const AGAIN_MS = 2000;

export function listen(heard) {
  const state = (name, text) => { $("line").dataset.state = name; $("line-text").textContent = text; };
  const fault = (text) => { $("fault").hidden = !text; $("fault").textContent = text; };
  const open = () => {
    const source = new EventSource(`${base}/state/live`);
    source.onopen = () => state("live", "Live");
    source.onmessage = (event) => { state("live", "Live"); fault(""); heard(JSON.parse(event.data)); };
    source.addEventListener("fault", (event) => { state("away", "No facts"); fault(JSON.parse(event.data).message); });
    source.onerror = () => {
      state("away", "Connecting…");
      if (source.readyState === EventSource.CLOSED) setTimeout(open, AGAIN_MS);
    };
    addEventListener("pagehide", () => source.close(), { once: true });
  };
  open();
}
