// The newest entries of the log: each is one sync, with its calls in serial order.

import { bytes, clock, count, el, link, short_receipt, value } from "./parts.js";

const PARTS_SHOWN = 3;

function called(entry) {
  const made = el("span", "called");
  if (entry.calls === null) { made.append(el("span", "quiet", "too large to be kept at hand")); return made; }
  const totals = new Map();
  for (const [name, calls] of entry.names) totals.set(name, (totals.get(name) ?? 0) + calls);
  [...totals].slice(0, PARTS_SHOWN).forEach(([name, calls]) => made.append(el("b", "", name), calls > 1 ? el("small", "", ` × ${count(calls)} `) : " "));
  if (totals.size > PARTS_SHOWN) made.append(el("small", "", `and ${totals.size - PARTS_SHOWN} others`));
  if (!entry.calls) made.append(el("span", "quiet", "no inputs kept"));
  return made;
}

function detail(entry) {
  const list = el("ol", "calls");
  for (const call of entry.first) {
    const row = el("li", "", el("b", "", call.name), " ");
    call.inputs.forEach((one) => row.append(value(one), " "));
    row.append(link(`/state/commits?receipt=${call.receipt}`, short_receipt(call.receipt), "mono"));
    list.append(row);
  }
  if (entry.calls > entry.first.length) list.append(el("li", "quiet rest", `… and ${count(entry.calls - entry.first.length)} more`));
  return list;
}

function make(entry) {
  const head = el("summary", "", el("span", "version mono", String(entry.version)), called(entry));
  if (entry.reruns) head.append(el("span", "mark", `${entry.reruns} re-run${entry.reruns > 1 ? "s" : ""}`));
  head.append(el("span", "quiet sizes", `${count(entry.writes)} write${entry.writes === 1 ? "" : "s"} · ${bytes(entry.bytes)}`), el("time", "quiet", clock(entry.at_ms)));
  const made = el("details", "", head);
  made.addEventListener("toggle", () => { if (made.open && made.children.length === 1) made.append(entry.first.length ? detail(entry) : el("p", "quiet", "Its inputs are not at hand.")); });
  const row = el("li", "", made);
  row.dataset.version = entry.version;
  return row;
}

// Rows that are there stay (somebody may have opened one); new ones come on top, old ones go at the end.
export function fill(list, entries, most) {
  const there = new Map([...list.children].map((row) => [Number(row.dataset.version), row]));
  const wanted = entries.slice(0, most);
  const keep = new Set(wanted.map((entry) => entry.version));
  for (const [version, row] of there) if (!keep.has(version) && !row.firstChild.open) row.remove();
  [...wanted].reverse().forEach((entry) => { if (!there.has(entry.version)) list.prepend(make(entry)); });
}
