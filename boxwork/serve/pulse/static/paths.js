// Sites and venues as a matrix: the colour is p99, the line its last minutes.

import { spark } from "./spark.js";
import * as format from "./format.js";

const $ = (id) => document.getElementById(id);
const base = document.documentElement.dataset.base;
// How often the page looks again.  Unit: milliseconds.
const EVERY_MS = { "1m": 2000, "15m": 10_000, "1h": 30_000, "1d": 60_000 };
const RANGES = ["1m", "15m", "1h", "1d"];
const state = { range: "1m", kind: "", turn: 0 };

async function look() {
  clearTimeout(state.timer);
  const turn = ++state.turn;
  if (!document.hidden) {
    try {
      const replies = await Promise.all(["path", "path.oneway"].map((name) => fetch(`${base}/pulse/mesh?${new URLSearchParams({ last: state.range, name })}`)));
      const [round, oneway] = await Promise.all(replies.map((reply) => reply.json()));
      if (turn !== state.turn) return;
      if (!replies[0].ok) throw new Error(round.message);
      show([...round.cells, ...oneway.cells.map((cell) => ({ ...cell, probe: cell.probe || "one way" }))], round.offsets ?? []);
      $("fault").hidden = !round.away;
      if (round.away) {
        $("fault").textContent = `The history does not answer (${round.away}): what is missing may be there. Trying again.`;
        $("empty").hidden = true;
      }
    } catch (fault) {
      if (turn !== state.turn) return;
      $("fault").textContent = `The node does not answer (${fault.message}); trying again.`;
      $("fault").hidden = false;
    }
  }
  state.timer = setTimeout(look, EVERY_MS[state.range]);
}

function show(cells, offsets) {
  $("empty").hidden = cells.length > 0;
  for (const id of ["mesh", "legend"]) $(id).hidden = !cells.length;
  $("offsets").hidden = !offsets.length;
  const kinds = [...new Set(cells.map((cell) => cell.probe || "your own"))].sort();
  $("kind-box").hidden = kinds.length < 2;
  if (state.kinds !== kinds.join()) {
    state.kinds = kinds.join();
    $("kind").replaceChildren(new Option("anything", ""), ...kinds.map((kind) => new Option(kind, kind)));
    $("kind").value = kinds.includes(state.kind) ? state.kind : (state.kind = "");
  }
  const shown = cells.filter((cell) => !state.kind || (cell.probe || "your own") === state.kind);
  const known = shown.map((cell) => cell.quantiles?.[2]).filter((value) => value > 0);
  const low = Math.min(...known), high = Math.max(...known);
  const rows = [...new Set(shown.map((cell) => cell.src))].sort(), columns = [...new Set(shown.map((cell) => cell.dst))].sort();
  $("summary").textContent = cells.length ? `${rows.length} ${rows.length === 1 ? "place" : "places"} to ${columns.length}, ${shown.length} paths: p99 of the last ${state.range.replace(/(\d+)/, "$1 ")}` : "Latency from each place to each other.";
  $("fast").textContent = known.length ? format.value(low) : "fast";
  $("slow").textContent = known.length ? format.value(high) : "slow";
  const focused = document.activeElement?.dataset?.series;
  const head = make("tr"), corner = make("th");
  corner.innerHTML = '<span class="quiet">from \\ to</span>';
  head.append(corner, ...columns.map((name) => Object.assign(make("th", name), { scope: "col" })));
  $("matrix").tHead.replaceChildren(head);
  $("matrix").tBodies[0].replaceChildren(...rows.map((src) => {
    const row = make("tr");
    row.append(Object.assign(make("th", src), { scope: "row" }), ...columns.map((dst) => {
      const cell = make("td"), here = shown.filter((one) => one.src === src && one.dst === dst);
      if (here.length) cell.append(...here.map((one) => link(one, low, high)));
      else cell.append(Object.assign(make("span", src === dst ? "" : "–"), { className: "none" }));
      return cell;
    }));
    return row;
  }));
  if (focused) document.querySelector(`a[data-series="${CSS.escape(focused)}"]`)?.focus();
  $("offsets").querySelector("ul").replaceChildren(...offsets.map((one) => make("li", `${one.src} → ${one.dst}: clocks ${format.value(Math.abs(one.offset_ns))} apart, round trip ${format.value(one.round_trip_ns)}`)));
}

function link(cell, low, high) {
  const p99 = cell.quantiles?.[2] ?? null, one = make("a");
  one.href = `${base}/pulse?${new URLSearchParams({ series: cell.series, range: state.range })}`;
  one.dataset.series = cell.series;
  const heat = p99 === null ? 0 : high > low && p99 > 0 ? Math.log(p99 / low) / Math.log(high / low) : p99 > 0 ? 0.3 : 0;
  one.style.setProperty("--heat", `${Math.round(6 + heat * 62)}%`);
  one.classList.toggle("silent", p99 === null);
  const figures = make("span"), small = make("small", p99 === null ? "no answer" : `p50 ${format.value(cell.quantiles[0])}`);
  figures.className = "cell-figures";
  figures.append(make("b", p99 === null ? "–" : format.value(p99)), small);
  const foot = make("span");
  foot.className = "cell-foot";
  if (cell.probe) foot.append(Object.assign(make("span", cell.probe), { className: "tag" }));
  const asked = cell.lost + cell.count;
  for (const [text, said, stale] of [
    cell.lost ? [`${format.share(cell.lost / asked)} loss`, "questions without an answer"] : null,
    cell.negative ? ["< 0", `${format.share(cell.negative)} of the samples are below zero`] : null,
    cell.ratio < 0.95 ? [`gap ${format.share(1 - cell.ratio)}`, "not measured all the time", true] : null,
    cell.clock_error_us ? [`± ${format.value(cell.clock_error_us * 1000)}`, "how far the clocks may be off", true] : null,
  ].filter(Boolean)) foot.append(Object.assign(make("span", text), { className: stale ? "mark stale" : "mark", title: said }));
  one.title = `${cell.series}\np99.9 ${format.value(cell.quantiles?.[3])}, ${format.count(cell.count)} samples`;
  one.append(figures, spark(cell.spark), foot);
  return one;
}

function make(tag, text = "") { return Object.assign(document.createElement(tag), { textContent: text }); }

for (const button of document.querySelectorAll("[data-range]")) button.addEventListener("click", () => {
  state.range = button.dataset.range;
  for (const other of document.querySelectorAll("[data-range]")) other.setAttribute("aria-pressed", String(other === button));
  history.replaceState(null, "", `?range=${state.range}`);
  look();
});
$("kind").addEventListener("change", () => { state.kind = $("kind").value; look(); });
addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
const asked = new URLSearchParams(location.search).get("range");
if (RANGES.includes(asked)) document.querySelector(`[data-range="${asked}"]`).click(); else look();
