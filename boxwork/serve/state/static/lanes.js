// Two charts of the last two minutes: commits a second as areas by lane, one on the other, and the size of batches.

import { count } from "./parts.js";

const LANES = ["serial", "snapshot", "locking", "occ"], SPAN_MS = 120_000, TOP = 18, BOTTOM = 20, LEFT = 2, GAP_MS = 2600;
const CLOCK = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

function nice(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= most * 1.05) ?? 10;
}

// Colours stand in the style sheet for both schemes; a probe says what they are now.
function inks(element) {
  const probe = document.createElement("i"), found = new Map();
  probe.hidden = true;
  element.append(probe);
  for (const name of ["line", "quiet", "raised", "accent", ...LANES.map((lane) => `lane-${lane}`)]) {
    probe.style.color = `var(--${name})`;
    found.set(`--${name}`, getComputedStyle(probe).color);
  }
  probe.remove();
  return (name) => found.get(name);
}

function frame(canvas, most, now) {
  const box = canvas.getBoundingClientRect(), ratio = devicePixelRatio || 1, c = canvas.getContext("2d");
  if (!box.width) return null;
  if (canvas.width !== Math.round(box.width * ratio)) { canvas.width = Math.round(box.width * ratio); canvas.height = Math.round(box.height * ratio); }
  const ink = inks(canvas.parentElement);
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, box.width, box.height);
  const high = nice(most), right = box.width - 2, bottom = box.height - BOTTOM;
  const x = (at) => LEFT + (1 - (now - at) / SPAN_MS) * (right - LEFT), y = (value) => bottom - (value / high) * (bottom - TOP);
  c.font = "10.5px ui-monospace, Menlo, Consolas, monospace";
  c.textBaseline = "bottom";
  for (const share of [0, 0.5, 1]) {
    c.fillStyle = ink("--line");
    c.fillRect(LEFT, Math.round(y(high * share)), right - LEFT, 1);
  }
  c.fillStyle = ink("--quiet");
  c.textAlign = "center";
  c.textBaseline = "top";
  const step = box.width < 420 ? 60_000 : 30_000;
  for (let at = Math.ceil((now - SPAN_MS) / step) * step; at < now; at += step) if (x(at) > 34 && x(at) < right - 34) c.fillText(CLOCK.format(at), x(at), bottom + 6);
  const labels = () => {
    c.textAlign = "left";
    c.textBaseline = "bottom";
    c.lineWidth = 3;
    c.strokeStyle = ink("--raised");
    for (const share of [0.5, 1]) { c.strokeText(count(high * share), LEFT + 1, y(high * share) - 2); c.fillStyle = ink("--quiet"); c.fillText(count(high * share), LEFT + 1, y(high * share) - 2); }
  };
  return { c, x, y, ink, labels };
}

// Runs of points that follow each other; a gap in time is a gap in the line.
function runs(points) {
  const found = [];
  points.forEach((point, k) => {
    if (!k || point.at_ms - points[k - 1].at_ms > GAP_MS) found.push([]);
    found.at(-1).push(point);
  });
  return found;
}

export function drawRate(canvas, points, now) {
  const total = (point) => LANES.reduce((sum, lane) => sum + point.lanes[lane].commits, 0);
  const framed = frame(canvas, Math.max(4, ...points.map(total)), now);
  if (!framed) return;
  const { c, x, y, ink, labels } = framed;
  for (const run of runs(points)) {
    let below = run.map(() => 0);
    for (const lane of LANES) {
      const above = run.map((point, k) => below[k] + point.lanes[lane].commits);
      if (run.some((point) => point.lanes[lane].commits > 0)) {
        const area = new Path2D(), line = new Path2D();
        run.forEach((point, k) => { (k ? area.lineTo : area.moveTo).call(area, x(point.at_ms), y(above[k])); (k ? line.lineTo : line.moveTo).call(line, x(point.at_ms), y(above[k])); });
        for (let k = run.length - 1; k >= 0; k--) area.lineTo(x(run[k].at_ms), y(below[k]));
        c.fillStyle = c.strokeStyle = ink(`--lane-${lane}`);
        c.globalAlpha = 0.24;
        c.fill(area);
        c.globalAlpha = 1;
        c.lineWidth = 1.7;
        c.lineJoin = "round";
        c.stroke(line);
      }
      below = above;
    }
  }
  labels();
}

export function drawSizes(canvas, points, now) {
  const framed = frame(canvas, Math.max(4, ...points.map((point) => point.batch)), now);
  if (!framed) return;
  const { c, x, y, ink, labels } = framed, width = Math.max(1, x(now) - x(now - 1000) - 1);
  c.fillStyle = ink("--accent");
  for (const point of points) if (point.batch) c.fillRect(x(point.at_ms) - width, y(point.batch), width, y(0) - y(point.batch));
  labels();
}
