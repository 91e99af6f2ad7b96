// The columns in view, by the time they begin, and their sum.

import { absorb, INDEX_MAX, quantiles } from "./interval.js";

export const SHARES = [0.5, 0.99, 0.999];

export class Model {
  constructor(width, length) {
    this.width = width;       // milliseconds of a column
    this.length = length;     // columns in view
    this.columns = new Map();
    this.ring = new Array(length);   // the same by place, for drawing: a thousand look-ups a tick
    this.end = 0;             // where the view ends: the first millisecond after the last column
    this.positive = new Float64Array(INDEX_MAX + 1);
    this.negative = new Float64Array(INDEX_MAX + 1);
    this.zero = 0; this.count = 0; this.lost = 0;
  }

  get start() { return this.end - this.length * this.width; }
  place(start) { const k = Math.round(start / this.width) % this.length; return k < 0 ? k + this.length : k; }
  at(start) { const column = this.ring[this.place(start)]; return column !== undefined && column.start === start ? column : undefined; }
  slotOf(time) { return Math.floor(time / this.width) * this.width; }

  // What is in view, in order, with nothing where there is a gap; one pass without a look-up.  `found` is the array of
  // the last time, if there is one: a thousand places to throw away at each tick is what the collector would stop for.
  view(found) {
    const { length, ring, width } = this;
    if (found?.length !== length) found = new Array(length);
    let start = this.start, k = this.place(start);
    for (let n = 0; n < length; n++, start += width) {
      const column = ring[k];
      found[n] = column !== undefined && column.start === start ? column : undefined;
      if (++k === length) k = 0;
    }
    return found;
  }

  // Answers with the start of the column that changed.
  add(part) {
    const start = this.slotOf(part.start), before = this.columns.get(start);
    const column = before ? absorb(before, part) : { ...part, start, width: this.width };
    column.quantiles = quantiles(column, SHARES);
    this.columns.set(start, column);
    this.ring[this.place(start)] = column;
    this.count_(part, 1);
    if (start + this.width > this.end) this.moveTo(start + this.width);
    return start;
  }

  // The view moves on; what leaves it on the left is forgotten.
  moveTo(end) {
    this.end = end;
    for (const [start, column] of this.columns) {
      if (start >= this.start) { if (start >= this.end - this.width) break; continue; }
      this.count_(column, -1);
      this.columns.delete(start);
    }
  }

  count_(part, sign) {
    const { positive, negative } = part;
    for (let k = 0; k < positive.indices.length; k++) this.positive[positive.indices[k]] += sign * positive.counts[k];
    for (let k = 0; k < negative.indices.length; k++) this.negative[negative.indices[k]] += sign * negative.counts[k];
    this.zero += sign * part.zero; this.count += sign * part.count; this.lost += sign * part.lost;
  }

  // The sum of the view as one column.
  total() {
    const whole = { zero: this.zero, count: this.count, min: Infinity, max: -Infinity };
    for (const column of this.columns.values()) {
      if (!column.count) continue;
      whole.min = Math.min(whole.min, column.min);
      whole.max = Math.max(whole.max, column.max);
    }
    for (const name of ["positive", "negative"]) {
      const indices = [], counts = [];
      this[name].forEach((count, index) => { if (count > 0) { indices.push(index); counts.push(count); } });
      whole[name] = { indices, counts };
    }
    return whole;
  }

  inOrder() {
    const found = [];
    for (let start = this.start; start < this.end; start += this.width) found.push([start, this.columns.get(start)]);
    return found;
  }
}
