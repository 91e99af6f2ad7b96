// A small chart of a few lines by time, from zero up.

import { times } from "./ruler.js";
import * as format from "./format.js";

const LEFT = 4, TOP = 16, BOTTOM = 20;

export function drawLines(canvas, lines, { start, end, unit, most, colours, gap }) {
  const box = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1, c = canvas.getContext("2d");
  if (!box.width) return;
  if (canvas.width !== Math.round(box.width * ratio)) { canvas.width = Math.round(box.width * ratio); canvas.height = Math.round(box.height * ratio); }
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, box.width, box.height);
  const right = box.width - 4, bottom = box.height - BOTTOM;
  let high = most ?? 0;
  if (!most) for (const { points } of lines) for (const [time, value] of points) if (time >= start && value > high) high = value;
  high = most ?? nice(high, unit);
  const x = (time) => LEFT + ((time - start) / (end - start)) * (right - LEFT), y = (value) => bottom - (Math.min(value, high) / high) * (bottom - TOP);
  c.font = `10.5px ${colours.mono}`;
  for (const share of [0, 0.5, 1]) {
    c.fillStyle = colours.line;
    c.fillRect(LEFT, Math.round(y(high * share)), right - LEFT, 1);
  }
  c.textAlign = "center";
  c.textBaseline = "top";
  c.fillStyle = colours.quiet;
  for (const [time, label] of times(start, end, right - LEFT, 90)) if (x(time) > 34 && x(time) < right - 34) c.fillText(label, x(time), bottom + 6);
  c.lineJoin = "round";
  for (const { points, colour, filled } of lines) {
    const line = new Path2D(), area = new Path2D();
    let before = -Infinity, from = 0;
    const close = () => { if (filled && before > -Infinity) { area.lineTo(x(before), bottom); area.lineTo(x(from), bottom); } };
    for (const [time, value] of points) {
      if (time < start) continue;
      if (time - before > gap) { close(); from = time; line.moveTo(x(time), y(value)); area.moveTo(x(time), y(value)); }
      else { line.lineTo(x(time), y(value)); area.lineTo(x(time), y(value)); }
      before = time;
    }
    close();
    if (filled) { c.globalAlpha = 0.14; c.fillStyle = colour; c.fill(area); c.globalAlpha = 1; }
    c.strokeStyle = colour;
    c.lineWidth = 1.6;
    c.stroke(line);
  }
  c.textAlign = "left";
  c.textBaseline = "bottom";
  c.lineWidth = 3;
  c.strokeStyle = colours.raised;
  for (const share of [0.5, 1]) {
    const text = format.value(high * share, unit, true), at = y(high * share) - 2;
    c.strokeText(text, LEFT + 1, at);
    c.fillStyle = colours.quiet;
    c.fillText(text, LEFT + 1, at);
  }
}

// The next round figure: 1, 2 or 5 with zeros, in the steps of the unit.
function nice(value, unit) {
  if (!(value > 0)) return unit === "ppm" ? 1e4 : unit === "bytes" ? 2 ** 20 : 10;
  const base = unit === "bytes" ? 2 ** (10 * Math.floor(Math.log2(value) / 10)) : 1, power = 10 ** Math.floor(Math.log10(value / base));
  return [1, 2, 5, 10].map((step) => step * power * base).find((step) => step >= value * 1.02) ?? value;
}
