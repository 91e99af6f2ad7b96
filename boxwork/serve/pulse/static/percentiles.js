// The percentile plot: x = 1 / (1 − q) as a logarithm, so that each further nine takes the same space.

import { quantiles } from "./interval.js";
import * as format from "./format.js";

const LEFT = 62, TOP = 10, BOTTOM = 26, RIGHT = 14;
const NINES = [[0.5, "50"], [0.9, "90"], [0.99, "99"], [0.999, "99.9"], [0.9999, "99.99"], [0.99999, "99.999"], [0.999999, "99.9999"]];

export class Percentiles {
  constructor(canvas) { this.canvas = canvas; this.context = canvas.getContext("2d"); }

  size({ width, height, ratio }) {
    Object.assign(this, { width, height, ratio });
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
  }

  // `whole` is the sum of what is in view; `chosen` the points of a brushed rectangle, from the server.
  draw(whole, chosen, unit, colours) {
    const { context: c, ratio } = this, box = this;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, box.width, box.height);
    if (!whole.count) {
      c.font = `13px ${colours.mono}`;
      c.textAlign = "center";
      c.textBaseline = "middle";
      c.fillStyle = colours.quiet;
      c.fillText("no samples in this range", box.width / 2, box.height / 2);
      return;
    }
    const points = this.points(whole), all = chosen?.length ? [...points, ...chosen] : points;
    const values = all.map(([, value]) => value), right = Math.max(2, ...all.map(([x]) => Math.log10(x)));
    let low = Math.min(...values), high = Math.max(...values);
    if (low === high) { low -= Math.abs(low) / 2 || 1; high += Math.abs(high) / 2 || 1; }
    const bent = low > 0, bend = (value) => bent ? Math.log(value) : value;   // logarithms, unless some are below zero
    const x = (place) => LEFT + (Math.log10(place) / right) * (box.width - LEFT - RIGHT);
    const y = (value) => box.height - BOTTOM - ((bend(value) - bend(low)) / (bend(high) - bend(low))) * (box.height - BOTTOM - TOP);
    c.font = `11px ${colours.mono}`;
    c.textBaseline = "middle";
    c.textAlign = "right";
    for (const value of marks(low, high, bent)) {
      c.fillStyle = colours.line;
      c.fillRect(LEFT, Math.round(y(value)), box.width - LEFT - RIGHT, 1);
      c.fillStyle = colours.quiet;
      c.fillText(format.value(value, unit, true), LEFT - 8, y(value));
    }
    c.textAlign = "center";
    for (const [share, label] of NINES) {
      if (Math.log10(1 / (1 - share)) > right + 0.01) break;
      const at = x(1 / (1 - share));
      c.fillStyle = colours.line;
      c.fillRect(Math.round(at), TOP, 1, box.height - TOP - BOTTOM);
      c.fillStyle = colours.quiet;
      c.fillText(`${label} %`, Math.min(at, box.width - 24), box.height - 11);
    }
    const line = (list, colour, wide) => {
      c.strokeStyle = colour; c.lineWidth = wide; c.lineJoin = "round";
      c.beginPath();
      list.forEach(([place, value], k) => k ? c.lineTo(x(place), y(value)) : c.moveTo(x(place), y(value)));
      c.stroke();
    };
    line(points, colours.accent, 2);
    if (chosen?.length) line(chosen, colours.loss, 2);
  }

  points(whole) {
    const shares = [];
    for (let step = 0; step < 160; step++) {
      const share = 1 - 2 ** (-step / 8);
      if (1 - share < 1 / (2 * whole.count)) break;
      shares.push(share);
    }
    const values = quantiles(whole, shares);
    return shares.map((share, k) => [1 / (1 - share), values[k]]);
  }
}

function marks(low, high, bent) {
  const found = [];
  if (!bent) {
    const step = 10 ** Math.floor(Math.log10((high - low) / 2));
    for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push(value);
    return found.length > 8 ? found.filter((_, k) => k % Math.ceil(found.length / 6) === 0) : found;
  }
  const factors = Math.log10(high / low) > 2.5 ? [1] : [1, 2, 5];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) for (const factor of factors) {
    const value = factor * 10 ** power;
    if (value >= low && value <= high) found.push(value);
  }
  return found;
}
