// The list of series: figures of the last minute and a sparkline; rows are made once and then only filled anew.

import { path, spark } from "./spark.js";
import * as format from "./format.js";

const ORDER = ["HTTP", "Derivations", "Transactions", "Rooms", "Store", "Paths", "Your own"];

// Whoever types is not answered at each letter, and reads no longer list.  Unit: milliseconds, series.
const LATER_MS = 250, OTHERS_MAX = 60;

export class SeriesList {
  constructor(root, filter, { chosen }) {
    Object.assign(this, { root, filter, chosen, rows: new Map(), groups: new Map(), current: "" });
    this.more = document.getElementById("more");
    filter.addEventListener("input", () => this.sift());
    filter.addEventListener("keydown", (event) => { if (event.key === "ArrowDown") this.key(event); });
    root.addEventListener("click", (event) => {
      const row = event.target.closest("a[data-series]");
      if (!row || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
      event.preventDefault();
      chosen(row.dataset.series);
    });
    root.addEventListener("keydown", (event) => this.key(event));
  }

  // `total` is how many series there are: the list has the busiest.
  fill(list, total = list.length) {
    const seen = new Set();
    this.more.hidden = total <= list.length;
    if (!this.more.hidden) set(this.more, `The busiest ${format.count(list.length)} of ${format.count(total)} series; a search finds the others, too.`);
    for (const item of list) {
      const row = this.rows.get(item.series) ?? this.make(item);
      row.item = item;
      seen.add(item.series);
      set(row.p50, format.value(item.p50, item.unit));
      set(row.p99, format.value(item.p99, item.unit));
      set(row.count, item.count ? `${format.count(item.count)}/min` : "silent");
      row.link.classList.toggle("silent", !item.count);
      row.mark.hidden = !item.lost && !item.negative;
      if (!row.mark.hidden) set(row.mark, item.lost ? "loss" : "< 0");
      const shape = path(item.spark);
      if (row.shape !== shape) { row.shape = shape; row.spark.firstChild.setAttribute("d", shape); }
    }
    for (const [series, row] of this.rows) if (!seen.has(series)) { row.link.parentElement.remove(); this.rows.delete(series); }
    if (this.filter.value) this.sift();
    this.reachable();
  }

  // Tab comes to one of them and the arrows to the others: nobody shall press it five hundred times.
  reachable() {
    const links = this.shown(), focused = links.find((link) => link === document.activeElement);
    const one = focused ?? links.find((link) => link.dataset.series === this.current) ?? links[0];
    if (one === this.tabbed && one?.tabIndex === 0) return;
    if (this.tabbed) this.tabbed.tabIndex = -1;
    this.tabbed = one;
    if (one) one.tabIndex = 0;
  }

  shown() { return [...this.root.querySelectorAll("a[data-series]")].filter((link) => !link.closest("[hidden]")); }

  make(item) {
    const { main, tags } = format.title(item.name, item.labels), link = document.createElement("a");
    link.href = `?series=${encodeURIComponent(item.series)}`;
    link.dataset.series = item.series;
    link.title = item.series;
    link.tabIndex = -1;
    const row = { link, item, spark: spark([]), shape: "" };
    const name = part("span", "name", main), tagged = part("span", "tags");
    for (const { key, text } of tags) {
      const tag = part("span", "tag", text);
      tag.title = key;
      tag.dataset.kind = text;
      tagged.append(tag);
    }
    row.mark = part("span", "mark");
    tagged.append(row.mark);
    for (const key of ["p50", "p99", "count"]) row[key] = part("span", key);
    const figures = part("span", "figures");
    figures.append(labelled("p50", row.p50), labelled("p99", row.p99), row.count);
    const head = part("span", "head");
    head.append(name, tagged);
    link.append(head, row.spark, figures);
    const entry = document.createElement("li");
    entry.append(link);
    this.group(format.group(item.name)).append(entry);
    if (item.series === this.current) link.setAttribute("aria-current", "true");
    this.rows.set(item.series, row);
    return row;
  }

  group(name) {
    if (this.groups.has(name)) return this.groups.get(name);
    const section = part("section", "group"), list = document.createElement("ul");
    section.append(part("h2", "", name), list);
    section.dataset.order = ORDER.indexOf(name);
    const after = [...this.root.children].find((other) => Number(other.dataset.order) > ORDER.indexOf(name));
    this.root.insertBefore(section, after ?? null);
    this.groups.set(name, list);
    return list;
  }

  mark(series) {
    this.rows.get(this.current)?.link.removeAttribute("aria-current");
    this.current = series;
    const link = this.rows.get(series)?.link;
    link?.setAttribute("aria-current", "true");
    this.reachable();
    if (!link) return;
    const box = link.getBoundingClientRect(), side = this.root.parentElement, room = side.getBoundingClientRect();
    if (box.top < room.top || box.bottom > room.bottom) side.scrollTop += box.top - room.top - room.height / 3;
  }

  sift() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const { link, item } of this.rows.values()) {
      const text = `${item.series} ${format.title(item.name, item.labels).main}`.toLowerCase();
      link.parentElement.hidden = !words.every((word) => text.includes(word));
    }
    for (const list of this.groups.values()) list.parentElement.hidden = [...list.children].every((entry) => entry.hidden);
    this.reachable();
    clearTimeout(this.later);
    this.later = setTimeout(() => this.others(words), this.more.hidden || !words.length ? 0 : LATER_MS);
  }

  // What a search finds among the series that are not in the list: names without figures.
  async others(words) {
    let found = [];
    if (!this.more.hidden && words.length) {
      const turn = this.turn = {}, reply = await fetch(`${document.documentElement.dataset.base}/pulse/series`).catch(() => null);
      const { series } = reply?.ok ? await reply.json() : { series: [] };
      if (this.turn !== turn) return;
      found = series.filter((one) => !this.rows.has(one.series) && words.every((word) => one.series.toLowerCase().includes(word)));
    } else this.turn = null;
    const section = this.rest ??= this.root.parentElement.appendChild(part("section", "group"));
    section.hidden = !found.length;
    section.replaceChildren(part("h2", "", `${format.count(found.length)} less busy`), part("ul"));
    section.lastChild.append(...found.slice(0, OTHERS_MAX).map((one) => {
      const entry = part("li"), link = entry.appendChild(part("a")), head = link.appendChild(part("span", "head"));
      head.append(part("span", "name", one.series));
      link.href = `?series=${encodeURIComponent(one.series)}`;
      return entry;
    }));
  }

  key(event) {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const links = this.shown();
    const next = links[links.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1)];
    if (next) { event.preventDefault(); next.focus(); this.reachable(); }
  }
}

function part(tag, kind = "", text = "") {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.textContent = text;
  return element;
}

function labelled(label, element) {
  const whole = part("span", "figure");
  whole.append(part("small", "", label), element);
  return whole;
}

const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };
