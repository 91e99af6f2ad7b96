// The live page: figures, two charts, lanes, hot keys, lock waits, the newest entries; one event a second.

import { $, base, bytes, count, duration, el, key, set } from "./parts.js";
import { fill } from "./entries.js";
import { drawRate, drawSizes } from "./lanes.js";
import { listen } from "./stream.js";

const LANES = ["serial", "snapshot", "locking", "occ"], KEPT = 120, ENTRIES = 12;
const state = { points: [], now: Date.now() };
$("all").href = `${base}/state/commits`;
$("try").href = `${base}/state/playground`;

function draw() {
  drawRate($("rate"), state.points, state.now);
  drawSizes($("sizes"), state.points, state.now);
}

const rows = new Map(LANES.map((lane) => {
  const head = el("th", "", el("span", "lane", lane)), cells = Array.from({ length: 9 }, () => el("td"));
  head.scope = "row";
  head.firstChild.dataset.lane = lane;
  $("lanes").append(el("tr", "", head, ...cells));
  return [lane, cells];
}));

function lanes(told) {
  for (const [lane, cells] of rows) {
    const whole = told.lanes[lane], done = whole.commits + whole.refusals;
    const texts = [count(whole.commits), told.point ? `${count(told.point.lanes[lane].commits)}/s` : "–", done ? (whole.executions / done).toFixed(2) : "–",
      count(whole.reruns), count(whole.aborts), count(whole.refusals), count(whole.failures), count(whole.waits), duration(whole.lost_ns / 1e6)];
    cells.forEach((cell, k) => set(cell, texts[k]));
    cells[0].parentElement.classList.toggle("idle", !whole.executions);
  }
}

function hottest(list) {
  $("no-hottest").hidden = list.length > 0;
  const most = Math.max(...list.map((one) => one.share), 0.0001);
  $("hottest").replaceChildren(...list.map((one) => {
    const row = el("li", "", key(one.key), el("span", "quiet", `${(one.share * 100).toFixed(one.share < 0.1 ? 1 : 0)} %`));
    row.style.setProperty("--share", `${(one.share / most) * 100}%`);
    return row;
  }));
}

function waits(list) {
  $("no-waits").hidden = list.length > 0;
  $("waits").replaceChildren(...list.map((one) => el("li", "", el("b", "", one.who), ` waits to ${one.mode} `, key(one.key), ", held by ", el("b", "", one.holders.join(", ") || "nobody any more"))));
}

listen((told) => {
  if (told.past) state.points = told.past;
  else if (told.point) state.points.push(told.point);
  state.points = state.points.slice(-KEPT);
  state.now = told.point?.at_ms ?? Date.now();
  const point = told.point, sum = (name) => point ? LANES.reduce((total, lane) => total + point.lanes[lane][name], 0) : null;
  const shown = (number) => number === null ? "–" : count(number);
  set($("owner"), told.owner ? `Process ${told.owner} owns the facts; commits of this one are handed in there.` : "This process owns the facts; others hand their commits in.");
  set($("commits"), shown(sum("commits")));
  set($("batch"), point ? (point.batch ? count(point.batch) : "–") : "–");
  for (const name of ["reruns", "aborts", "refusals"]) set($(name), shown(sum(name)));
  $("aborts").classList.toggle("bad", sum("aborts") > 0);
  set($("queued"), count(told.queued + told.reserved));
  set($("bytes"), point ? `${bytes(point.bytes)}/s` : "–");
  set($("facts"), count(told.facts));
  set($("version"), told.version.toLocaleString("en"));
  lanes(told);
  hottest(told.hottest);
  waits(told.lock_waits);
  const impure = Object.entries(told.impure);
  $("impure-box").hidden = !impure.length;
  $("impure").replaceChildren(...impure.map(([name, what]) => el("li", "", el("b", "", name), `: ${what}`)));
  $("no-entries").hidden = told.recent.length > 0;
  fill($("entries"), told.recent, ENTRIES);
  draw();
});

addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
