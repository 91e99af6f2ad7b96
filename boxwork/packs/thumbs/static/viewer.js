// One picture over the whole window: zoom, pan, previous and next, and where its thumbnail came from.

import { Heart } from "./heart.js";
import { base, plainReason, thumbUrl } from "./source.js";

const MOST = 8;              // times the fitted size
const FINE = 1.3;            // from this zoom on, the larger rendition is fetched
const SWIPE = 60;            // pixels

const $ = (id) => document.getElementById(id);
const text = (tag, content, cls) => { const e = document.createElement(tag); e.textContent = content; if (cls) e.className = cls; return e; };
const short = (ref) => `sha256:${ref.replace("sha256:", "").slice(0, 12)}…`;
export const bytes = (n) => n < 1000 ? `${n} B` : n < 1e6 ? `${(n / 1e3).toFixed(n < 1e4 ? 1 : 0)} KB` : `${(n / 1e6).toFixed(1)} MB`;

export class Viewer {
  constructor(source, grid) {
    this.source = source;
    this.grid = grid;
    this.dialog = $("viewer");
    this.stage = $("stage");
    this.image = $("photo");
    this.heart = new Heart();
    this.at = -1;
    this.pointers = new Map();
    this.reset();
    $("close").onclick = () => this.dialog.close();
    $("back").onclick = () => this.open(this.at - 1);
    $("next").onclick = () => this.open(this.at + 1);
    $("info").onclick = () => this.details($("details").hidden);
    $("zoom-in").onclick = () => this.zoomAt(this.scale * 1.5);
    $("zoom-out").onclick = () => this.zoomAt(this.scale / 1.5);
    this.dialog.addEventListener("close", () => {
      document.documentElement.classList.remove("viewing");
      this.heart.hide();
      this.image.removeAttribute("src");
      if (history.state?.viewer) history.back();
      this.grid.setActive(this.at);
    });
    addEventListener("popstate", () => { if (this.dialog.open) this.dialog.close(); });
    this.dialog.addEventListener("keydown", (event) => this.onKey(event));
    this.stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomAt(this.scale * Math.exp(-event.deltaY * (event.ctrlKey ? .01 : .0022)), event.clientX, event.clientY);
    }, { passive: false });
    this.stage.addEventListener("dblclick", (event) => this.zoomAt(this.scale > 1 ? 1 : 2.5, event.clientX, event.clientY));
    this.stage.addEventListener("pointerdown", (event) => this.onDown(event));
    this.stage.addEventListener("pointermove", (event) => this.onMove(event));
    for (const kind of ["pointerup", "pointercancel"]) this.stage.addEventListener(kind, (event) => this.onUp(event));
    this.image.addEventListener("error", () => { if (this.image.getAttribute("src")) this.showFault(); });
  }

  reset() { this.scale = 1; this.x = this.y = 0; }

  async open(i) {
    if (i < 0 || i >= this.source.total) return;
    this.at = i;
    if (!this.source.row(i)) { this.source.needRows(i, i); await new Promise((r) => this.source.addEventListener("rows", r, { once: true })); }
    const row = this.source.row(i);
    if (!row || this.at !== i) return;
    const [ref, name] = row;
    this.ref = ref;
    this.fine = false;
    this.reset();
    if (!this.dialog.open) {
      this.dialog.showModal();
      document.documentElement.classList.add("viewing");
      history.pushState({ viewer: true }, "", `#${ref.slice(0, 16)}`);
    }
    $("viewer-name").textContent = name;
    this.heart.show(ref);
    $("fault").hidden = true;
    this.image.hidden = false;
    this.image.alt = name;
    $("back").hidden = i === 0;
    $("next").hidden = i === this.source.total - 1;
    const original = $("original");
    original.href = `${base}/blobs/sha256:${ref}?name=${encodeURIComponent(name)}`;
    original.setAttribute("aria-label", `Download ${name}`);
    this.image.src = this.source.thumbs.get(ref) ?? thumbUrl(ref, 320);
    this.load(ref, 1600);
    this.apply();
    if (!$("details").hidden) this.details(true);
    for (const near of [i + 1, i - 1]) {
      const other = this.source.row(near);
      if (other) new Image().src = thumbUrl(other[0], 1600);
    }
  }

  // The larger picture replaces the smaller one when it is decoded, so nothing flickers.
  async load(ref, size) {
    const larger = new Image();
    larger.src = thumbUrl(ref, size);
    try {
      await larger.decode();
      if (this.ref === ref && this.dialog.open) this.image.src = larger.src;
    } catch { if (this.ref === ref && size === 1600) this.showFault(); }
  }

  async showFault() {
    const ref = this.ref;
    let message = "";
    try { message = plainReason((await (await fetch(thumbUrl(ref, 320))).json()).message ?? ""); } catch { /* the picture came after all */ }
    if (ref !== this.ref) return;
    this.image.hidden = true;
    $("fault").replaceChildren(text("strong", "This picture cannot be shown"), message);
    $("fault").hidden = false;
  }

  apply() {
    const limitX = this.stage.clientWidth * (this.scale - 1) / 2, limitY = this.stage.clientHeight * (this.scale - 1) / 2;
    this.x = Math.max(-limitX, Math.min(limitX, this.x));
    this.y = Math.max(-limitY, Math.min(limitY, this.y));
    this.image.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    this.stage.classList.toggle("zoomed", this.scale > 1);
    $("zoom").textContent = `${Math.round(this.scale * 100)} %`;
    if (this.scale > FINE && !this.fine && this.ref) { this.fine = true; this.load(this.ref, 3200); }
  }

  zoomAt(scale, clientX = innerWidth / 2, clientY = innerHeight / 2) {
    const next = Math.max(1, Math.min(MOST, scale));
    const box = this.stage.getBoundingClientRect();
    const px = clientX - box.left - box.width / 2, py = clientY - box.top - box.height / 2;
    this.x = px - (px - this.x) * (next / this.scale);
    this.y = py - (py - this.y) * (next / this.scale);
    this.scale = next;
    this.apply();
  }

  onDown(event) {
    this.stage.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event);
    this.start = { x: event.clientX, y: event.clientY, at: event.timeStamp };
    this.spread = 0;
  }

  onMove(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    this.pointers.set(event.pointerId, event);
    if (this.pointers.size === 2) {
      const [a, b] = [...this.pointers.values()];
      const spread = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
      if (this.spread) this.zoomAt(this.scale * spread / this.spread, (a.clientX + b.clientX) / 2, (a.clientY + b.clientY) / 2);
      this.spread = spread;
    } else if (this.scale > 1) {
      this.x += event.clientX - before.clientX;
      this.y += event.clientY - before.clientY;
      this.apply();
    }
  }

  onUp(event) {
    const single = this.pointers.size === 1 && !this.spread;
    this.pointers.delete(event.pointerId);
    if (!single || this.scale > 1 || event.type !== "pointerup") return;
    const dx = event.clientX - this.start.x, dy = event.clientY - this.start.y;
    if (Math.abs(dx) > SWIPE && Math.abs(dx) > 2 * Math.abs(dy)) this.open(this.at + (dx < 0 ? 1 : -1));
    else if (dy > 2 * SWIPE && event.pointerType !== "mouse") this.dialog.close();
  }

  onKey(event) {
    const acts = {
      ArrowRight: () => this.open(this.at + 1), ArrowLeft: () => this.open(this.at - 1),
      "+": () => this.zoomAt(this.scale * 1.5), "=": () => this.zoomAt(this.scale * 1.5), "-": () => this.zoomAt(this.scale / 1.5),
      0: () => this.zoomAt(1), i: () => this.details($("details").hidden),
      l: () => this.heart.press(),
    };
    if (event.ctrlKey || event.metaKey || event.altKey || !acts[event.key]) return;
    acts[event.key]();
    event.preventDefault();
  }

  async details(open) {
    const panel = $("details");
    panel.hidden = !open;
    $("info").setAttribute("aria-expanded", open);
    this.dialog.classList.toggle("informed", open);
    if (!open) return;
    const ref = this.ref;
    let known;
    try { known = await (await fetch(`${base}/thumbs/about/${ref}`)).json(); } catch { return; }
    if (ref !== this.ref) return;
    panel.replaceChildren(...this.facts(known), ...this.lineage(known));
  }

  facts(known) {
    const list = document.createElement("dl");
    const add = (name, value) => { if (value) list.append(text("dt", name), typeof value === "string" ? text("dd", value) : value); };
    const facts = known.facts ?? {};
    add("File", known.path);
    if (facts.width) add("Size", `${facts.width} × ${facts.height} · ${(facts.width * facts.height / 1e6).toFixed(1)} MP · ${bytes(known.bytes)}`);
    else add("Size", bytes(known.bytes));
    add("Kind", facts.kind?.toUpperCase());
    add("Taken", facts.taken);
    add("Camera", facts.camera);
    add("Note", facts.description);
    const name = text("dd", known.ref, "mono ref");
    add("Name", name);
    return known.fault ? [text("h3", "Picture"), text("p", plainReason(known.fault.message), "fault"), list] : [text("h3", "Picture"), list];
  }

  lineage(known) {
    const title = text("h3", "Lineage");
    if (!known.thumb) return [title, text("p", "No thumbnail was derived from it yet.", "quiet")];
    const thumb = known.thumb;
    const line = document.createElement("ol");
    line.className = "lineage";
    const step = (head, ...subs) => { const li = document.createElement("li"); li.append(text("strong", head), ...subs.map((sub) => text("span", sub, "quiet"))); line.append(li); };
    step("Original, where it lies", `${short(known.ref)} · ${bytes(known.bytes)}`);
    step(`Derived by ${thumb.box} in ${thumb.duration_ms.toFixed(1)} ms`, new Date(thumb.at_ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }));
    step(`Thumbnail, ${thumb.spec} px`, `${short(thumb.ref)} · ${bytes(thumb.bytes)} · ${(known.bytes / thumb.bytes).toFixed(0)}× smaller`);
    const link = text("a", "Why these bytes?");
    link.href = `${base}/why/${thumb.ref}`;
    link.target = "_blank";
    return [title, line, link];
  }
}
