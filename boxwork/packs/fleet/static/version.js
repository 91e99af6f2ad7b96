// One version: who published it and why, what differs from the one before, its templates.

import { $, ask, base, bytes, count, el, fill, given, live, pill, time } from "./parts.js";

const { version, difference } = given();

function line(text) {
  const kind = text.startsWith("@@") ? "at" : { "+": "plus", "-": "minus" }[text[0]] ?? "same";
  return el("span", { class: kind }, `${text}\n`);
}

$("title").textContent = $("crumb").textContent = `Version ${version.number}`;
$("up").href = `${base}/fleet`;
const back = version.number > 1 ? el("a", { class: "button", href: `${base}/fleet/version/${version.number - 1}` }, "‹ earlier") : null;
const roll = el("button", { type: "button", class: "button first" }, "Roll it out…");
roll.onclick = () => ask(`Move the fleet to version ${version.number}`, "/fleet/rollouts", "Begin", { version: version.number });
$("says").append(`${version.reason} — ${version.author}, ${time(version.at_ns)}`, version.source ? `, from ${version.source}` : "");
$("line").before(el("div", { class: "actions" }, ...[back, roll].filter(Boolean)));

fill($("body"),
  el("div", { class: "column" },
    difference
      ? el("section", { class: "card" }, el("h2", {}, `What differs from version ${difference.old}`),
        el("p", {}, el("b", {}, "Rows: "), difference.rows),
        ...difference.files.map((file) => el("div", { class: "file" }, el("h3", {}, pill(file.kind), " ", el("code", {}, file.path)), file.lines.length ? el("pre", { class: "diff", tabindex: "0", "aria-label": `lines of ${file.path} that differ` }, ...file.lines.map(line)) : null)),
        difference.files.length ? null : el("p", { class: "quiet" }, "The templates are the same."))
      : el("section", { class: "card" }, el("h2", {}, "The first one"), el("p", { class: "quiet" }, "There is nothing before it."))),
  el("div", { class: "column" },
    el("section", { class: "card" }, el("h2", {}, "Hosts"), el("dl", { class: "pairs" }, el("div", {}, el("dt", {}, "in it"), el("dd", {}, count(version.hosts))), el("div", {}, el("dt", {}, "shall be it"), el("dd", {}, count(version.assigned))))),
    el("section", { class: "card" }, el("h2", {}, "Templates"), el("ul", { class: "plain" }, ...version.files.map((file) => el("li", {}, el("code", {}, file.path), " ", el("small", { class: "quiet" }, bytes(file.bytes))))))));
live("", () => {});
