// Draws the charts of the live page, in a thread of its own: see `picture.js`, which alone speaks with it.

import { Heatmap } from "./heatmap.js";
import { decodeHistory, decodeText, quantiles } from "./interval.js";
import { Model, SHARES } from "./model.js";
import { Percentiles } from "./percentiles.js";

// Series of a tenth of a second tick ten times as often; nobody reads figures that fast.
const FIGURES_MS = 200;

// A tick is drawn so much after the page has heard of it.  Woken by the page's thread, this one would take the processor
// from it in the middle of its tick, and keep it for as long as it draws.  And for 15 ms server, network and page have
// the processors busy with the same second.  Unit: milliseconds.  Source: docs/decisions/0062.
const APART_MS = 25;

let heatmap, percentiles, model = null, turn = 0, points = null, unit = "", told = null, figuresAt = 0;
let waiting = [], due = 0, timer = 0;   // what ticks have brought since the last picture, and where the view ends by now

const does = {
  take(canvases) {
    heatmap = new Heatmap(canvases.heatmap, canvases.grid);
    percentiles = new Percentiles(canvases.percentiles);
  },

  style({ colours }) { heatmap.style(colours); draw(); },
  size({ sizes }) { heatmap.size(sizes.heatmap); percentiles.size(sizes.percentiles); draw(); },

  choose(chosen) {
    points = chosen.points;
    if (model) percentiles.draw(sum(), points, unit, heatmap.colours);
  },

  show(shown) {
    ({ turn, unit } = shown);
    points = null;
    clearTimeout(timer);
    waiting = [];
    timer = 0;
    const { width, columns } = decodeHistory(shown.body);
    model = new Model(width, shown.length);
    model.moveTo(shown.until);
    for (const column of columns) model.add(column);
    heatmap.levels = shown.levels;
    heatmap.show(model, unit);
    draw();
  },

  tick({ parts, end }) {
    if (!model) return;
    waiting.push(...parts);
    due = end;
    timer ||= setTimeout(tick, APART_MS);
  },
};

function tick() {
  const began = performance.now(), changed = new Set(), isFigured = began - figuresAt >= FIGURES_MS;
  for (const part of waiting) changed.add(model.add(decodeText(part)));
  waiting = [];
  timer = 0;
  if (due > model.end) model.moveTo(due);
  if (isFigured) figuresAt = began;
  const whole = isFigured ? sum() : null;
  heatmap.tick(changed);
  if (isFigured) percentiles.draw(whole, points, unit, heatmap.colours);
  tell({ figures: whole && figures(whole) });
  performance.measure("pulse.draw", { start: began, end: performance.now() });
}

// Everything anew, and seldom: what is shown, its size or its colours have changed.
function draw() {
  if (!model || !heatmap.width || !heatmap.colours) return;
  const whole = sum();
  heatmap.redraw();
  percentiles.draw(whole, points, unit, heatmap.colours);
  tell({ figures: figures(whole) });
}

function sum() {
  const whole = model.total();
  [whole.p50, whole.p99, whole.p999] = quantiles(whole, SHARES) ?? [null, null, null];
  heatmap.marks = whole.count ? [["q50", "p50", whole.p50], ["q99", "p99", whole.p99], ["q999", "p99.9", whole.p999]] : [];
  return whole;
}

function figures(whole) {
  const { count, p50, p99, p999, negative } = whole;
  let covered = 0, seen = 0;
  for (const column of model.columns.values()) { covered += column.covered; seen += Math.min(column.covered, model.width); }
  let below = 0;
  for (const one of negative.counts) below += one;
  return {
    p50, p99, p999, count, max: count ? whole.max : null, lost: model.lost, negative: count ? below / count : 0,
    rate: covered ? count / (covered / 1000) : 0, coverage: Math.min(1, seen / (model.length * model.width)),
  };
}

// The ruler is told when it has become another: with it the page says which value lies under a pointer.
function tell(said) {
  if (heatmap.ruler !== told) { told = heatmap.ruler; said.ruler = told.made; }
  if (said.figures || said.ruler) postMessage({ turn, ...said });
}

onmessage = ({ data }) => does[data.does](data);
