// Looking at the heatmap closely: a crosshair, a rectangle by pointer or keyboard, and what lies under them in words.

import { stateOf } from "./interval.js";
import * as format from "./format.js";

const DRAG_MIN = 5;   // a shorter movement is a click.  Unit: CSS pixels.

export class Pointer {
  // `chosen` is called with {from, to, low, high} in milliseconds and values, or null; `said` with a line of text.
  constructor(heatmap, { frame, overlay, tip, chosen, said }) {
    Object.assign(this, { heatmap, frame, overlay, tip, chosen, said, rectangle: null, cursor: null });
    this.context = overlay.getContext("2d");
    frame.addEventListener("pointerdown", (event) => this.down(event));
    frame.addEventListener("pointermove", (event) => this.move(event));
    frame.addEventListener("pointerup", (event) => this.up(event));
    // A finger that goes up or down moves the page: nothing was chosen.
    frame.addEventListener("pointercancel", () => { this.from = null; this.rectangle = this.before; this.leave(); });
    // A finger that is lifted leaves what it showed; a touch elsewhere ends it.
    frame.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") this.leave(); });
    document.addEventListener("pointerdown", (event) => { if (!frame.contains(event.target)) this.leave(); });
    frame.addEventListener("keydown", (event) => this.key(event));
  }

  leave() { this.hover = null; this.tip.hidden = true; this.draw(); }

  spot(event) {
    const box = this.overlay.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  down(event) {
    if (event.button || !this.heatmap.ruler) return;
    this.from = this.spot(event);
    this.before = this.rectangle;
    this.frame.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (!this.heatmap.ruler) return;
    this.hover = this.spot(event);
    if (this.from) this.rectangle = this.snapped(this.from, this.hover);
    this.draw();
    this.tell(this.hover);
  }

  up(event) {
    if (!this.from) return;
    const at = this.spot(event), dragged = Math.hypot(at.x - this.from.x, at.y - this.from.y) >= DRAG_MIN;
    this.rectangle = dragged ? this.snapped(this.from, at) : null;
    this.from = null;
    if (event.pointerType === "touch") { this.hover = dragged ? null : at; this.tip.hidden = dragged; }
    this.draw();
    if (this.hover) this.tell(at);
    this.chosen(this.rectangle);
  }

  // Whole columns; values as they lie, and without a bound where the rectangle reaches the edge.
  snapped(a, b) {
    const { heatmap: map } = this, { model } = map;
    const [left, right] = [Math.min(a.x, b.x), Math.max(a.x, b.x)], [top, bottom] = [Math.min(a.y, b.y), Math.max(a.y, b.y)];
    return {
      from: model.slotOf(map.timeAt(left)), to: Math.min(model.end, model.slotOf(map.timeAt(right)) + model.width),
      high: top <= map.top ? Infinity : map.valueAt(top), low: bottom >= map.bottom ? -Infinity : map.valueAt(bottom),
    };
  }

  clear() { this.rectangle = this.cursor = null; this.draw(); }

  resize() {
    const { overlay, heatmap } = this;
    overlay.width = Math.round(heatmap.width * heatmap.ratio);
    overlay.height = Math.round(heatmap.height * heatmap.ratio);
    this.draw();
  }

  // A picture that is empty and stays so is not cleared: it would be copied to the screen again, with each tick.
  draw() {
    const { context: c, heatmap: map, rectangle } = this, something = rectangle || this.hover || this.cursor !== null;
    if (!something && !this.drawn) return;
    this.drawn = something;
    c.setTransform(map.ratio, 0, 0, map.ratio, 0, 0);
    c.clearRect(0, 0, map.width, map.height);
    if (!map.model || !map.ruler || !map.colours) return;
    const { text, accent } = map.colours;
    if (rectangle) {
      const x0 = Math.max(map.left, map.x(rectangle.from)), x1 = Math.min(map.right, map.x(rectangle.to));
      const y0 = rectangle.high === Infinity ? map.top : map.y(rectangle.high), y1 = rectangle.low === -Infinity ? map.bottom : map.y(rectangle.low);
      if (x1 > x0) {
        c.fillStyle = accent; c.globalAlpha = 0.16; c.fillRect(x0, y0, x1 - x0, y1 - y0);
        c.globalAlpha = 1; c.strokeStyle = accent; c.lineWidth = 1.5; c.strokeRect(x0, y0, x1 - x0, y1 - y0);
      }
    }
    const at = this.cursor !== null ? map.x(this.cursor + map.model.width / 2) : this.hover && !this.from ? this.hover.x : null;
    if (at !== null && at >= map.left && at <= map.right) {
      c.fillStyle = text; c.globalAlpha = 0.5;
      c.fillRect(Math.round(at), map.top, 1, map.bottom - map.top);
      if (this.cursor === null && this.hover.y > map.top && this.hover.y < map.bottom) c.fillRect(map.left, Math.round(this.hover.y), map.right - map.left, 1);
      c.globalAlpha = 1;
    }
  }

  describe(start) {
    const { model, unit } = this.heatmap, column = model.at(start), state = stateOf(column);
    const lines = [`${format.clock(start)}${model.width > 1000 ? ` + ${format.span(model.width)}` : ""}`];
    if (!column) return [...lines, "gap: nobody was there to record"];
    if (column.quantiles) {
      const [p50, p99, p999] = column.quantiles;
      lines.push(`p50 ${format.value(p50, unit)}`, `p99 ${format.value(p99, unit)}`, `p99.9 ${format.value(p999, unit)}`, `${format.count(column.count)} ${column.count === 1 ? "sample" : "samples"}`);
    }
    if (state === "silence") lines.push("silence: alive, and no samples");
    if (column.lost) lines.push(`${format.count(column.lost)} lost`);
    if (state === "clock step") lines.push("the clock stepped here");
    if (state === "partial") lines.push(`seen for ${format.share(Math.min(1, column.covered / column.width))} of the time`);
    return lines;
  }

  tell({ x, y }) {
    const { heatmap: map, tip } = this;
    if (x < map.left || x > map.right || y < 0 || y > map.bottom + 20) { tip.hidden = true; return; }
    const lines = this.describe(map.model.slotOf(Math.min(map.timeAt(x), map.model.end - 1)));
    tip.replaceChildren(...lines.map((line, k) => Object.assign(document.createElement(k ? "span" : "b"), { textContent: line })));
    if (y < map.bottom && map.ruler) tip.append(Object.assign(document.createElement("i"), { textContent: `at ${format.value(map.valueAt(y), map.unit)}` }));
    tip.hidden = false;
    const left = x + 16 + tip.offsetWidth > map.width ? x - 16 - tip.offsetWidth : x + 16;
    tip.style.transform = `translate(${Math.round(Math.max(0, left))}px, ${Math.round(Math.max(4, Math.min(map.height - tip.offsetHeight - 8, y - 20)))}px)`;
  }

  // Arrows move by a column, with Shift they choose, Escape lets go.
  key(event) {
    const { model } = this.heatmap, steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    if (!model) return;
    if (event.key === "Escape") { this.clear(); this.chosen(null); return; }
    if (!(event.key in steps) && event.key !== "Home" && event.key !== "End") return;
    event.preventDefault();
    const last = model.end - model.width, before = this.cursor ?? last + model.width;
    const wanted = event.key === "Home" ? model.start : event.key === "End" ? last : before + steps[event.key] * model.width;
    this.cursor = Math.min(last, Math.max(model.start, wanted));
    if (event.shiftKey) {
      this.anchor ??= before > last ? last : before;
      this.rectangle = { from: Math.min(this.anchor, this.cursor), to: Math.max(this.anchor, this.cursor) + model.width, low: -Infinity, high: Infinity };
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.chosen(this.rectangle), 250);
    } else this.anchor = null;
    this.draw();
    this.said(this.describe(this.cursor).join(", "));
  }
}
