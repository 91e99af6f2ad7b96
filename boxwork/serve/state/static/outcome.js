// What became of a commit, or would: answer, place, runs, receipt, what it read and wrote.

import { clock, copying, count, duration, el, key, link, value } from "./parts.js";

function facts(title, rows, none) {
  const made = el("section", "facts", el("h3", "", title));
  if (!rows.length) { made.append(el("p", "quiet", none)); return made; }
  const body = el("tbody");
  for (const row of rows) {
    const head = el("th", "", key(row.key));
    head.scope = "row";
    body.append(el("tr", "", head, el("td", "", row.merge ? el("span", "tag", row.merge) : null, row.merge ? " " : null, row.value === null && title === "Wrote" ? el("span", "quiet", "deleted") : value(row.value))));
  }
  made.append(el("div", "wide", el("table", "", body)));
  return made;
}

function figures(rows) {
  const list = el("dl", "places");
  for (const [name, text] of rows) list.append(el("div", "", el("dt", "", name), el("dd", "", text)));
  return list;
}

function headed(kind, word, ...rest) {
  return el("header", "said", el("span", `chip ${kind}`, word), ...rest);
}

export function committed(told, explained, spent) {
  const parts = [headed("good", "Committed", value(told.answer))];
  const rows = [["entry", count(told.version)]];
  if (told.index < 0) rows.push(["call", "it only read: no entry"]);
  else rows.push(["call", explained ? `${told.index + 1} of ${count(explained.batch)}` : String(told.index + 1)]);
  if (explained) rows.push(["runs", String(explained.runs)]);
  if (explained?.lost_ms) rows.push(["lost", duration(explained.lost_ms)]);
  rows.push(["durable after", duration(told.duration_ms)], ["round trip", duration(spent)]);
  parts.push(figures(rows), receipt(told.receipt, told.index >= 0));
  if (explained) parts.push(...details(explained));
  return parts;
}

function receipt(text, known) {
  const row = el("p", "receipt", el("span", "quiet", "receipt"), el("code", "", text), copying(el("button", "button", "Copy"), () => text));
  row.querySelector("button").type = "button";
  if (known) row.append(link(`/state/commits?receipt=${text}`, "Explain"));
  return row;
}

function details(told) {
  const parts = [];
  if (told.rivals.length) {
    const list = el("ul", "plainly");
    for (const rival of told.rivals) list.append(el("li", "", key(rival.key), " was changed by ", el("b", "", rival.by)));
    parts.push(el("section", "facts", el("h3", "", "Why it ran again"), list));
  }
  if (!told.was_run_again) parts.push(el("p", "quiet", "What it read and wrote is not shown: its code (or that of one before it in the entry) is not at hand here, or it awaits something."));
  else parts.push(el("div", "both", facts("Read", told.reads, "Nothing."), facts("Wrote", told.writes, "Nothing.")));
  return parts;
}

export function explanation(told) {
  const inputs = Object.entries(told.inputs).map(([name, one]) => ({ key: [name], value: one }));
  return [
    el("header", "said", el("h2", "", told.transaction || "A commit"), el("span", "quiet", `${new Date(told.at_ms).toLocaleDateString("en", { day: "numeric", month: "short", year: "numeric" })}, ${clock(told.at_ms)}`)),
    figures([["entry", count(told.version)], ["call", `${told.index + 1} of ${count(told.batch)}`], ["runs", String(told.runs)], ["lost in runs", duration(told.lost_ms)], ...(told.was_run_again ? [["answered", value(told.answer)]] : [])]),
    receipt(told.receipt, false),
    facts("Inputs", inputs, "None."),
    ...details(told),
  ];
}

export function previewed(told) {
  const parts = [headed("mere", "Preview", told.error ? el("b", "", told.error.message) : value(told.answer))];
  parts.push(figures([["of version", count(told.version)], ["it would be", told.error ? (told.error.refused ? "refused" : "failing") : "committed"]]));
  parts.push(el("div", "both", facts("Read", told.reads, "Nothing."), facts("Wrote", [...told.writes, ...told.merges], "Nothing.")));
  if (told.scans.length) parts.push(facts("Scanned", told.scans.map((one) => ({ key: one, value: "…" })), ""));
  return parts;
}

export function refused(told) {
  const is = told.error?.startsWith("transaction.refused") || told.error?.startsWith("transaction.bound");
  const word = is ? "Refused" : told.error === "commit.unknown" ? "Unknown" : "Not committed";
  const rows = [["code", told.error], ["again", told.retry]];
  for (const [name, one] of Object.entries(told.details ?? {})) rows.push([name, typeof one === "string" ? one : value(one)]);
  if (told.request) rows.push(["request", told.request]);
  return [headed(is ? "refused" : "bad", word, el("b", "", told.message)), figures(rows), el("p", "quiet", told.error === "commit.unknown" ? "Nobody can say whether it happened; ask again with the same idempotency key." : "Nothing was changed.")];
}

// Many at once: who shared a batch with whom.
export function several(rows) {
  const entries = new Map();
  for (const row of rows) if (row.told) entries.set(row.told.version, (entries.get(row.told.version) ?? 0) + 1);
  const good = rows.filter((row) => row.told).length;
  const body = el("tbody");
  rows.forEach((row, k) => {
    const head = el("th", "", String(k + 1));
    head.scope = "row";
    const cells = row.told
      ? [value(row.told.answer), String(row.told.version), row.told.index < 0 ? "only read" : String(row.told.index + 1), duration(row.spent), row.told.index < 0 ? "" : link(`/state/commits?receipt=${row.told.receipt}`, "Explain")]
      : [el("b", "bad", row.fault.message), "", "", duration(row.spent), ""];
    body.append(el("tr", "", head, ...cells.map((cell) => el("td", "", cell))));
  });
  const titles = el("tr");
  for (const title of ["", "answer", "entry", "call", "round trip", ""]) { const cell = el("th", "", title); cell.scope = "col"; titles.append(cell); }
  return [
    headed(good === rows.length ? "good" : "refused", `${good} of ${rows.length} committed`, el("span", "quiet", `in ${entries.size} ${entries.size === 1 ? "entry, with one sync" : "entries"}`)),
    el("div", "wide", el("table", "many", el("thead", "", titles), body)),
  ];
}

export function show(card, parts) {
  card.replaceChildren(...parts);
  card.hidden = false;
}
