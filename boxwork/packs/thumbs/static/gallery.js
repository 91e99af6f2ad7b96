// The gallery page: wires search, sizes, selection and the viewer to the grid.

import "./grid.js";
import { base, Source } from "./source.js";
import { Viewer } from "./viewer.js";

const POLL = 4000;    // ms between two looks whether the inventory has changed
const PAUSE = 120;    // ms after the last letter before a search is sent

const $ = (id) => document.getElementById(id);
const first = JSON.parse($("data").textContent);
const grid = $("grid");
const source = new Source(first);
const viewer = new Viewer(source, grid);
const number = new Intl.NumberFormat();

function tell() {
  const n = source.total;
  $("count").textContent = source.words ? `${number.format(n)} found for “${source.words}”` : `${number.format(n)} ${n === 1 ? "picture" : "pictures"}`;
  const empty = $("empty");
  empty.hidden = n > 0;
  if (n === 0) {
    empty.querySelector("h2").textContent = source.words ? "Nothing found" : "No pictures yet";
    empty.querySelector("p").textContent = source.words ? "Try fewer letters: every word is looked for in the path of the file." : "Start with a folder: boxwork up ~/Pictures";
  }
}

function tellBroken() {
  const n = source.broken;
  const link = $("faults");
  link.hidden = n === 0;
  link.href = `${base}/faults`;
  link.textContent = `${number.format(n)} ${n === 1 ? "file" : "files"} could not be read`;
}

grid.use(source);
grid.addEventListener("open", (event) => viewer.open(event.detail));
source.addEventListener("reset", tell);
source.addEventListener("rows", tell);
source.addEventListener("broken", tellBroken);
tell();
tellBroken();

// --- search
let pause;
$("search").addEventListener("input", (event) => {
  clearTimeout(pause);
  pause = setTimeout(() => source.search(event.target.value.trim()), PAUSE);
});
$("search").addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target.value) { event.target.value = ""; source.search(""); event.preventDefault(); }
  if (event.key === "ArrowDown" || event.key === "Enter") { grid.setActive(0); event.preventDefault(); }
});
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName) && !$("viewer").open) {
    $("search").focus();
    event.preventDefault();
  }
  if (event.key === "Escape" && !$("viewer").open && grid.selected.size) grid.clear();
});

// --- size of the cells
const sizes = [...document.querySelectorAll("[data-size]")];
function setSize(size) {
  for (const button of sizes) {
    const on = button.dataset.size === size;
    button.setAttribute("aria-checked", on);
    button.tabIndex = on ? 0 : -1;
  }
  grid.setSize(size);
  try { localStorage.setItem("boxwork.size", size); } catch { /* private mode */ }
}
for (const button of sizes) {
  button.addEventListener("click", () => setSize(button.dataset.size));
  button.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const next = sizes[(sizes.indexOf(button) + step + sizes.length) % sizes.length];
    next.focus(); setSize(next.dataset.size); event.preventDefault();
  });
}
try { const kept = localStorage.getItem("boxwork.size"); if (kept in { s: 1, l: 1 }) setSize(kept); } catch { /* private mode */ }

// --- selection
const select = $("select");
select.addEventListener("click", () => choosing(!grid.hasAttribute("choosing")));
function choosing(on) {
  grid.toggleAttribute("choosing", on);
  select.setAttribute("aria-pressed", on);
  select.textContent = on ? "Done" : "Select";
  if (!on) grid.clear();
}
grid.addEventListener("chosen", () => {
  const n = grid.selected.size;
  $("tray").hidden = n === 0;
  $("chosen").textContent = `${number.format(n)} selected`;
  if (n) { grid.toggleAttribute("choosing", true); select.setAttribute("aria-pressed", true); select.textContent = "Done"; }
});
$("clear").addEventListener("click", () => choosing(false));
$("download").addEventListener("click", () => {
  const chosen = [...grid.selected];
  if (chosen.length === 1) {
    const link = document.createElement("a");
    link.href = `${base}/blobs/sha256:${chosen[0][0]}?name=${encodeURIComponent(chosen[0][1])}`;
    link.download = chosen[0][1];
    link.click();
    return;
  }
  const form = document.createElement("form");
  form.method = "post";
  form.action = `${base}/thumbs/zip`;
  const field = document.createElement("input");
  field.type = "hidden"; field.name = "refs"; field.value = chosen.map(([ref]) => ref).join(",");
  form.append(field);
  document.body.append(form);
  form.submit();
  form.remove();
});

// --- what changes while we look
setInterval(() => { if (document.visibilityState === "visible" && !$("viewer").open) source.check(); }, POLL);
