// One incident: what is in it, what its runbook did, everything that happened, and the buttons.

import { $, acts, base, checkLink, el, fill, given, link, live, pill, plural, span, steering, time } from "./parts.js";

let incident = given();
const took = (seconds) => seconds < 10 ? `${seconds.toFixed(1)} s` : span(seconds);

function head() {
  $("title").textContent = incident.title;
  $("crumb").textContent = `Incident ${incident.number}`;
  const lasted = ((incident.resolved_ns || Date.now() * 1e6) - incident.opened_ns) / 1e9;
  fill($("says"), pill(incident.state), incident.kind === "failure" ? null : pill(incident.kind), ` since ${time(incident.opened_ns)}`,
    incident.state === "merged" ? " · into " : ` · ${incident.resolved_ns ? "lasted" : "for"} ${span(lasted)}`, incident.state === "merged" ? link(`/monitor/incident/${incident.into}`, `incident ${incident.into}`) : null,
    incident.who ? ` · ${incident.state === "acknowledged" ? `${incident.who} has it` : `by ${incident.who}`}${incident.note ? `: ${incident.note}` : ""}` : "",
    incident.reopened ? ` · opened again ${incident.reopened === 1 ? "once" : `${incident.reopened} times`}` : "");
  fill($("actions"), ...steering(incident), el("button", { type: "button", class: "button", "data-act": "maintain", "data-checks": incident.key }, "Maintenance…"));
}

function members() {
  $("members-title").textContent = `${plural(incident.members.length, "check")} in it`;
  fill($("members"), ...incident.members.map((one) => el("tr", {},
    el("td", {}, pill(one.state)), el("th", { scope: "row" }, one.known ? checkLink(one.check) : one.check),
    el("td", { class: "said", title: one.text }, one.text, one.because ? el("small", { class: "quiet" }, ` needs ${one.because}`) : null, one.held ? el("small", { class: "held" }, ` runbook waits: ${one.held}`) : null),
    el("td", { class: "quiet" }, time(one.joined_ns)), el("td", { class: "quiet" }, one.well_ns ? time(one.well_ns) : "–"))));
}

function runs() {
  $("runs-card").hidden = !incident.runs.length;
  fill($("runs"), ...incident.runs.map((one) => el("article", { class: "run" },
    el("p", {}, el("b", {}, one.runbook), ` for ${one.check} `, pill(one.outcome), el("span", { class: "quiet" }, ` ${time(one.began_ns)}${one.ended_ns ? `, took ${took((one.ended_ns - one.began_ns) / 1e9)}` : ""}`)),
    one.text ? el("p", { class: "quiet" }, one.text) : null,
    one.shown ? el("pre", { class: "output", tabindex: "0" }, one.shown) : null,
    one.output ? el("p", { class: "small quiet" }, "output ", el("code", {}, one.output)) : null)));
}

function timeline() {
  fill($("timeline"), ...incident.entries.map((one) => el("li", { "data-what": one.what },
    el("time", { class: "quiet" }, time(one.at_ns)), el("div", {}, el("b", {}, one.what), one.check ? " " : null, one.check ? checkLink(one.check) : null, one.who ? ` by ${one.who}` : null, one.text ? el("p", {}, one.text) : null))));
}

function all() {
  head();
  members();
  runs();
  timeline();
}

$("up").href = `${base}/monitor`;
acts(document.querySelector(".monitor"));
live(`?incident=${incident.number}`, (told) => { incident = told; all(); });
all();
