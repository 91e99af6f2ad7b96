// What the machine does, from the kernel; the process table only while it is open.

import { colours, onScheme } from "./colours.js";
import { decodeText } from "./interval.js";
import { drawLines } from "./lines.js";
import { Live } from "./live.js";
import * as format from "./format.js";

const $ = (id) => document.getElementById(id);
const base = document.documentElement.dataset.base;
const RANGES = { "1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000 };
const PROCESSES_MS = 2000;
const state = { range: "5m", now: Date.now(), panels: new Map(), turn: 0 };
let found = colours(document.querySelector(".pulse"));

// Which series stand together; `by` tells several devices apart.  The first line of a panel is its large figure.
const PANELS = [
  { id: "cpu", title: "CPU", name: "machine.cpu", line: "what", order: ["busy", "user", "system", "iowait", "steal"], most: 1e6, filled: true },
  { id: "memory", title: "Memory", name: "machine.memory", line: "what", order: ["used", "available", "swap"], filled: true },
  { id: "pressure", title: "Pressure", note: "share of time in which somebody waited", name: "machine.pressure", line: "of", order: ["cpu", "memory", "io"], only: ["who", "some"], most: 1e6 },
  { id: "load", title: "Load", name: "machine.load", filled: true },
  { id: "network", title: "Network", name: "machine.network", line: "direction", by: "interface", order: ["in", "out"] },
  { id: "disk", title: "Disk", name: "machine.disk", line: "direction", by: "disk", order: ["read", "write"] },
  { id: "busy", title: "Disk busy", name: "machine.disk_busy", by: "disk", most: 1e6, filled: true },
  { id: "drops", title: "UDP drops", note: "datagrams that found no room", name: "machine.udp_drops", filled: true },
];
const INKS = ["accent", "q99", "q50", "q999", "step"];

function place(item) {
  const spec = PANELS.find((one) => one.name === item.name);
  if (!spec || (spec.only && item.labels[spec.only[0]] !== spec.only[1])) return null;
  const id = spec.id + (spec.by ? `:${item.labels[spec.by]}` : "");
  let panel = state.panels.get(id);
  if (!panel) state.panels.set(id, panel = make(spec, id, spec.by ? item.labels[spec.by] : "", item.unit));
  let line = panel.lines.get(item.series);
  if (!line) {
    const label = spec.line ? item.labels[spec.line] : "";
    line = { label, points: [], rank: spec.order ? spec.order.indexOf(label) : 0 };
    panel.lines.set(item.series, line);
    panel.sorted = [...panel.lines.values()].sort((a, b) => a.rank - b.rank);
    legend(panel);
  }
  return { panel, line };
}

function make(spec, id, device, unit) {
  const card = document.createElement("section");
  card.className = "card panel";
  card.innerHTML = '<header><h2></h2><span class="quiet"></span></header><dl></dl><canvas role="img"></canvas>';
  card.querySelector("h2").textContent = spec.title;
  card.querySelector("header span").textContent = device || spec.note || "";
  card.dataset.order = `${PANELS.indexOf(spec)}:${device}`;
  const after = [...$("panels").children].find((other) => other.dataset.order > card.dataset.order);
  $("panels").insertBefore(card, after ?? null);
  $("empty").hidden = true;
  return { spec, unit, device, card, canvas: card.querySelector("canvas"), figures: card.querySelector("dl"), lines: new Map(), sorted: [] };
}

function legend(panel) {
  panel.figures.replaceChildren(...panel.sorted.map((line, k) => {
    line.ink = INKS[k % INKS.length];
    const box = document.createElement("div"), name = document.createElement("dt"), value = document.createElement("dd");
    name.textContent = line.label;
    name.dataset.ink = line.ink;
    name.hidden = !line.label;
    line.shown = value;
    box.append(name, value);
    return box;
  }));
}

function draw() {
  const length = RANGES[state.range], end = state.now, start = end - length, still = new Set();
  for (const panel of state.panels.values()) {
    const { spec, unit } = panel;
    // A device that did nothing is named, not drawn: a container host has dozens of them.
    const idle = spec.by && panel.sorted.every((line) => line.points.every(([, value]) => value === 0));
    panel.card.hidden = idle;
    if (idle) { still.add(panel.device); continue; }
    const memory = spec.id === "memory" ? panel.sorted.slice(0, 2).reduce((sum, line) => sum + (line.points.at(-1)?.[1] ?? 0), 0) : 0;
    drawLines(panel.canvas, panel.sorted.map((line) => ({ points: line.points, colour: found[line.ink], filled: spec.filled && line.rank <= 0 })),
      { start, end, unit, most: spec.most ?? (memory || undefined), colours: found, gap: Math.max(4000, length / 100) });
    const words = [];
    for (const line of panel.sorted) {
      const text = format.value(line.points.at(-1)?.[1], unit);
      line.shown.textContent = text;
      words.push(`${line.label} ${text}`);
    }
    panel.canvas.setAttribute("aria-label", `${spec.title} ${panel.device}: ${words.join(", ")}`);
  }
  const text = still.size ? `Nothing moved on ${[...still].sort().join(", ")}.` : "";
  if ($("still").textContent !== text) $("still").textContent = text;
}

async function load() {
  const turn = ++state.turn;
  live.close();
  const reply = await fetch(`${base}/pulse/machine/figures?last=${RANGES[state.range] / 1000}s`).catch(() => null);
  if (turn !== state.turn) return;
  if (!reply?.ok) { setTimeout(() => { if (turn === state.turn) load(); }, 2000); return; }
  let last = 0;
  for (const item of (await reply.json()).series) {
    const at = place(item);
    if (!at) continue;
    at.line.points = item.points;
    last = Math.max(last, item.points.at(-1)?.[0] ?? 0);
  }
  if (last) state.now = Math.max(last + 1000, last);
  $("empty").hidden = state.panels.size > 0;
  draw();
  live.open("machine.*", last ? `${Math.round(last)}000000` : "");
}

const live = new Live({
  heard({ now, ticks }) {
    state.now = now;
    for (const { s, b } of ticks) {
      const item = state.known?.get(s) ?? learn(s), at = item && place(item), column = decodeText(b);
      if (!at || !column.count) continue;
      const { points } = at.line;
      if (!points.length || column.start > points.at(-1)[0]) points.push([column.start, column.max]);
      while (points.length && points[0][0] < now - 1.1 * RANGES[state.range]) points.shift();
    }
    draw();
  },
  told(line) {
    $("line").dataset.state = line;
    $("line-text").textContent = line === "live" ? "Live" : "Reconnecting…";
  },
});

// `machine.cpu{what=busy}` → its parts; what is not known yet is asked for once.
state.known = new Map();
function learn(series) {
  const [, name, inside = ""] = series.match(/^([^{]+)(?:\{(.*)\})?$/) ?? [];
  const labels = Object.fromEntries(inside.split(",").filter(Boolean).map((pair) => pair.split("=").map(decodeURIComponent)));
  const unit = { "machine.memory": "bytes", "machine.network": "bytes/s", "machine.disk": "bytes/s", "machine.udp_drops": "datagrams/s", "machine.load": "tasks/1000" }[name] ?? "ppm";
  const item = { series, name, labels, unit, points: [] };
  state.known.set(series, item);
  return item;
}

async function processes() {
  clearTimeout(state.timer);
  if (!$("table").open) return;
  if (!document.hidden) {
    const reply = await fetch(`${base}/pulse/machine/processes?limit=30`).catch(() => null);
    if (reply?.ok) {
      $("rows").replaceChildren(...(await reply.json()).processes.map((one) => {
        const row = document.createElement("tr");
        [one.pid, one.name, format.value(one.cpu_ppm, "ppm"), format.value(one.memory_bytes, "bytes"), one.threads].forEach((text) => {
          row.append(Object.assign(document.createElement("td"), { textContent: text }));
        });
        return row;
      }));
    }
  }
  state.timer = setTimeout(processes, PROCESSES_MS);
}

for (const button of document.querySelectorAll("[data-range]")) button.addEventListener("click", () => {
  state.range = button.dataset.range;
  for (const other of document.querySelectorAll("[data-range]")) other.setAttribute("aria-pressed", String(other === button));
  load();
});
$("table").addEventListener("toggle", processes);
new ResizeObserver(draw).observe($("panels"));
onScheme(() => requestAnimationFrame(() => { found = colours(document.querySelector(".pulse")); draw(); }));
load();
