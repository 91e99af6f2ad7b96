// The fleet: hosts by version and how they are, the rollout, what was decided; moving as it happens.

import { $, CONDITIONS, base, count, el, fill, given, link, live, pill, rolloutCard, span, steer, time, version } from "./parts.js";
import { Grid } from "./grid.js";

// Rows of the table; the squares above show all of them, the filter finds each.
const ROWS_MAX = 60;

const first = given();
let state = first.state, hosts = first.hosts, history = first.history, only = "", words = "";
const grid = new Grid($("grid"), $("tip"));

function figures() {
  const is = state.conditions;
  $("hosts").textContent = count(state.hosts);
  $("present").textContent = state.present || "–";
  $("newest").textContent = state.latest > state.present ? `newest ${state.latest}` : "";
  $("well").textContent = state.hosts ? `${Math.floor(1000 * (is.well ?? 0) / state.hosts) / 10} %` : "–";
  $("drifted").textContent = count(is.drifted ?? 0);
  $("drifted").parentElement.classList.toggle("bad", (is.drifted ?? 0) > 0);
  $("saved").textContent = state.saved_ms ? span(state.saved_ms / 1000) : "–";
  const source = state.source;
  $("summary").textContent = source.name || "no source is set";
  $("age").textContent = span(source.age_s);
  $("age-unit").hidden = source.age_s === null || source.age_s < 1;
  $("age").parentElement.parentElement.classList.toggle("bad", Boolean(source.problem));
  $("problem").hidden = !source.problem;
  if (source.problem) fill($("mistakes"), ...source.problem.replace(/^.*nothing of it is served: /, "").split("; ").map((mistake) => el("li", {}, mistake)));
  $("nothing").hidden = state.latest > 0;
}

function rollout() {
  const card = $("rollout");
  card.hidden = !state.rollout;
  if (state.rollout) fill(card, ...rolloutCard(state.rollout), ...state.beside.map((one) =>
    el("p", { class: "beside" }, "Beside it, ", link(`/fleet/rollout/${one.number}`, `rollout ${one.number}`), ` to version ${one.to}`, one.only ? ` for ${one.only}` : "", `: ${count(one.moved)} of ${count(one.cohort)} hosts `, pill(one.state))));
}

function chips() {
  const is = state.conditions;
  fill($("conditions"), ...CONDITIONS.filter((word) => is[word]).map((word) =>
    el("button", { type: "button", class: "chip", "data-is": word, "aria-pressed": String(only === word) }, el("i", { "aria-hidden": "true" }), word, el("b", {}, count(is[word])))));
  fill($("versions"), ...state.releases.map((one, index) =>
    el("span", { class: index ? "share older" : "share" }, el("i", { "aria-hidden": "true" }), one.release ? link(`/fleet/version/${one.release}`, `v${one.release}`) : "none", ` ${count(one.hosts)}`)));
}

function table() {
  const shown = hosts.filter((row) => (!only || row[3] === only) && row[0].includes(words));
  grid.show(shown);
  $("grid").setAttribute("aria-label", `${count(shown.length)} hosts, ${Object.entries(state.conditions).map(([word, n]) => `${n} ${word}`).join(", ")}`);
  const urgent = [...shown].sort((a, b) => CONDITIONS.indexOf(a[3]) - CONDITIONS.indexOf(b[3])).slice(0, ROWS_MAX);
  fill($("rows"), ...urgent.map(([host, shall, is, word, drift, age]) => el("tr", {},
    el("th", { scope: "row" }, link(`/fleet/host/${encodeURIComponent(host)}`, host)),
    el("td", {}, version(shall)), el("td", {}, version(is)), el("td", {}, pill(word)),
    el("td", {}, drift ? `${drift} ${drift === 1 ? "file" : "files"}` : ""), el("td", { class: "quiet" }, age === null ? "never" : `${span(age)}${age < 1 ? "" : " ago"}`))));
  $("more").textContent = shown.length > ROWS_MAX ? `and ${count(shown.length - ROWS_MAX)} more; those in need of somebody come first` : shown.length ? "" : "no host is like that";
}

function decided() {
  fill($("history"), ...history.map((row) => el("li", {}, el("b", {}, row.what), el("span", {}, row.why), el("small", { class: "quiet" }, `${row.who}, ${time(row.at_ns)}`))));
}

function all() {
  figures();
  rollout();
  chips();
  table();
  decided();
}

$("conditions").addEventListener("click", (event) => {
  const word = event.target.closest("[data-is]")?.dataset.is;
  if (!word) return;
  only = only === word ? "" : word;
  chips();
  table();
  $("conditions").querySelector(`[data-is="${word}"]`)?.focus();
});
$("filter").addEventListener("input", () => { words = $("filter").value.trim().toLowerCase(); table(); });
steer($("rollout"), () => state.rollout);

let seen = state.rollout?.events.length, latest = state.latest;
live("?hosts=1", async (told) => {
  ({ state, hosts } = told);
  if (state.rollout?.events.length !== seen || state.latest !== latest) {
    [seen, latest] = [state.rollout?.events.length, state.latest];
    history = (await (await fetch(`${base}/fleet/history`)).json()).slice(0, 12);
  }
  all();
});
all();
