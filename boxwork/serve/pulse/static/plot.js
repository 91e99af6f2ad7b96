// Where times and values lie on the chart: the same for the thread that draws it and for the one that points at it.

const LEFT = 66, TOP = 12, BOTTOM = 44, SIDE = 132, SIDE_FROM = 720;   // CSS pixels; below SIDE_FROM there is no side

export class Plot {
  model = null;
  ruler = null;

  // `ratio` is device pixels to a CSS pixel.
  size({ width, height, ratio }) {
    Object.assign(this, { width, height, ratio });
    this.side = width >= SIDE_FROM ? SIDE : 10;
    this.left = width >= 520 ? LEFT : 52;
  }

  get top() { return TOP; }
  get right() { return this.width - this.side; }
  get bottom() { return this.height - BOTTOM; }
  x(time) { return this.left + ((time - this.model.start) / (this.model.end - this.model.start)) * (this.right - this.left); }
  y(value) { return TOP + this.ruler.place(value) * (this.bottom - TOP); }
  timeAt(x) { return this.model.start + Math.min(1, Math.max(0, (x - this.left) / (this.right - this.left))) * (this.model.end - this.model.start); }
  valueAt(y) { return this.ruler.valueAt(Math.min(1, Math.max(0, (y - TOP) / (this.bottom - TOP)))); }
}
