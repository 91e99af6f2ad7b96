// One host: what it shall be, what it says it is, its files, its last words.

import { $, base, bytes, el, fill, given, live, pill, span, time, version } from "./parts.js";

let found = given();
const row = (name, ...value) => el("div", {}, el("dt", {}, name), el("dd", {}, ...value));

// What counts last stands last.
const override = (name) => {
  const set = (found.overrides ?? []).filter((one) => one.column === name).at(-1);
  return set ? el("small", { class: "override" }, pill("override"), ` by ${set.who}${set.scope === found.host ? "" : ` for ${set.scope}`}, `, time(set.at_ns), `: ${set.why}`) : null;
};

function show() {
  const { assigned, status, content } = found;
  const report = status?.report;
  $("title").textContent = $("crumb").textContent = found.host;
  $("up").href = `${base}/fleet`;
  fill($("says"), pill(found.condition), status ? ` spoke ${time(status.at_ns)}` : " has never spoken");
  const drift = report?.drift ?? [];
  fill($("body"),
    el("div", { class: "column" },
      status?.failure && status.failed >= (assigned?.position ?? 0) ? el("section", { class: "problem", role: "alert" }, el("strong", {}, "It did not keep what it was given"), el("p", {}, status.failure)) : null,
      el("section", { class: "card" }, el("h2", {}, "Version"), el("dl", { class: "pairs" },
        row("shall be", version(assigned?.release), assigned?.rollback ? " (a way back)" : ""),
        row("is", version(report?.release), report?.effect && report.effect !== "none" ? ` (${report.effect})` : ""),
        row("position", String(assigned?.position ?? "–"), report && report.position !== assigned?.position ? ` (it is at ${report.position})` : ""),
        row("tree", el("code", {}, content?.tree ? `${content.tree.slice(0, 19)}…` : "–")),
        content?.root ? row("root", el("code", {}, `${content.root.tree.slice(0, 19)}…`)) : null,
        row("packages", content?.packages?.join(", ") || "–"),
        row("secrets", content?.secrets?.length ? content.secrets.map((name) => `secret:${name}`).join(", ") : "–"),
        report?.saved_total_ms ? row("downtime saved", span(report.saved_total_ms / 1000)) : null)),
      el("section", { class: "card" }, el("h2", {}, content?.root ? "Files laid over the root" : "Files"), el("div", { class: "table" }, el("table", {}, el("thead", {}, el("tr", {}, ...["Path", "Mode", "Size", ""].map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, ...found.files.map((file) => {
          const differs = drift.find((one) => one.path === file.path);
          return el("tr", {}, el("th", { scope: "row" }, el("a", { href: `${base}/fleet/hosts/${encodeURIComponent(found.host)}/blobs/${file.ref}`, download: file.path.split("/").at(-1) }, file.path)), el("td", {}, file.mode), el("td", {}, bytes(file.bytes)), el("td", {}, differs ? pill("drifted") : ""));
        })))))),
    el("div", { class: "column" },
      drift.length ? el("section", { class: "card" }, el("h2", {}, "Drift"), el("ul", { class: "plain" }, ...drift.map((one) => el("li", {}, el("code", {}, one.path), ` ${one.kind}`, one.intent && one.intent !== "accidental" ? ` (${one.intent})` : "")))) : null,
      el("section", { class: "card" }, el("h2", {}, "Its row"), el("dl", { class: "pairs" }, ...Object.entries(found.row ?? {}).map(([name, value]) => row(name, el("code", {}, String(value)), override(name))))),
      el("section", { class: "card history" }, el("h2", {}, "Said"), el("ol", {}, ...[...(status?.events ?? [])].reverse().map((news) =>
        el("li", {}, el("b", {}, `${news.state}, v${news.release}`), el("span", {}, news.reason), el("small", { class: "quiet" }, time(news.at_ns))))))));
}

show();
live("", async () => {
  const reply = await fetch(`${base}/fleet/about/${encodeURIComponent(found.host)}`);
  if (reply.ok) { found = await reply.json(); show(); }
});
