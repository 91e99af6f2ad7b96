// The charts as the page has them: it says what has changed, and a thread of its own draws (`painter.js`).  A tick
// costs the page no drawing, and no copy of three pictures to the screen; whoever points or types waits for neither.

import { Plot } from "./plot.js";
import { Ruler } from "./ruler.js";

export class Picture extends Plot {
  // `figured` is called with the figures of all that is in view, after they have changed.
  constructor(canvases, figured) {
    super();
    this.canvases = canvases;
    this.turn = 0;
    this.worker = new Worker(new URL("./painter.js", import.meta.url), { type: "module" });
    const whole = Object.fromEntries(Object.entries(canvases).map(([name, canvas]) => [name, canvas.transferControlToOffscreen()]));
    this.worker.postMessage({ does: "take", ...whole }, Object.values(whole));
    this.worker.onmessage = ({ data }) => {
      if (data.turn !== this.turn) return;
      if (data.ruler) this.ruler = new Ruler(...data.ruler);
      if (data.figures) figured(data.figures);
    };
  }

  style(colours) {
    this.colours = colours;
    this.worker.postMessage({ does: "style", colours });
  }

  // Measured once, and not at each tick: asking makes the browser lay the page out.
  measure() {
    const ratio = devicePixelRatio || 1, sizes = {};
    for (const name of ["heatmap", "percentiles"]) {
      const { width, height } = this.canvases[name].getBoundingClientRect();
      sizes[name] = { width, height, ratio };
    }
    const asText = JSON.stringify(sizes);
    if (!sizes.heatmap.width || asText === this.measured) return;
    this.measured = asText;
    this.size(sizes.heatmap);
    this.worker.postMessage({ does: "size", sizes });
  }

  // `body` is what /pulse/history answered, and is given away; `model` is the page's own reading of it.
  show(model, { body, until, unit, levels }) {
    Object.assign(this, { model, unit, ruler: null });
    this.measure();
    this.worker.postMessage({ does: "show", turn: ++this.turn, body, until, length: model.length, unit, levels }, [body]);
  }

  // `parts` are intervals as the stream brings them.
  tick(parts) { this.worker.postMessage({ does: "tick", parts, end: this.model.end }); }

  // The points of a chosen span, beside the percentiles of the whole; null is none.
  choose(points) { this.worker.postMessage({ does: "choose", points }); }
}
