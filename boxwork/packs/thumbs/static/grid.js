// <photo-grid>: a list of any length, of which only what is near the screen exists.
//
// Cells are kept by position and reused.  A cell shows its placeholder (3 x 3 colours, drawn at once) until its
// thumbnail is decoded, so no cell is ever empty once its row is known.

import { thumbUrl } from "./source.js";

const SIZES = { s: 112, m: 208, l: 320 };   // pixels a cell is at least, on a wide screen
const COLUMNS_PHONE = { s: 5, m: 3, l: 2 };
const PHONE = 640;
const GAP = 4;
const OVERSCAN = 4;                          // rows of cells beyond the screen: time to decode before they are seen …
const OVERSCAN_MS = 700;                     // … and where it is scrolled to, for so long: a busy machine paints 7 frames a second
const OVERSCAN_ROWS = [8, 16];               // … but for no fewer and no more rows …
const OVERSCAN_GROWS = 3;                    // … and so many more in one frame, which building them holds up
const SPARE_MOST = 120;                      // cells kept for use again
const SPEED_MS = 50;                         // the speed is smoothed over so long
const AHEAD_MS = 2200;                       // thumbnails are fetched for so long a way at the present speed …
const AHEAD_SCREENS = [6, 10];               // … but for no fewer and no more screens

const ROWS_AHEAD = 500;                      // cells whose names and placeholders are fetched around the screen

const GRID = 3;
const unpack = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

export class PhotoGrid extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "listbox");
    this.setAttribute("aria-label", "Photos");
    this.setAttribute("aria-multiselectable", "true");
    this.cells = new Map();
    this.spare = [];
    this.active = 0;
    this.selected = new Map();   // ref → name
    this.anchor = -1;
    this.size = "m";
    this.calm = true;            // nothing was scrolled yet: the first screen loads picture by picture
    this.lastTop = scrollY;
    this.lastTime = 0;
    this.direction = 1;
    this.over = OVERSCAN;        // rows beyond the screen that have cells, where it is scrolled to
    this.speed = 0;              // pixels a millisecond, smoothed
    addEventListener("scroll", () => this.plan(), { passive: true });
    new ResizeObserver(() => this.layout()).observe(this);
    this.addEventListener("click", (event) => this.onClick(event));
    this.addEventListener("keydown", (event) => this.onKey(event));
    this.addEventListener("focusin", (event) => {
      const cell = event.target.closest?.(".cell");
      if (cell) this.setActive(cell.position, false);
    });
  }

  use(source) {
    this.source = source;
    source.addEventListener("rows", () => this.plan());
    source.addEventListener("free", () => this.plan());
    source.addEventListener("thumb", (event) => this.onThumb(event.detail));
    source.addEventListener("reset", () => { this.active = 0; this.anchor = -1; this.recycle(); scrollTo(0, 0); this.layout(); });
    this.layout();
  }

  setSize(size) {
    const keep = this.firstVisible();
    this.size = size;
    this.layout();
    this.scrollToCell(keep, "start");
  }

  layout() {
    if (!this.source || !this.clientWidth) return;
    const wide = this.clientWidth;
    const before = this.columns;
    this.columns = innerWidth <= PHONE ? COLUMNS_PHONE[this.size] : Math.max(2, Math.floor((wide + GAP) / (SIZES[this.size] + GAP)));
    this.side = (wide - GAP * (this.columns - 1)) / this.columns;
    this.step = this.side + GAP;
    this.style.height = `${Math.max(0, Math.ceil(this.source.total / this.columns) * this.step - GAP)}px`;
    this.style.setProperty("--side", `${this.side}px`);
    if (before !== this.columns) this.setAttribute("aria-label", `Photos, ${this.columns} in a row`);
    for (const [i, cell] of this.cells) this.put(cell, i);
    this.plan();
  }

  plan() {
    if (this.planned) return;
    this.planned = requestAnimationFrame(() => { this.planned = 0; this.render(); });
  }

  // Height above the grid, counted from the top of the page.
  get offset() { return this.getBoundingClientRect().top + scrollY; }

  firstVisible() {
    return Math.max(0, Math.floor((scrollY - this.offset + 60) / this.step)) * this.columns;
  }

  render() {
    const { source, columns, step } = this;
    if (!source || !columns) return;
    const top = scrollY - this.offset;
    const now = performance.now();
    const passed = now - this.lastTime;
    // who lay still for a while has moved since the last frame, not since the last look
    const moved = Math.abs(scrollY - this.lastTop) / Math.max(1, Math.min(passed, 100));
    this.speed += (moved - this.speed) * (1 - Math.exp(-passed / SPEED_MS));
    this.lastTime = now;
    if (scrollY !== this.lastTop) { this.direction = scrollY > this.lastTop ? 1 : -1; this.calm = false; }
    this.lastTop = scrollY;
    const rows = Math.ceil(source.total / columns);
    const seenFrom = Math.max(0, Math.floor(top / step));
    const seenTo = Math.min(rows - 1, Math.floor((top + innerHeight) / step));
    const [least, mostRows] = OVERSCAN_ROWS;
    const far = Math.min(mostRows, Math.max(this.calm ? OVERSCAN : least, Math.ceil(this.speed * OVERSCAN_MS / step)));
    const over = this.over = Math.min(far, this.over + OVERSCAN_GROWS);
    const from = Math.max(0, seenFrom - (this.direction < 0 ? over : OVERSCAN)) * columns;
    const to = Math.min(source.total, (seenTo + 1 + (this.direction > 0 ? over : OVERSCAN)) * columns);
    for (const [i, cell] of this.cells) {
      if ((i < from || i >= to) && i !== this.active) { this.cells.delete(i); this.release(cell); }
    }
    source.needRows(from, to);
    for (let i = from; i < to; i++) this.show(i);
    if (this.active < source.total) this.show(this.active);

    const [fewest, most] = AHEAD_SCREENS.map((screens) => screens * innerHeight);
    const ahead = Math.ceil(Math.max(fewest, Math.min(most, this.speed * AHEAD_MS)) / step) * columns;
    const wanted = [];
    const push = (a, b) => { for (let i = Math.max(0, a); i < Math.min(source.total, b); i++) wanted.push(i); };
    push(seenFrom * columns, (seenTo + 1) * columns);
    if (this.calm) { this.firstScreen(wanted); return; }
    const visible = wanted.length;
    // rows come before thumbnails can be asked for, and are small: further in both directions
    source.needRows(Math.max(0, from - ahead - ROWS_AHEAD), Math.min(source.total, to + ahead + ROWS_AHEAD));
    if (this.direction > 0) push((seenTo + 1) * columns, (seenTo + 1) * columns + ahead);
    else for (let i = seenFrom * columns - 1; i >= Math.max(0, seenFrom * columns - ahead); i--) wanted.push(i);
    source.needThumbs(wanted, visible);
  }

  // One by one until everything on the first screen is painted; then the rows and packs ahead of it.
  firstScreen(visible) {
    let open = 0;
    for (const i of visible) {
      const cell = this.cells.get(i);
      const row = this.source.row(i);
      if (!cell || !row) { open++; continue; }
      if (!cell.image.src && !this.source.faults.has(row[0])) cell.image.src = thumbUrl(row[0], 320);
      if (!cell.classList.contains("there") && !cell.classList.contains("broken")) open++;
    }
    if (open === 0 && visible.length) {
      this.calm = false;
      this.dispatchEvent(new Event("painted"));
      this.source.prefetchRows();
      this.plan();
    }
  }

  show(i) {
    let cell = this.cells.get(i);
    const row = this.source.row(i);
    if (cell && cell.ref === row?.[0] && cell.tint === (row?.[2] ?? "")) { this.dress(cell); return; }
    if (!cell) {
      cell = this.spare.pop() ?? this.build();
      this.cells.set(i, cell);
      this.put(cell, i);
      if (!cell.isConnected) this.append(cell);
    }
    this.fill(cell, row);
  }

  build() {
    const cell = document.createElement("div");
    cell.className = "cell";
    cell.setAttribute("role", "option");
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = GRID;
    canvas.setAttribute("aria-hidden", "true");
    const image = document.createElement("img");
    image.alt = "";
    image.decoding = "async";
    image.draggable = false;
    image.addEventListener("load", () => {
      cell.classList.add("there");
      if (!this.calm) return;
      if (cell.ref && !this.source.thumbs.has(cell.ref)) this.source.thumbs.set(cell.ref, image.src);
      this.plan();
    });
    image.addEventListener("error", () => {
      if (!image.getAttribute("src")) return;
      image.removeAttribute("src");
      cell.classList.add("broken");
      if (this.calm) this.plan();
    });
    const check = document.createElement("span");
    check.className = "check";
    check.setAttribute("aria-hidden", "true");
    cell.append(canvas, image, check);
    Object.assign(cell, { canvas, image, ref: undefined, tint: "" });
    return cell;
  }

  put(cell, i) {
    cell.position = i;
    const x = (i % this.columns) * this.step, y = Math.floor(i / this.columns) * this.step;
    cell.style.transform = `translate(${x}px, ${y}px)`;
    cell.setAttribute("aria-posinset", i + 1);
    cell.setAttribute("aria-setsize", this.source.total);
    cell.tabIndex = i === this.active ? 0 : -1;
  }

  fill(cell, row) {
    if (cell.ref !== row?.[0]) {
      cell.classList.remove("there", "broken");
      cell.image.removeAttribute("src");
      cell.ref = row?.[0];
    }
    cell.tint = row?.[2] ?? "";
    cell.setAttribute("aria-label", row ? row[1] : "Loading");
    cell.title = row ? row[1] : "";
    const context = cell.canvas.getContext("2d");
    if (cell.tint) {
      const colours = unpack(cell.tint);
      const pixels = context.createImageData(GRID, GRID);
      for (let p = 0; p < GRID * GRID; p++) pixels.data.set([colours[p * 3], colours[p * 3 + 1], colours[p * 3 + 2], 255], p * 4);
      context.putImageData(pixels, 0, 0);
    } else context.clearRect(0, 0, GRID, GRID);
    this.dress(cell);
  }

  dress(cell) {
    const chosen = this.selected.has(cell.ref);
    if (cell.getAttribute("aria-selected") !== String(chosen)) cell.setAttribute("aria-selected", chosen);
    if (!cell.ref || cell.image.hasAttribute("src")) return;
    const url = this.source.thumbs.get(cell.ref);
    if (url) cell.image.src = url;
    else if (this.source.faults.has(cell.ref) && !cell.classList.contains("broken")) {
      cell.classList.add("broken");
      cell.setAttribute("aria-label", `${cell.getAttribute("aria-label")}: ${this.source.faults.get(cell.ref)}`);
    }
  }

  release(cell) {
    cell.image.removeAttribute("src");
    cell.ref = undefined;
    cell.tint = "";
    cell.classList.remove("there", "broken");
    if (this.spare.length < SPARE_MOST) { cell.style.transform = "translate(0, -9999px)"; cell.tabIndex = -1; this.spare.push(cell); } else cell.remove();
  }

  recycle() {
    for (const cell of this.cells.values()) cell.remove();
    for (const cell of this.spare) cell.remove();
    this.cells.clear();
    this.spare = [];
  }

  onThumb(ref) {
    for (const cell of this.cells.values()) if (cell.ref === ref) this.dress(cell);
  }

  // --- people

  setActive(i, focus = true) {
    const total = this.source.total;
    if (!total) return;
    const old = this.cells.get(this.active);
    if (old) old.tabIndex = -1;
    this.active = Math.max(0, Math.min(total - 1, i));
    this.scrollToCell(this.active, "nearest");
    this.show(this.active);
    const cell = this.cells.get(this.active);
    cell.tabIndex = 0;
    if (focus) cell.focus({ preventScroll: true });
  }

  scrollToCell(i, how) {
    const y = Math.floor(i / this.columns) * this.step + this.offset;
    const bar = 64;
    if (how === "start") scrollTo({ top: i < this.columns ? 0 : y - bar });
    else if (y - bar < scrollY) scrollTo({ top: y - bar });
    else if (y + this.step > scrollY + innerHeight) scrollTo({ top: y + this.step - innerHeight + 8 });
  }

  onClick(event) {
    const cell = event.target.closest(".cell");
    if (!cell?.ref) return;
    const i = cell.position;
    if (event.shiftKey && this.anchor >= 0) this.chooseRange(this.anchor, i);
    else if (event.target.closest(".check") || this.hasAttribute("choosing") || event.ctrlKey || event.metaKey) this.choose(i);
    else this.dispatchEvent(new CustomEvent("open", { detail: i }));
  }

  onKey(event) {
    const page = Math.max(1, Math.floor((innerHeight - 120) / this.step)) * this.columns;
    const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns, ArrowUp: -this.columns, PageDown: page, PageUp: -page };
    if (event.key in moves && !event.altKey) {
      const from = this.active;
      this.setActive(this.active + moves[event.key]);
      if (event.shiftKey) this.chooseRange(this.anchor < 0 ? from : this.anchor, this.active);
    } else if (event.key === "Home") this.setActive(0);
    else if (event.key === "End") this.setActive(this.source.total - 1);
    else if (event.key === " ") this.choose(this.active);
    else if (event.key === "Enter") this.dispatchEvent(new CustomEvent("open", { detail: this.active }));
    else return;
    event.preventDefault();
  }

  choose(i) {
    const row = this.source.row(i);
    if (!row) return;
    if (!this.selected.delete(row[0])) this.selected.set(row[0], row[1]);
    this.anchor = i;
    this.chosen();
  }

  chooseRange(a, b) {
    for (let i = Math.min(a, b); i <= Math.max(a, b); i++) {
      const row = this.source.row(i);
      if (row) this.selected.set(row[0], row[1]);
    }
    this.anchor = a;
    this.chosen();
  }

  clear() { this.selected.clear(); this.anchor = -1; this.chosen(); }

  chosen() {
    for (const cell of this.cells.values()) this.dress(cell);
    this.dispatchEvent(new Event("chosen"));
  }
}

customElements.define("photo-grid", PhotoGrid);
