// One check: how it stands, what it said, its figures, its last results, the incidents it was in.

import { $, acts, ago, base, checkLink, el, fill, given, link, live, maintain, ms, order, pill, spark, time } from "./parts.js";

let check = given();

const number = (value) => Math.abs(value) >= 1e6 ? value.toExponential(3) : value.toLocaleString("en", { maximumFractionDigits: 3 });

function says() {
  const soft = check.soft && check.state !== "ok" ? ` ${check.attempt}/${check.attempts}, not certain yet` : "";
  fill($("says"), pill(check.state, check.flapping ? " · flapping" : check.silent ? " · maintenance" : ""), ` ${check.since_ns ? `since ${time(check.since_ns)}` : ""}${soft}`,
    check.incident ? " · " : null, check.incident ? link(`/monitor/incident/${check.incident}`, `incident ${check.incident}`) : null,
    el("span", { class: "quiet" }, check.at_ns ? ` · looked at ${time(check.at_ns)}, ${ms(check.ms)}` : " · not looked at yet"));
}

function figures() {
  fill($("figures"), ...(check.figures.length ? [el("div", { class: "table", role: "region", "aria-label": "Figures", tabindex: "0" }, el("table", { class: "figures" },
    el("thead", {}, el("tr", {}, ...["Figure", "Value", "Warns at", "Critical at", "Over time"].map((word) => el("th", { scope: "col" }, word)))),
    el("tbody", {}, ...check.figures.map((one) => el("tr", {}, el("th", { scope: "row" }, one.label), el("td", {}, `${number(one.value)}${one.unit ? ` ${one.unit}` : ""}`),
      el("td", {}, one.warn || "–"), el("td", {}, one.crit || "–"), el("td", {}, one.series ? link(`/pulse?${new URLSearchParams({ series: one.series, range: "1h" })}`, "in pulse", { title: one.series }) : "unit not known"))))))] : []));
}

function about() {
  const { check: book } = check;
  const rows = [
    [check.kind, el("code", {}, check.what)],
    book.about ? ["about", book.about] : null,
    ["every", `${book.every_s} s${book.retry_s ? `, ${book.retry_s} s while it is not certain` : ""}`],
    ["certain after", `${book.attempts} bad ${book.attempts === 1 ? "result" : "results"}`],
    ["at most", `${book.timeout_s} s`],
    check.above.length ? ["needs", list(check.above)] : null,
    check.needed_by.length ? ["needed by", list(check.needed_by)] : null,
    book.runbook ? ["runbook", book.runbook] : null,
    ["how long it takes", link(`/pulse?${new URLSearchParams({ series: `monitor.check{check=${check.name}}`, range: "1h" })}`, "in pulse")],
  ].filter(Boolean);
  fill($("about"), ...rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}
const list = (names) => el("span", {}, ...names.slice(0, 20).flatMap((name, place) => [place ? ", " : "", checkLink(name)]), names.length > 20 ? ` and ${names.length - 20} more` : "");

function all() {
  $("title").textContent = $("crumb").textContent = check.name;
  says();
  $("output").textContent = check.text + (check.long ? `\n${check.long}` : "") || "not looked at yet";
  figures();
  about();
  fill($("strip"), spark(check.recent, 640, 44, 40));
  $("kept").textContent = check.history.length ? `the newest ${check.history.length}` : "none yet";
  fill($("history"), ...check.history.map((one) => el("tr", {}, el("td", { class: "quiet" }, time(one.at_ns)), el("td", {}, pill(one.state)), el("td", { class: "num" }, ms(one.ms)), el("td", { class: "said", title: one.text }, one.text))));
  fill($("incidents"), ...(check.incidents.length ? check.incidents.map((one) => el("li", {}, link(`/monitor/incident/${one.number}`, `#${one.number} ${one.title}`), " ", pill(one.state), el("span", { class: "quiet" }, ` ${time(one.opened_ns)}`))) : [el("li", { class: "quiet" }, "none")]));
}

$("up").href = `${base}/monitor`;
$("now").addEventListener("click", async () => {
  $("now").disabled = true;
  try { await order(`/monitor/checks/${encodeURIComponent(check.name)}`, {}); } catch (error) { $("output").textContent = error.message; }
  setTimeout(() => { $("now").disabled = false; }, 500);
});
$("maintenance").addEventListener("click", () => maintain(check.name));
acts(document.querySelector(".monitor"));
live(`?check=${encodeURIComponent(check.name)}`, (told) => { check = told; all(); });
all();
