// The rules: how each stands, and what changed.

import { Live } from "./live.js";
import * as format from "./format.js";

const $ = (id) => document.getElementById(id);
const base = document.documentElement.dataset.base;
const first = JSON.parse($("data").textContent);
const WORDS = { firing: "firing", pending: "pending", clearing: "clearing", quiet: "quiet", unknown: "no data" };
const ORDER = ["firing", "clearing", "pending", "unknown", "quiet"];
const SHARES = ["share", "coverage", "negative"];
const made = new Map();

// A figure as its rule means it: in the unit of the series, as a share, a factor or a count.
function figure(rule, value) {
  if (value === null || value === undefined) return "–";
  if (SHARES.includes(rule.kind)) return format.share(value);
  if (rule.kind === "burn") return `${value.toFixed(1)} ×`;
  return format.value(value, rule.unit || "");
}

function condition(rule) {
  const held = rule.held_seconds === null ? "" : ` ${format.span(1000 * Math.floor(rule.held_seconds))} of ${format.span(rule.for_seconds * 1000)}`;
  return WORDS[rule.condition] + held;
}

function note(rule) {
  if (!rule.series) return "no series of this name yet";
  const many = rule.series === 1 ? "1 series" : `${rule.series} series as one`;
  const since = rule.since_ns ? ` · ${rule.condition === "firing" || rule.condition === "clearing" ? "fired" : "cleared"} ${format.clock(rule.since_ns / 1e6)}` : "";
  return `${many} · last ${format.span(rule.over_seconds * 1000)}, ${format.share(Math.min(1, rule.coverage))} seen${since}`;
}

function make(rule) {
  const entry = document.createElement("li");
  entry.className = "card rule";
  entry.innerHTML = '<span class="condition"></span><div class="said"><h2></h2><code></code><p class="quiet"></p></div><div class="now"><b></b><span class="quiet"></span><div class="meter" aria-hidden="true"><i></i></div></div><a class="button">Chart</a>';
  const at = (selector) => entry.querySelector(selector);
  const shown = { entry, condition: at(".condition"), title: at("h2"), code: at("code"), note: at("p"), value: at("b"), threshold: at(".now span"), meter: at(".meter i"), link: at("a") };
  shown.title.textContent = rule.rule === rule.text ? "" : rule.rule;
  shown.title.hidden = rule.rule === rule.text;
  shown.code.textContent = rule.text;
  return shown;
}

// How the measuring itself is: what waits for a server that is away, and what went wrong.
function told(health) {
  const words = [`Recording ${format.count(health.series)} series`];
  if (health.faults) words.push(`${health.faults} ${health.faults === 1 ? "fault" : "faults"}, the last: ${health.last_fault}`);
  for (const sink of health.sinks) {
    if (sink.waiting) words.push(`${format.count(sink.waiting)} intervals wait for ${sink.kind}${sink.last_failure ? ` (${sink.last_failure})` : ""}`);
    if (sink.coalesced) words.push(`${format.count(sink.coalesced)} intervals were merged into coarser ones meanwhile`);
    if (sink.dropped) words.push(`${format.count(sink.dropped)} intervals were dropped`);
  }
  return `${words.join(" · ")}.`;
}

function show({ rules, events, health }) {
  set($("health"), told(health));
  $("empty").hidden = rules.length > 0;
  $("changes").hidden = !rules.length;
  const firing = rules.filter((rule) => rule.condition === "firing" || rule.condition === "clearing").length;
  set($("summary"), !rules.length ? "Rules ask what the charts ask, so none fires on what no page shows." : firing ? `${firing} of ${rules.length} ${rules.length === 1 ? "rule" : "rules"} firing` : `${rules.length} ${rules.length === 1 ? "rule" : "rules"}, all quiet`);
  const seen = new Set(), sorted = rules.map((rule, place) => [ORDER.indexOf(rule.condition), place, rule]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  sorted.forEach(([, place, rule], turn) => {
    const key = `${place} ${rule.text}`;
    if (!made.has(key)) made.set(key, make(rule));
    seen.add(key);
    const shown = made.get(key);
    shown.entry.dataset.condition = rule.condition;
    set(shown.condition, condition(rule));
    set(shown.note, note(rule));
    set(shown.value, figure(rule, rule.value));
    set(shown.threshold, `${rule.above ? "limit" : "at least"} ${figure(rule, rule.threshold)}`);
    // Half way is the threshold: what lies beyond twice of it looks alike.
    const part = rule.value === null ? 0 : rule.threshold ? rule.value / rule.threshold / 2 : rule.value > 0 ? 1 : 0;
    shown.meter.style.setProperty("--part", `${Math.round(100 * Math.min(1, Math.max(0, part)))}%`);
    shown.link.classList.toggle("nowhere", !rule.example);
    if (rule.example) shown.link.href = `${base}/pulse?${new URLSearchParams({ series: rule.example, range: rule.over_seconds > 60 ? "15m" : "1m" })}`;
    if ($("rules").children[turn] !== shown.entry) $("rules").insertBefore(shown.entry, $("rules").children[turn] ?? null);
  });
  for (const [key, shown] of made) if (!seen.has(key)) { shown.entry.remove(); made.delete(key); }
  $("none").hidden = events.length > 0;
  $("told").hidden = !events.length;
  const newest = events.length ? `${events[0].at_ns}${events[0].rule}${events.length}` : "";
  if ($("rows").dataset.newest === newest) return;
  $("rows").dataset.newest = newest;
  $("rows").replaceChildren(...events.map((event) => {
    const row = document.createElement("tr"), rule = rules.find((one) => one.rule === event.rule) ?? { kind: "", unit: "" };
    row.dataset.kind = event.kind;
    for (const text of [`${format.date(event.at_ns / 1e6)} ${format.clock(event.at_ns / 1e6)}`, event.kind, event.rule, figure(rule, event.value), format.share(Math.min(1, event.coverage))]) {
      row.append(Object.assign(document.createElement("td"), { textContent: text }));
    }
    return row;
  }));
}

function set(element, text) { if (element.textContent !== text) element.textContent = text; }

const live = new Live({
  heard() {},
  ruled: show,
  told(line) {
    $("line").dataset.state = line;
    set($("line-text"), line === "live" ? "Live" : "Reconnecting…");
  },
});
show(first);
live.open("", "");
