// The live page: a list of series, and one of them closely.

import { colours, onScheme } from "./colours.js";
import { decodeHistory, decodeText } from "./interval.js";
import { SeriesList } from "./list.js";
import { Live } from "./live.js";
import { Model } from "./model.js";
import { Picture } from "./picture.js";
import { Pointer } from "./pointer.js";
import { fillTable } from "./table.js";
import * as format from "./format.js";

const $ = (id) => document.getElementById(id);
const base = document.documentElement.dataset.base;
const first = JSON.parse($("data").textContent);
// Length of each range in milliseconds, and the columns asked for.
const RANGES = { "1m": [60_000, 900], "15m": [900_000, 900], "1h": [3_600_000, 900], "1d": [86_400_000, 1440] };
const SETTLE_MS = 3000;       // what has not come so long after its end is a gap for now; other processes write with a delay
const TABLE_MS = 4000;
// A stream brings up to an hour of what was missed; a page that slept longer asks for all of it anew.
const ASLEEP_MS = 3_000_000;

const state = { series: "", range: "1m", paused: false, model: null, unit: "ns", chosen: null, loading: 0 };
const picture = new Picture({ heatmap: $("heatmap"), grid: $("grid"), percentiles: $("percentiles") }, figures);
const pointer = new Pointer(picture, { frame: $("chart"), overlay: $("overlay"), tip: $("tip"), chosen: choose, said: say });
const list = new SeriesList($("series"), $("filter"), { chosen: (series) => go(series, state.range) });
const live = new Live({ heard: tick, listed, told: tell });

const wide = () => matchMedia("(min-width: 900px)").matches;

function listed({ series: rows, total }) {
  list.fill(rows, total);
  if (!state.series && rows.length && wide()) go(rows[0].series, state.range, false);
  else if (state.series && $("title").textContent === state.series) name();
}

function say(text) { $("said").textContent = text; }

function tell(line) {
  $("line").dataset.state = state.paused ? "paused" : line;
  $("line-text").textContent = state.paused ? "Paused" : line === "live" ? "Live" : "Reconnecting…";
}

// --- what is looked at

async function load() {
  const { series, range } = state, turn = ++state.loading, [length, columns] = RANGES[range];
  live.close();
  clearChoice();
  const query = new URLSearchParams({ series, last: `${length / 1000}s`, columns });
  let reply;
  try { reply = await fetch(`${base}/pulse/history?${query}`); } catch { reply = null; }
  if (turn !== state.loading) return;
  if (!reply?.ok) {
    const fault = await reply?.json().catch(() => null);
    $("fault").textContent = fault?.message ?? "The server does not answer; trying again.";
    $("fault").hidden = false;
    live.open("", "");
    if (!reply) setTimeout(() => { if (turn === state.loading) load(); }, 2000);
    return;
  }
  const away = reply.headers.get("pulse-away");
  $("fault").hidden = !away;
  if (away) $("fault").textContent = `The history does not answer (${away}): what this node has itself is shown.`;
  const until = reply.headers.get("pulse-until");
  state.unit = reply.headers.get("pulse-unit");
  const body = await reply.arrayBuffer(), lines = await levels(series);
  if (turn !== state.loading) return;
  const { width, columns: known } = decodeHistory(body), end = Number(BigInt(until) / 1000000n);
  state.model = new Model(width, Math.round(length / width));
  state.model.moveTo(end);
  for (const column of known) state.model.add(column);
  $("figures").classList.toggle("long", !format.isShort(state.unit));
  picture.show(state.model, { body, until: end, unit: state.unit, levels: lines });
  pointer.resize();
  if (!state.paused) live.open(series, String(BigInt(until) - 1n));
}

// Where the watch rules draw their line through this series, with the name of the rule.
async function levels(series) {
  const reply = await fetch(`${base}/pulse/rules?${new URLSearchParams({ series })}`).catch(() => null);
  if (!reply?.ok) return [];
  return (await reply.json()).rules.flatMap((rule) => {
    const value = rule.limit ?? (["quantile", "mean", "max", "min"].includes(rule.kind) ? rule.threshold : null);
    return value === null ? [] : [{ value, label: rule.rule, firing: ["firing", "clearing"].includes(rule.condition) }];
  });
}

// All that a tick costs this thread: reading it, and what it means for a pointer over the chart.
function tick({ now, ticks }, began) {
  const { model } = state;
  if (!model || state.paused) return;
  if (now - model.end > ASLEEP_MS) { load(); return; }
  const { end } = model, parts = [];
  for (const one of ticks) if (one.s === state.series) { model.add(decodeText(one.b)); parts.push(one.b); }
  // The page moves on with the server's clock: what does not come becomes visible as a gap.
  const due = model.slotOf(now - SETTLE_MS);
  if (due > model.end) model.moveTo(due);
  if (!parts.length && model.end === end) return;
  pointer.draw();
  picture.tick(parts);   // last: the thread that it wakes may want this processor
  performance.measure("pulse.tick", { start: began, end: performance.now() });
}

let tableAt = 0;
function figures(shown) {
  const { unit } = state, { count } = shown;
  for (const id of ["p50", "p99", "p999", "max"]) set(id, format.value(shown[id], unit));
  set("count", format.count(count));
  set("rate", count ? `${format.value(shown.rate, "")}/s` : "");
  set("negative", format.share(shown.negative));
  $("negative-box").hidden = !shown.negative;
  set("lost", format.count(shown.lost));
  $("lost-box").hidden = !shown.lost;
  set("coverage", format.share(shown.coverage));
  table();
}

function set(id, text) { const element = $(id); if (element.textContent !== text) element.textContent = text; }

function table() {
  const now = performance.now();
  if (!state.model || !$("table").open || now - tableAt < TABLE_MS) return;
  tableAt = now;
  fillTable($("rows"), state.model, state.unit);
}

// --- a rectangle

async function choose(rectangle) {
  if (!rectangle) { clearChoice(); return; }
  const { series, unit } = state, { from, to, low, high } = rectangle;
  const query = new URLSearchParams({ series, from: `${Math.round(from)}000000`, to: `${Math.round(to)}000000` });
  const span = new URLSearchParams(query);
  if (low !== -Infinity) query.set("low", low);
  if (high !== Infinity) query.set("high", high);
  const begin = performance.now(), mark = state.chosen = {};
  let replies, answer, plot;
  try {
    replies = await Promise.all([fetch(`${base}/pulse/query?${query}`), fetch(`${base}/pulse/percentiles?${span}`)]);
    [answer, plot] = await Promise.all(replies.map((reply) => reply.json()));
  } catch { answer = null; }
  if (state.chosen !== mark) return;
  $("fault").hidden = Boolean(answer && replies[0].ok);
  if (!$("fault").hidden) {
    $("fault").textContent = answer?.message ?? "The server does not answer: select again when the page is live.";
    say($("fault").textContent);
    return;
  }
  picture.choose(plot.points ?? null);
  const limit = low === -Infinity && high === Infinity ? "all values" : `${low === -Infinity ? "" : format.value(low, unit)} … ${high === Infinity ? "" : format.value(high, unit)}`;
  $("choice-range").textContent = `${format.clock(from)} – ${format.clock(to)}`;
  $("choice-values").textContent = limit;
  $("choice-count").textContent = `${format.count(answer.count)} samples, ${format.share(answer.share)} of the time span`;
  const rows = [...Object.entries(answer.quantiles).map(([share, value]) => [`p${format.share(Number(share)).replace(" %", "")}`, value]), ["min", answer.min], ["mean", answer.mean], ["max", answer.max]];
  $("choice-figures").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", format.value(value, unit))]));
  $("choice-coverage").textContent = `coverage ${format.share(answer.coverage.ratio)}${answer.coverage.lost ? `, ${format.count(answer.coverage.lost)} lost` : ""} · ${(performance.now() - begin).toFixed(0)} ms`;
  $("choice-link").href = `${base}/pulse/query?${query}`;
  $("choice").hidden = false;
  $("choice-hint").hidden = true;
  say(`Selection: ${$("choice-count").textContent}, p99 ${format.value(answer.quantiles["0.99"], unit)}`);
}

function clearChoice() {
  pointer.clear();
  state.chosen = null;
  picture.choose(null);
  $("choice").hidden = true;
  $("choice-hint").hidden = false;
}

const element = (tag, text) => Object.assign(document.createElement(tag), { textContent: text });

// --- moving about

function go(series, range, remember = true) {
  if (series === state.series && range === state.range && state.model) return;
  Object.assign(state, { series, range: RANGES[range] ? range : "1m" });
  if (state.paused) pause(false, false);
  const address = `?${new URLSearchParams({ series, range: state.range })}`;
  if (remember) history.pushState(null, "", address); else history.replaceState(null, "", address);
  show();
}

function name() {
  const item = list.rows.get(state.series)?.item, { main, tags } = item ? format.title(item.name, item.labels) : { main: state.series, tags: [] };
  $("title").textContent = main;
  $("tags").replaceChildren(...[...(item && item.name !== main ? [{ text: item.name }] : []), ...tags.filter(({ text }) => text !== item?.name)].map(({ text }) => Object.assign(element("span", text), { className: "tag" })));
  document.title = `${main} · Pulse · Boxwork`;
  list.mark(state.series);
}

function show() {
  name();
  for (const button of document.querySelectorAll("[data-range]")) button.setAttribute("aria-pressed", String(button.dataset.range === state.range));
  document.body.classList.toggle("closely", Boolean(state.series));
  $("empty").hidden = Boolean(state.series);
  $("view").hidden = !state.series;
  if (state.series) load();
}

function pause(wanted, again = true) {
  state.paused = wanted;
  $("pause").setAttribute("aria-pressed", String(wanted));
  $("pause").setAttribute("aria-label", wanted ? "Go on" : "Pause");
  tell("live");
  // What comes meanwhile waits in the history: going on asks for everything after the last interval seen.
  if (wanted) live.close();
  else if (again && state.model) {
    if (Date.now() - state.pausedAt > RANGES[state.range][0]) load(); else live.open(state.series, live.lastId);
  }
  state.pausedAt = Date.now();
}

addEventListener("popstate", open);
function open() {
  const query = new URLSearchParams(location.search);
  // Of a node that has just begun nothing is busy yet: the list that comes in a moment knows better.
  const asked = query.get("series") ?? (wide() ? first.series.find((row) => row.count)?.series ?? "" : "");
  state.series = asked;
  state.range = RANGES[query.get("range")] ? query.get("range") : "1m";
  show();
  if (!asked) { live.open("", ""); state.model = null; }
}

for (const button of document.querySelectorAll("[data-range]")) button.addEventListener("click", () => go(state.series, button.dataset.range));
$("pause").addEventListener("click", () => pause(!state.paused));
$("choice-clear").addEventListener("click", clearChoice);
$("all").addEventListener("click", () => { history.pushState(null, "", location.pathname); state.series = ""; show(); live.open("", ""); });
$("table").addEventListener("toggle", () => { tableAt = 0; table(); });
addEventListener("keydown", (event) => {
  if (event.target.matches("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const range = { 1: "1m", 2: "15m", 3: "1h", 4: "1d" }[event.key];
  if (range) go(state.series, range);
  else if (event.key === "p" || (event.key === " " && event.target === $("chart"))) { event.preventDefault(); pause(!state.paused); }
  else if (event.key === "/") { event.preventDefault(); $("filter").focus(); }
});
const sizes = new ResizeObserver(() => { if (state.model) { picture.measure(); pointer.resize(); } });
for (const id of ["chart", "percentiles"]) sizes.observe($(id));
onScheme(() => requestAnimationFrame(() => { style(); pointer.draw(); }));

function style() { picture.style(colours(document.querySelector(".pulse"))); }

style();
list.fill(first.series, first.total);
$("zone").textContent = `times in ${format.zone()}`;
open();
