// One version: who published it and why, what differs from the one before, its templates.

import { $, ask, base, bytes, count, el, fill, given, live, pill, time } from "./parts.js";

const { version, difference } = given();

function line(text) {
  const kind = text.startsWith("@@") ? "at" : { "+": "plus", "-": "minus" }[text[0]] ?? "same";
  return el("span", { class: kind }, `${text}\n`);
}

// A file of a root has its path with a slash in front.
function changed(file) {
  return el("div", { class: "file" }, el("h3", {}, pill(file.kind), " ", el("code", {}, file.path)), file.lines.length ? el("pre", { class: "diff", tabindex: "0", "aria-label": `lines of ${file.path} that differ` }, ...file.lines.map(line)) : null);
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
        difference.packages.length ? el("div", { class: "table" }, el("table", {}, el("thead", {}, el("tr", {}, ...["Package", `Version ${difference.old}`, `Version ${difference.new}`].map((name) => el("th", { scope: "col" }, name)))),
          el("tbody", {}, ...difference.packages.map(([name, before, after]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, before || "–"), el("td", {}, after || "–")))))) : null,
        ...difference.root_files.map(changed),
        ...difference.files.map(changed),
        difference.files.length ? null : el("p", { class: "quiet" }, "The templates are the same."))
      : el("section", { class: "card" }, el("h2", {}, "The first one"), el("p", { class: "quiet" }, "There is nothing before it."))),
  el("div", { class: "column" },
    el("section", { class: "card" }, el("h2", {}, "Hosts"), el("dl", { class: "pairs" }, el("div", {}, el("dt", {}, "in it"), el("dd", {}, count(version.hosts))), el("div", {}, el("dt", {}, "shall be it"), el("dd", {}, count(version.assigned))))),
    ...version.systems.map((system) => el("section", { class: "card" }, el("h2", {}, system.kind ? `Root of ${system.kind}` : "Root"), el("dl", { class: "pairs" },
      el("div", {}, el("dt", {}, "pinned as"), el("dd", {}, el("code", {}, system.root))),
      el("div", {}, el("dt", {}, "tree"), el("dd", {}, el("code", {}, `${system.tree.slice(0, 19)}…`))),
      el("div", {}, el("dt", {}, "packages"), el("dd", {}, count(system.packages)))))),
    el("section", { class: "card" }, el("h2", {}, "Templates"), el("ul", { class: "plain" }, ...version.files.map((file) => el("li", {}, el("code", {}, file.path), " ", el("small", { class: "quiet" }, bytes(file.bytes))))))));
live("", () => {});
