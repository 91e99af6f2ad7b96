// Axes: where values and times lie on the plot, and which of them get a label.

import { SCALE, upper } from "./interval.js";
import * as format from "./format.js";

// The value axis is log2 above zero; below it, if there is anything, stands its mirror image.  One row is `step`
// buckets; rows count from the top.
export class Ruler {
  constructor(low, high, below, hasZero, height) {
    this.made = [low, high, below, hasZero, height];   // what another thread makes the same one of
    const rowsWanted = Math.max(24, height / 2.6);   // finer rows than this are dust and no picture.  Unit: CSS pixels.
    this.step = 1;
    const buckets = (high - low) + (below ? below - low : 0);
    while (buckets / this.step > rowsWanted) this.step *= 2;
    this.low = Math.floor(low / this.step) * this.step;
    this.high = Math.ceil(high / this.step) * this.step;
    this.below = below ? Math.ceil(below / this.step) * this.step : 0;
    this.above = (this.high - this.low) / this.step;
    this.zeroRows = below || hasZero ? Math.max(2, Math.round(this.above / 40)) : 0;
    this.belowRows = below ? (this.below - this.low) / this.step : 0;
    this.rows = this.above + this.zeroRows + this.belowRows;
  }

  // Bucket (lo, hi] in exponents of 1/64 octave → row.
  row(index) { return Math.max(0, Math.min(this.above - 1, Math.floor((this.high - index) / this.step))); }
  rowBelow(index) { return this.above + this.zeroRows + Math.max(0, Math.min(this.belowRows - 1, Math.ceil((index - this.low) / this.step) - 1)); }
  zeroRow() { return this.above + this.zeroRows / 2; }

  // As a share of the height, 0 at the top.
  place(value) {
    const exponent = Math.log2(Math.abs(value)) * SCALE;
    if (value > 0 && exponent >= this.low) return (this.high - exponent) / this.step / this.rows;
    if (value < 0 && exponent >= this.low) return (this.above + this.zeroRows + (exponent - this.low) / this.step) / this.rows;
    return (this.zeroRows ? this.zeroRow() : this.above) / this.rows;
  }

  valueAt(share) {
    const row = share * this.rows;
    if (row <= this.above) return upper(this.high - row * this.step);
    if (row < this.above + this.zeroRows) return 0;
    return -upper(this.low + (row - this.above - this.zeroRows) * this.step);
  }

  // [value, isMajor]: decades, and 2 and 5 of each when there is room.
  marks(unit, room) {
    const base = unit.startsWith("bytes") && unit !== "bytes/s" ? 2 : 10, found = [];
    const decades = (this.high - this.low) / SCALE / Math.log2(10), fine = room / Math.max(decades, 0.5) > 90;
    const factors = base === 2 ? [1] : fine ? [1, 2, 5] : [1];
    const every = base === 2 ? Math.max(1, Math.ceil((this.high - this.low) / SCALE / (room / 34))) : 1;
    const last = Math.ceil(Math.log(upper(this.high)) / Math.log(base));
    for (let power = 0; power <= last; power++) {
      if (power % every) continue;
      for (const factor of factors) {
        const value = factor * base ** power, exponent = Math.log2(value) * SCALE;
        if (exponent >= this.low && exponent <= this.high) found.push([value, factor === 1]);
        if (this.below && factor === 1 && exponent > this.low && exponent <= this.below) found.push([-value, true]);
      }
    }
    if (this.zeroRows) found.push([0, true]);
    return found;
  }
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400].map((s) => s * 1000);

// Labels of times come again at each tick until they leave the view on the left; making one costs 8 µs.
const LABELS_MAX = 400;
const labels = new Map();
function label(time, step) {
  const write = step >= 86_400_000 ? format.date : step >= 60_000 ? format.clockShort : format.clock, key = `${write.name}${time}`;
  let text = labels.get(key);
  if (text === undefined) {
    if (labels.size >= LABELS_MAX) labels.clear();
    text = write(time);
    // The hour that begins a day says which one.
    labels.set(key, text = text === "00:00" ? format.date(time) : text);
  }
  return text;
}

// [time, label] between two times, not closer than `apart` pixels.
export function times(start, end, pixels, apart = 84) {
  const step = STEPS.find((candidate) => (candidate / (end - start)) * pixels >= apart) ?? STEPS.at(-1) * Math.ceil((end - start) / STEPS.at(-1) / (pixels / apart));
  const zone = new Date(end).getTimezoneOffset() * 60_000, found = [];
  for (let time = Math.ceil((start - zone) / step) * step + zone; time <= end; time += step) found.push([time, label(time, step)]);
  return found;
}
