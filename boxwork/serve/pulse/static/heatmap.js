// The heatmap: one off-screen canvas as a ring of columns, of which a tick writes one; it is blitted under the lines.

import { palette } from "./colours.js";
import { indexOf, SCALE, stateOf } from "./interval.js";
import { Plot } from "./plot.js";
import { Ruler, times } from "./ruler.js";
import * as format from "./format.js";

const STRIP = 10;
const PADDING = SCALE / 2, OCTAVES_MIN = 3, OCTAVES_SIGNED = 11;
// The axis is fitted again after so many ticks, if the data came to need less than half of it.
const REFIT_TICKS = 30;
// Above this many columns the lines are so dense that a halo round them would hide the heat.
const HALO_COLUMNS_MAX = 400;

export class Heatmap extends Plot {
  // Both canvases are off-screen ones.  `grid` lies above `canvas`: the value axis changes seldom.
  constructor(canvas, grid) {
    super();
    this.canvas = canvas;
    this.grid = grid;
    this.context = canvas.getContext("2d");
    this.gridContext = grid.getContext("2d");
    this.ring = new OffscreenCanvas(1, 1);
    this.ringContext = this.ring.getContext("2d");
    this.levels = [];           // where watch rules draw the line: value, label, firing
    this.marks = [];            // the quantiles of all that is in view: name, label, value
    this.ticks = 0;
  }

  show(model, unit) {
    this.model = model;
    this.unit = unit;
  }

  style(found) {
    this.colours = found;
    this.pixels = palette(found);
    this.font = `11px ${found.mono}`;
    this.hatch = hatch(this.context, found.gap);
  }

  size(box) {
    super.size(box);
    this.canvas.width = this.grid.width = Math.round(box.width * box.ratio);
    this.canvas.height = this.grid.height = Math.round(box.height * box.ratio);
  }

  // Everything anew.
  redraw() {
    this.fit();
    this.repaint();
    this.draw();
  }

  // --- the value axis

  bounds() {
    const { positive, negative, zero } = this.model;
    let low = Infinity, high = -Infinity, below = 0;
    for (let k = 0; k < positive.length; k++) if (positive[k] > 0) { low = Math.min(low, k); high = k; }
    for (let k = 0; k < negative.length; k++) if (negative[k] > 0) { low = Math.min(low, k); below = k; }
    if (high < 0) high = below || 20 * SCALE;
    if (low > high) low = Math.max(0, high - 4 * SCALE);
    return { low, high, below, zero: zero > 0 };
  }

  fit() {
    const found = this.bounds();
    let low = Math.max(0, found.low - PADDING), high = found.high + PADDING;
    const short = OCTAVES_MIN * SCALE - (high - low);
    if (short > 0) { low = Math.max(0, low - short / 2); high += short / 2; }
    if (found.below) low = Math.max(low, Math.max(found.below, high) - OCTAVES_SIGNED * SCALE);
    const below = found.below ? Math.max(found.below + PADDING, low + 2 * SCALE) : 0;
    this.ruler = new Ruler(Math.floor(low), Math.ceil(high), Math.ceil(below), found.zero, this.bottom - this.top);
    // Zero first, then decades, then what lies between: where two labels collide, the first one stays.
    const weight = ([value, major]) => value === 0 ? 0 : major ? 1 : 2;
    this.marked = this.ruler.marks(this.unit, this.bottom - this.top).sort((a, b) => weight(a) - weight(b));
    this.fitted = found;
  }

  fits(column) {
    if (!column?.count) return true;
    const { ruler } = this;
    if (column.max > 0 && indexOf(column.max) > ruler.high) return false;
    if (column.min < 0 && (!ruler.below || indexOf(-column.min) > ruler.below)) return false;
    if ((column.zero || column.min <= 0) && !ruler.zeroRows) return false;
    return ruler.below > 0 || column.min <= 0 || indexOf(column.min) >= ruler.low;
  }

  // --- the ring

  repaint() {
    const { model, ruler } = this;
    this.ring.width = model.length;
    this.ring.height = ruler.rows;
    this.column = this.ringContext.createImageData(1, ruler.rows);
    this.cells = new Uint32Array(this.column.data.buffer);
    this.counts = new Float64Array(ruler.rows);
    this.hottest = 1;
    for (const column of model.columns.values()) { this.bin(column); for (const count of this.counts) if (count > this.hottest) this.hottest = count; }
    this.hottest *= 1.25;
    for (const column of model.columns.values()) this.paint(column.start);
    this.paintedEnd = model.end;
    this.drawGrid();
  }

  bin(column) {
    const { counts, ruler } = this;
    counts.fill(0);
    if (!column?.count) return;
    const { positive, negative } = column;
    for (let k = 0; k < positive.indices.length; k++) counts[ruler.row(positive.indices[k])] += positive.counts[k];
    if (ruler.belowRows) for (let k = 0; k < negative.indices.length; k++) counts[ruler.rowBelow(negative.indices[k])] += negative.counts[k];
    if (ruler.zeroRows && column.zero) for (let k = 0; k < ruler.zeroRows; k++) counts[ruler.above + k] = column.zero;
  }

  // As `bin`, for all that is in view.
  binAll() {
    const { counts, ruler, model } = this, last = Math.min(ruler.high, model.positive.length - 1);
    counts.fill(0);
    for (let index = Math.max(0, ruler.low - SCALE); index <= last; index++) if (model.positive[index]) counts[ruler.row(index)] += model.positive[index];
    if (ruler.belowRows) for (let index = 0; index <= Math.min(ruler.below, model.negative.length - 1); index++) if (model.negative[index]) counts[ruler.rowBelow(index)] += model.negative[index];
    if (ruler.zeroRows) for (let k = 0; k < ruler.zeroRows; k++) counts[ruler.above + k] += model.zero;
  }

  // Answers false when the colours no longer reach.
  paint(start) {
    const { model, counts, cells, pixels } = this;
    this.bin(model.at(start));
    const range = Math.log1p(this.hottest);
    let reaches = true;
    for (let row = 0; row < counts.length; row++) {
      const count = counts[row];
      if (count > this.hottest) reaches = false;
      cells[row] = count ? pixels[Math.min(255, 30 + Math.floor((Math.log1p(count) / range) * 225))] : 0;
    }
    this.ringContext.putImageData(this.column, this.model.place(start), 0);
    return reaches;
  }

  // Columns at `starts` have changed, and the view may have moved on: the whole cost of a tick is here.
  tick(starts) {
    const { model } = this;
    let whole = model.end - this.paintedEnd >= model.length * model.width || this.paintedEnd > model.end;
    let isStill = model.end === this.paintedEnd;
    for (const start of starts) {
      if (!this.fits(model.at(start))) whole = true;
      if (start !== model.end - model.width) isStill = false;
    }
    if (++this.ticks % REFIT_TICKS === 0) {
      const now = this.bounds(), before = this.fitted;
      whole ||= now.high - now.low + now.below < 0.5 * (before.high - before.low + before.below) || (before.below > 0 && !now.below);
    }
    if (!whole) {
      for (let start = this.paintedEnd; start < model.end; start += model.width) this.paint(start);
      for (const start of starts) if (start >= model.start && !this.paint(start)) whole = true;
      this.paintedEnd = model.end;
    }
    if (whole) { this.fit(); this.repaint(); }
    this.draw(!whole && isStill);
  }

  // --- the picture

  // `isStill`: since the last picture nothing has changed but the newest column.
  draw(isStill = false) {
    const { context: c, colours, model } = this;
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.clearRect(0, 0, this.width, this.height);
    c.fillStyle = colours.plot;
    c.fillRect(this.left, this.top, this.right - this.left, this.bottom - this.top);
    if (this.ruler.belowRows) {
      const zero = this.y(0);
      c.fillStyle = colours.loss;
      c.globalAlpha = 0.07;
      c.fillRect(this.left, zero, this.right - this.left, this.bottom - zero);
      c.globalAlpha = 1;
    }
    this.view = model.view(this.view);
    this.drawStates();
    this.blit();
    this.drawTimes();
    this.drawLines(isStill);
    if (this.side > 60) this.drawSide();
    if (!model.count) this.say(model.columns.size ? "alive, and silent: no samples in this range" : "nothing was recorded in this range");
  }

  blit() {
    const { context: c, model, ring } = this, first = model.place(model.start), wide = this.right - this.left;
    const one = wide / model.length, tall = this.bottom - this.top;
    c.imageSmoothingEnabled = false;
    c.drawImage(ring, first, 0, model.length - first, ring.height, this.left, this.top, one * (model.length - first), tall);
    if (first) c.drawImage(ring, 0, 0, first, ring.height, this.left + one * (model.length - first), this.top, one * first, tall);
  }

  drawGrid() {
    const { colours, gridContext: c } = this, taken = [];
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.clearRect(0, 0, this.width, this.height);
    c.font = `11px ${colours.mono}`;
    c.textBaseline = "middle";
    c.textAlign = "right";
    for (const [value, major] of this.marked) {
      const y = Math.round(this.y(value)) + 0.5;
      c.fillStyle = colours.text;
      c.globalAlpha = value === 0 ? 0.45 : major ? 0.13 : 0.07;
      c.fillRect(this.left, y - 0.5, this.right - this.left, value === 0 ? 1.5 : 1);
      c.globalAlpha = 1;
      if (taken.some((other) => Math.abs(y - other) < 14)) continue;
      taken.push(y);
      c.fillStyle = colours.quiet;
      c.fillText(value === 0 ? "0" : format.value(value, this.unit, true), this.left - 8, y);
    }
    this.drawLevels(c);
  }

  // The limits of watch rules, where they lie within the axis.
  drawLevels(c) {
    const { colours } = this;
    c.save();
    c.setLineDash([6, 4]);
    c.textAlign = "left";
    c.textBaseline = "bottom";
    for (const { value, label, firing } of this.levels) {
      const y = Math.round(this.y(value)) + 0.5;
      if (!(y >= this.top && y <= this.bottom)) continue;
      c.strokeStyle = c.fillStyle = firing ? colours.loss : colours.text;
      c.lineWidth = 1.2;
      c.globalAlpha = 0.75;
      c.beginPath(); c.moveTo(this.left, y); c.lineTo(this.right, y); c.stroke();
      c.globalAlpha = 1;
      const text = label.length > 48 ? `${label.slice(0, 47)}…` : label, ink = c.strokeStyle;
      c.setLineDash([]);
      c.strokeStyle = colours.plot; c.lineWidth = 3; c.lineJoin = "round";
      c.strokeText(text, this.left + 6, y - 2);
      c.setLineDash([6, 4]);
      c.strokeStyle = ink;
      c.fillText(text, this.left + 6, y - 2);
    }
    c.restore();
  }

  drawTimes() {
    const { context: c, colours, model } = this;
    c.fillStyle = colours.quiet;
    c.font = this.font;
    c.textAlign = "center";
    c.textBaseline = "middle";
    for (const [time, label] of times(model.start, model.end, this.right - this.left)) {
      const x = this.x(time);
      if (x < this.left + 8 || x > this.right - 8) continue;
      c.fillRect(Math.round(x), this.bottom + STRIP + 10, 1, 4);
      c.fillText(label, x, this.bottom + STRIP + 24);
    }
  }

  // In a day's view 59 of 60 ticks only touch the newest column: the lines up to it are kept as they are.
  drawLines(isStill) {
    const { context: c, colours, model, view } = this, last = view.length - 1;
    if (!isStill || !this.past) this.past = [0, 1, 2].map((k) => this.trace(new Path2D(), k, 0, last - 1));
    c.lineJoin = "round";
    ["q50", "q99", "q999"].forEach((name, k) => {
      const newest = this.trace(new Path2D(), k, Math.max(0, last - 1), last);
      if (model.length <= HALO_COLUMNS_MAX) {
        c.strokeStyle = colours.plot; c.globalAlpha = 0.75; c.lineWidth = 3.6;
        c.stroke(this.past[k]); c.stroke(newest);
      }
      c.strokeStyle = colours[name]; c.globalAlpha = 1; c.lineWidth = 1.7;
      c.stroke(this.past[k]); c.stroke(newest);
    });
  }

  // The line of one quantile from column `first` to column `last` of what is in view.
  trace(path, k, first, last) {
    const { model, ruler, view } = this, step = (this.right - this.left) / model.length, tall = this.bottom - this.top;
    let open = false, x = this.left + (first + 0.5) * step;
    for (let n = first; n <= last; n++, x += step) {
      const column = view[n];
      if (column === undefined || column.quantiles === null) { open = false; continue; }
      if (column.ruler !== ruler) { column.ruler = ruler; column.places = column.quantiles.map((value) => ruler.place(value)); }
      const y = this.top + column.places[k] * tall;
      if (open) path.lineTo(x, y);
      else { path.moveTo(x - 0.5, y); path.lineTo(x + 0.5, y); }
      open = true;
    }
    return path;
  }

  // The coverage strip below the plot, and the same states where they lie on the plot itself.
  drawStates() {
    const { context: c, colours, model } = this, y = this.bottom + 5;
    c.strokeStyle = colours.line;
    c.strokeRect(this.left + 0.5, y + 0.5, this.right - this.left - 1, STRIP - 1);
    let begin = model.start, state = null, covered = 1;
    const end = (upto) => { if (state) this.drawState(state, this.x(begin), this.x(upto), y, covered); };
    let start = model.start;
    for (const column of this.view) {
      const now = stateOf(column);
      if (now !== state || now === "partial") { end(start); begin = start; state = now; }
      covered = column ? Math.min(1, column.covered / model.width) : 0;
      start += model.width;
    }
    end(model.end);
  }

  drawState(state, x0, x1, y, covered) {
    const { context: c, colours } = this, wide = Math.max(1, x1 - x0);
    if (state === "gap") {
      c.fillStyle = this.hatch;
      c.fillRect(x0, this.top, wide, this.bottom - this.top);
      c.fillRect(x0, y, wide, STRIP);
    } else if (state === "silence" || state === "late") {
      c.fillStyle = colours.silence;
      for (let x = x0 + 1; x < x1; x += 5) c.fillRect(x, y + STRIP / 2 - 1, 2, 2);
    } else {
      c.fillStyle = colours.accent;
      c.globalAlpha = 0.55;
      c.fillRect(x0, y + STRIP / 2 - 1.5, Math.max(1, wide * covered), 3);
      c.globalAlpha = 1;
    }
    if (state === "loss") {
      c.fillStyle = colours.loss;
      c.fillRect(x0, y, Math.max(2, wide), STRIP);
      marker(c, (x0 + x1) / 2, this.top - 1);
    } else if (state === "clock step") {
      c.fillStyle = c.strokeStyle = colours.step;
      diamond(c, (x0 + x1) / 2, y + STRIP / 2, STRIP / 2 + 2);
      c.setLineDash([4, 3]);
      c.beginPath(); c.moveTo(x1, this.top); c.lineTo(x1, this.bottom); c.stroke();
      c.setLineDash([]);
    }
  }

  // Beside the plot: the distribution of all that is in view, and where its quantiles lie.
  drawSide() {
    const { context: c, colours, model, ruler } = this, tall = (this.bottom - this.top) / ruler.rows, from = this.right + 10;
    if (!model.count) return;
    const room = 46, { counts } = this;
    this.binAll();
    let most = 1;
    for (let row = 0; row < counts.length; row++) if (counts[row] > most) most = counts[row];
    c.fillStyle = colours["heat-3"];
    c.globalAlpha = 0.8;
    const bar = Math.max(1, tall - (tall > 2 ? 0.6 : 0));
    c.beginPath();
    for (let row = 0; row < counts.length; row++) if (counts[row]) c.rect(from, this.top + row * tall, Math.max(1, (counts[row] / most) * room), bar);
    c.fill();
    c.globalAlpha = 1;
    let above = Infinity;
    c.font = this.font;
    c.textAlign = "left";
    c.textBaseline = "middle";
    for (const [name, label, value] of this.marks) {
      const exact = this.y(value), y = Math.min(exact, above - 13);
      above = y;
      c.strokeStyle = c.fillStyle = colours[name];
      c.lineWidth = 1.5;
      c.beginPath(); c.moveTo(from - 6, exact); c.lineTo(from + room, exact); c.lineTo(from + room + 8, y); c.stroke();
      c.fillText(label, from + room + 10, y);
    }
  }

  say(text) {
    const { context: c, colours } = this, x = (this.left + this.right) / 2, y = (this.top + this.bottom) / 2;
    c.font = `13px ${colours.mono}`;
    c.textAlign = "center";
    c.textBaseline = "middle";
    const wide = c.measureText(text).width + 28;
    c.fillStyle = colours.plot;
    c.fillRect(x - wide / 2, y - 16, wide, 32);
    c.fillStyle = colours.quiet;
    c.fillText(text, x, y);
  }
}

function hatch(context, colour) {
  const tile = new OffscreenCanvas(8, 8), c = tile.getContext("2d");
  c.strokeStyle = colour;
  c.lineWidth = 1;
  c.beginPath();
  for (const from of [-8, 0, 8]) { c.moveTo(from, 8); c.lineTo(from + 8, 0); }
  c.stroke();
  return context.createPattern(tile, "repeat");
}

function marker(c, x, y) { c.beginPath(); c.moveTo(x - 5, y - 8); c.lineTo(x + 5, y - 8); c.lineTo(x, y); c.fill(); }
function diamond(c, x, y, r) { c.beginPath(); c.moveTo(x - r, y); c.lineTo(x, y - r); c.lineTo(x + r, y); c.lineTo(x, y + r); c.fill(); }
