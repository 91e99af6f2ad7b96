// Everything at a glance: what is wrong first, then every check, moving as it happens.

import { $, STATES, acts, ago, base, checkLink, count, el, fill, given, link, live, maintain, ms, pill, plural, spark, steering, time } from "./parts.js";

const first = given();
const checks = new Map(first.rows.map((row) => [row.name, row]));
const shown = new Map();
let state = first.state, only = "", words = "";

function summary() {
  const { counts, checks: all, incidents } = state;
  $("summary").textContent = !all ? "" : incidents.length
    ? `${plural(incidents.length, "open incident")} · ${count(counts.ok)} of ${plural(all, "check")} well`
    : counts.ok === all ? `${plural(all, "check")}, all well` : `no open incident · ${count(counts.ok)} of ${plural(all, "check")} well`;
  document.title = `${incidents.length ? `(${incidents.length}) ` : ""}Monitor · Boxwork`;
  $("problem").hidden = !state.trouble.length;
  $("problem-title").textContent = !state.running ? "No rounds are made here" : `The book ${state.book} has a mistake; the last good one goes on`;
  fill($("mistakes"), ...state.trouble.map((mistake) => el("li", {}, mistake)));
  $("checks").hidden = !all;
}

function card(one) {
  const what = el("div", { class: "what" },
    el("h2", {}, link(`/monitor/incident/${one.number}`, one.title)),
    el("p", { class: "said" }, one.text),
    el("p", { class: "quiet small" }, `#${one.number} · open for ${ago(one.opened_ns)}`,
      one.checks > 1 ? ` · ${one.bad} of ${plural(one.checks, "check")} not well` : one.bad ? "" : " · well again, waiting until it stays so",
      one.reopened ? ` · opened again ${one.reopened === 1 ? "once" : `${one.reopened} times`}` : "",
      one.state === "acknowledged" ? ` · ${one.who} has it${one.note ? `: ${one.note}` : ""}` : ""));
  return el("article", { class: "incident", "data-is": one.bad ? one.worst : "calm", "aria-label": one.title }, what,
    el("div", { class: "actions" }, one.kind === "failure" ? null : pill(one.kind), pill(one.state), ...steering(one)));
}

function chips() {
  fill($("states"), ...STATES.filter((word) => state.counts[word]).map((word) =>
    el("button", { type: "button", class: "chip", "data-is": word, "aria-pressed": String(only === word) }, el("i", { "aria-hidden": "true" }), word, el("b", {}, count(state.counts[word])))));
}

function cells(row) {
  const more = row.flapping ? " · flapping" : row.silent ? " · maintenance" : row.soft && row.state !== "ok" ? ` ${row.attempt}/${row.attempts}` : "";
  return [
    el("td", {}, pill(row.state, more)),
    el("th", { scope: "row" }, checkLink(row.name), row.incident ? link(`/monitor/incident/${row.incident}`, `#${row.incident}`, { class: "number", "aria-label": `incident ${row.incident}` }) : null),
    el("td", { class: "said", title: row.text }, row.text || "not looked at yet"),
    el("td", { class: "quiet", title: row.since_ns ? time(row.since_ns) : null }, ago(row.since_ns)),
    el("td", { class: "num" }, ms(row.ms)),
    el("td", { class: "last" }, spark(row.recent)),
  ];
}

const rank = (row) => [STATES.indexOf(row.state), row.name];
const before = (a, b) => rank(a)[0] - rank(b)[0] || a.name.localeCompare(b.name);

function table(changed) {
  const rows = [...checks.values()].filter((row) => (!only || row.state === only) && (row.name + row.text).toLowerCase().includes(words)).sort(before);
  const names = new Set(rows.map((row) => row.name));
  for (const [name, tr] of shown) if (!names.has(name)) { tr.remove(); shown.delete(name); }
  let previous = null;
  for (const row of rows) {
    let tr = shown.get(row.name);
    const isNew = !tr;
    if (isNew) shown.set(row.name, tr = el("tr", {}));
    if (isNew || !changed || changed.has(row.name)) { fill(tr, ...cells(row)); tr.dataset.is = row.state; }
    if ((previous ? previous.nextSibling : $("rows").firstChild) !== tr) previous ? previous.after(tr) : $("rows").prepend(tr);
    previous = tr;
  }
  $("none").textContent = rows.length || !checks.size ? "" : "no check is like that";
}

function around() {
  fill($("incidents"), ...state.incidents.map(card));
  fill($("windows"), ...(state.silences.length ? state.silences.map((one) => el("li", {},
    el("b", {}, one.checks), ` ${one.is_on ? "until" : `${time(one.from_ns)} to`} ${time(one.until_ns)}`, el("span", { class: "quiet" }, ` ${one.why} — ${one.who} `),
    el("button", { type: "button", class: "button tiny", "data-act": "end", "data-id": one.id, "data-checks": one.checks }, "End"))) : [el("li", { class: "quiet" }, "none")]));
  fill($("over"), ...(state.over.length ? state.over.slice(0, 12).map((one) => el("li", {}, link(`/monitor/incident/${one.number}`, `#${one.number} ${one.title}`),
    el("span", { class: "quiet" }, ` ${time(one.opened_ns)}, for ${length(one)}${one.who ? `, ${one.who}` : ""}`))) : [el("li", { class: "quiet" }, "none yet")]));
}
const length = (one) => { const seconds = (one.resolved_ns - one.opened_ns) / 1e9; return seconds < 100 ? `${Math.round(seconds)} s` : seconds < 6000 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`; };

function all(changed) {
  summary();
  around();
  chips();
  table(changed);
}

$("states").addEventListener("click", (event) => {
  const word = event.target.closest("[data-is]")?.dataset.is;
  if (!word) return;
  only = only === word ? "" : word;
  chips();
  table();
  $("states").querySelector(`[data-is="${word}"]`)?.focus();
});
$("filter").addEventListener("input", () => { words = $("filter").value.trim().toLowerCase(); table(); });
$("maintenance").addEventListener("click", () => maintain(""));
acts(document.querySelector(".monitor"));

const numbers = { ok: 0, warning: 1, critical: 2, unknown: 3 };
live("", async (told) => {
  state = told.state;
  const changed = new Set();
  for (const row of told.rows) {
    const old = checks.get(row.name);
    row.recent = old?.recent ?? [];
    if (row.at_ns && row.at_ns !== old?.at_ns) row.recent = [...row.recent, [numbers[row.state] ?? 0, row.ms ?? 0]].slice(-40);
    checks.set(row.name, row);
    changed.add(row.name);
  }
  if (checks.size !== state.checks) {  // the book was edited: what is no longer in it goes
    const now = await (await fetch(`${base}/monitor/checks`)).json();
    const names = new Set(now.map((row) => row.name));
    for (const name of checks.keys()) if (!names.has(name)) checks.delete(name);
  }
  all(changed);
});
setInterval(() => { around(); table(); }, 10000);
all();
