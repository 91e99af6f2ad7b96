// Colours come from the style sheet, so that both schemes stand in one place.

const NAMES = ["heat-0", "heat-1", "heat-2", "heat-3", "heat-4", "q50", "q99", "q999", "plot", "raised", "text", "quiet", "line", "accent", "gap", "loss", "step", "silence"];

export function colours(element) {
  const probe = document.createElement("i"), found = {};
  probe.hidden = true;
  element.append(probe);
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  found.mono = getComputedStyle(element).fontFamily;
  probe.remove();
  return found;
}

const parts = (colour) => {
  const numbers = colour.match(/[\d.]+/g).map(Number);
  return colour.startsWith("color(") ? numbers.slice(0, 3).map((part) => part * 255) : numbers.slice(0, 3);
};

// 256 colours from the ground to the hottest, as pixels of an ImageData; 0 is no colour at all.
export function palette(found) {
  const stops = [0, 1, 2, 3, 4].map((k) => parts(found[`heat-${k}`])), pixels = new Uint32Array(256);
  for (let k = 1; k < 256; k++) {
    const at = (k / 255) * 4, low = Math.min(3, Math.floor(at)), share = at - low;
    const [r, g, b] = stops[low].map((part, c) => Math.round(part + (stops[low + 1][c] - part) * share));
    pixels[k] = (255 << 24) | (b << 16) | (g << 8) | r;   // every machine with a browser is little-endian
  }
  return pixels;
}

export function onScheme(callback) {
  new MutationObserver(callback).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback);
}
