// Every host as a square, coloured by how it is: thousands of them at once, in one canvas.

import { base } from "./parts.js";

const GAP = 2, LARGEST = 26, SMALLEST = 5;
// A host that is not at the newest release of those shown is paler, so that a rollout is seen to move.
const OLDER = 0.42;

export class Grid {
  constructor(canvas, tip) {
    Object.assign(this, { canvas, tip, rows: [], size: LARGEST, across: 1 });
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    new MutationObserver(() => this.draw()).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    canvas.addEventListener("click", (event) => {
      const row = this.at(event);
      if (row) location.href = `${base}/fleet/host/${encodeURIComponent(row[0])}`;
    });
  }

  show(rows) {
    this.rows = rows;
    this.draw();
  }

  draw() {
    const { canvas, rows } = this;
    const width = canvas.parentElement.clientWidth;
    // The largest square with which all hosts stay within about 360 pixels of height.
    let size = LARGEST;
    while (size > SMALLEST && Math.ceil(rows.length / Math.max(1, Math.floor(width / (size + GAP)))) * (size + GAP) > 360) size -= 1;
    const across = Math.max(1, Math.floor((width + GAP) / (size + GAP)));
    const height = Math.max(1, Math.ceil(rows.length / across)) * (size + GAP);
    const scale = devicePixelRatio || 1;
    Object.assign(this, { size, across });
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.style.height = `${height}px`;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const colours = {};
    const round = Math.min(5, size / 4);
    const newest = Math.max(0, ...rows.map((row) => row[2]));
    rows.forEach((row, index) => {
      pen.globalAlpha = row[2] === newest ? 1 : OLDER;
      const word = row[3];
      colours[word] ??= style.getPropertyValue(`--is-${word}`).trim() || style.color;
      pen.fillStyle = resolve(colours[word], canvas);
      pen.beginPath();
      pen.roundRect((index % across) * (size + GAP), Math.floor(index / across) * (size + GAP), size, size, round);
      pen.fill();
    });
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect(), step = this.size + GAP;
    const column = Math.floor((event.clientX - box.left) / step), line = Math.floor((event.clientY - box.top) / step);
    return column < this.across ? this.rows[line * this.across + column] : undefined;
  }

  point(event) {
    const row = this.at(event);
    this.tip.hidden = !row;
    this.canvas.classList.toggle("on", Boolean(row));
    if (!row) return;
    const parent = this.canvas.parentElement.getBoundingClientRect();
    this.tip.textContent = `${row[0]} · v${row[2] || "–"}${row[1] !== row[2] ? ` → v${row[1] || "–"}` : ""} · ${row[3]}`;
    const left = Math.min(event.clientX - parent.left + 14, parent.width - this.tip.offsetWidth - 4);
    this.tip.style.transform = `translate(${Math.max(0, left)}px, ${event.clientY - parent.top + 16}px)`;
  }
}

// `light-dark(a, b)` of a custom property is not resolved by the canvas: an element resolves it.
const known = new Map();
function resolve(colour, canvas) {
  const dark = getComputedStyle(document.documentElement).colorScheme + document.documentElement.dataset.theme + matchMedia("(prefers-color-scheme: dark)").matches;
  const key = `${colour}|${dark}`;
  if (!known.has(key)) {
    const probe = document.createElement("i");
    probe.style.color = colour;
    canvas.parentElement.append(probe);
    known.set(key, getComputedStyle(probe).color);
    probe.remove();
  }
  return known.get(key);
}
