// The stream of a page.  The browser itself reconnects and says where it was; this file only does so where it gives up.

const AGAIN_MS = 2000;

export class Live {
  // `heard` is called with the parsed data of each tick and when it came, `listed` with an overview, `ruled` with the rules and how
  // they stand, `told` with "live" or "away".
  constructor({ heard, listed = null, ruled = null, told = () => {} }) {
    Object.assign(this, { heard, listed, ruled, told });
    this.source = null;
    this.lastId = "";
  }

  // Everything after `after` (nanoseconds, as text) will come, then what is new.
  open(series, after) {
    this.close();
    this.series = series;
    this.lastId = after ?? "";
    const query = new URLSearchParams();
    if (series) query.set("series", series);
    if (this.lastId) query.set("after", this.lastId);
    if (this.listed) query.set("overview", "1");
    if (this.ruled) query.set("rules", "1");
    const source = this.source = new EventSource(`${document.documentElement.dataset.base}/pulse/live?${query}`);
    source.onopen = () => this.told("live");
    source.onmessage = (event) => {
      const began = performance.now();
      if (source !== this.source) return;
      if (event.lastEventId) this.lastId = event.lastEventId;
      this.heard(JSON.parse(event.data), began);
    };
    if (this.listed) source.addEventListener("overview", (event) => this.listed(JSON.parse(event.data)));
    if (this.ruled) source.addEventListener("rules", (event) => this.ruled(JSON.parse(event.data)));
    source.onerror = () => {
      if (source !== this.source) return;
      this.told("away");
      if (source.readyState === EventSource.CLOSED) this.timer = setTimeout(() => this.open(this.series, this.lastId), AGAIN_MS);
    };
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }
}
