// Where rows and thumbnails come from.
//
// Rows (ref, name, placeholder) come in chunks by position.  Thumbnails of the first screen come one by one, as soon
// as possible; what is scrolled to comes in packs of 30, because HTTP/1.1 has six connections and each picture by
// itself costs a round trip.  A pack none of whose pictures is wanted any more is aborted, and the server stops
// working on it.

export const base = document.documentElement.dataset.base ?? "";

const CHUNK = 250;            // rows asked for at once
const PACK = 30;              // thumbnails in one answer
const PACK_LEAST = 20;        // worth a request while another one is under way
const PACKS_AT_ONCE = 3;      // more would share the line, and all of them would come late
const THUMBS_KEPT = 1500;     // data URLs, about 24 KB each
const ROWS_AHEAD = 20000;     // fetched while idle, so that every placeholder is there before its cell

// Without the name of the function and of the kind of error, and when it is tried again: those are for the log.
export const plainReason = (message) => message.replace(/^\w+ failed with \w+: /, "").replace(/ \([\d.]+ s ago; .*\)$/, "");

// An object URL is told to the browser's process and asked for there again, 5 ms for each picture; this takes 0.1.
const base64 = (bytes) => bytes.toBase64?.() ?? btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
const dataUrl = (bytes) => `data:image/webp;base64,${base64(bytes)}`;

export const thumbUrl = (ref, size) => `${base}/thumbs/${size}/${ref}.webp`;

export class Source extends EventTarget {
  constructor(first) {
    super();
    this.words = "";
    this.version = first.version;
    this.total = first.total;
    this.broken = first.faults; // files that could not be read
    this.rows = new Map();      // position → [ref, name, placeholder]
    this.chunks = new Map();    // chunk → "asked" | "here"
    this.thumbs = new Map();    // ref → URL, oldest first
    this.faults = new Map();    // ref → message
    this.packs = new Set();     // { refs: Set, control: AbortController }
    this.wantedAt = 0;          // when thumbnails were last missing: rows far away wait for them
    this.turn = 0;              // a new search makes answers to the old one void
    first.rows.forEach((row, i) => this.rows.set(first.first + i, row));
    if (first.rows.length >= Math.min(first.total, CHUNK)) this.chunks.set(0, "here");
  }

  row(i) { return this.rows.get(i); }

  async search(words) {
    this.words = words;
    await this.reload();
  }

  async reload() {
    this.turn += 1;
    this.rows.clear();
    this.chunks.clear();
    await this.fetchChunk(0);
    this.dispatchEvent(new Event("reset"));
  }

  // What the server says has changed since: asked now and then, answered with no rows.
  async check() {
    const answer = await this.ask(0, 0);
    if (answer && answer.faults !== this.broken) {
      this.broken = answer.faults;
      this.dispatchEvent(new Event("broken"));
    }
    if (answer && (answer.version !== this.version || answer.total !== this.total)) await this.reload();
  }

  async ask(first, count) {
    const turn = this.turn;
    try {
      const answer = await fetch(`${base}/thumbs/items?first=${first}&count=${count}&q=${encodeURIComponent(this.words)}`);
      if (!answer.ok || turn !== this.turn) return null;
      const page = await answer.json();
      return turn === this.turn ? page : null;
    } catch { return null; }
  }

  async fetchChunk(chunk) {
    if (this.chunks.has(chunk)) return;
    this.chunks.set(chunk, "asked");
    const page = await this.ask(chunk * CHUNK, CHUNK);
    if (!page) { this.chunks.delete(chunk); return; }
    this.chunks.set(chunk, "here");
    this.total = page.total;
    this.version = page.version;
    page.rows.forEach((row, i) => this.rows.set(page.first + i, row));
    this.dispatchEvent(new Event("rows"));
  }

  // Rows around the visible ones now, all others (up to a limit) while nothing else is going on.
  needRows(from, to) {
    const last = Math.max(0, Math.ceil(this.total / CHUNK) - 1);
    for (let c = Math.floor(from / CHUNK); c <= Math.min(last, Math.floor(to / CHUNK)); c++) this.fetchChunk(c);
  }

  async prefetchRows() {
    const turn = this.turn;
    for (let c = 0; c * CHUNK < Math.min(this.total, ROWS_AHEAD) && turn === this.turn; c++) {
      if (this.chunks.has(c)) continue;
      do await new Promise((done) => setTimeout(done, 80));
      while (this.packs.size || performance.now() - this.wantedAt < 500);
      await this.fetchChunk(c);
    }
  }

  // `wanted`: positions, most urgent first; the first `visible` of them are on the screen.
  needThumbs(wanted, visible) {
    const refs = [];
    let urgent = 0;
    wanted.forEach((i, at) => {
      const row = this.rows.get(i);
      if (!row || this.thumbs.has(row[0]) || this.faults.has(row[0])) return;
      refs.push(row[0]);
      if (at < visible) urgent = refs.length;
    });
    if (refs.length) this.wantedAt = performance.now();
    const still = new Set(refs);
    const asked = new Set();
    for (const pack of this.packs) {
      if ([...pack.refs].some((ref) => still.has(ref))) pack.refs.forEach((ref) => asked.add(ref));
      else pack.control.abort();
    }
    const fresh = refs.filter((ref) => !asked.has(ref));
    // a row at a time would be a request at a time: what is not on the screen yet waits until a pack is worth it
    while (fresh.length && this.packs.size < PACKS_AT_ONCE) {
      if (!urgent && this.packs.size && fresh.length < PACK_LEAST) return;
      this.fetchPack(fresh.splice(0, PACK));
    }
  }

  async fetchPack(list) {
    const pack = { refs: new Set(list), control: new AbortController() };
    this.packs.add(pack);
    try {
      const answer = await fetch(`${base}/thumbs/pack?spec=320&format=webp&refs=${list.join(",")}`, { signal: pack.control.signal });
      if (!answer.ok) throw new Error(answer.status);
      const reader = answer.body.getReader();
      let held = new Uint8Array(0);
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const joined = new Uint8Array(held.length + value.length);
        joined.set(held); joined.set(value, held.length);
        held = this.takeRecords(joined, list, pack);
      }
    } catch { /* aborted, or the server is away: the next look at the grid asks again */ }
    this.packs.delete(pack);
    this.dispatchEvent(new Event("free"));
  }

  // A record: position, status (0 good), length in four bytes, then the bytes.  What is not complete is left over.
  takeRecords(bytes, list, pack) {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    let at = 0;
    while (at + 6 <= bytes.length) {
      const length = view.getUint32(at + 2);
      if (at + 6 + length > bytes.length) break;
      const ref = list[bytes[at]];
      const data = bytes.subarray(at + 6, at + 6 + length);
      if (bytes[at + 1] === 0) this.keep(ref, dataUrl(data));
      else this.fail(ref, JSON.parse(new TextDecoder().decode(data)));
      pack.refs.delete(ref);
      at += 6 + length;
    }
    return bytes.slice(at);
  }

  keep(ref, url) {
    this.thumbs.set(ref, url);
    if (this.thumbs.size > THUMBS_KEPT) this.thumbs.delete(this.thumbs.keys().next().value);
    this.dispatchEvent(new CustomEvent("thumb", { detail: ref }));
  }

  fail(ref, fault) {
    if (fault.retry === "later" || fault.retry === "now") return;  // asked again with the next look
    this.faults.set(ref, plainReason(fault.message));
    this.dispatchEvent(new CustomEvent("thumb", { detail: ref }));
  }
}
