// A page in a room: it says hello, follows the rule of docs/live.md, and comes back by itself.
//
//   const room = new Room(`${base}/rooms/board/b1`, { claims, anew, changed, line, note });
//   room.call("press", { times: 3 }).then(answer, fault)
//
// anew(facts)          the facts to begin with, [[key, value], …]: at the first time, and after a reset
// changed(key, value)  one fact; undefined: it is deleted
// moment()             after all changes of one message
// line(state, text)    "here", "away" (it comes back by itself) or "out" (it does not), and why
// note(said)           what is true only now: {kind: "present", count}

const FIRST_PAUSE = 500;          // ms before the first try to come back; then half as long again each time
const LONGEST_PAUSE = 8000;
const HERE = 10_000;              // ms: a connection that held so long was a good one
const SILENT = 15_000;            // ms for the first line; then the connection is no good
const OUT = new Set([4400, 4403, 4404, 1008]);

const hex = () => [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(16).padStart(2, "0")).join("");

export class Fault extends Error {
  constructor(said) { super(said.message); this.said = said; }
}

export class Room {
  constructor(address, { claims = {}, anew, changed, moment, line, note }) {
    this.address = new URL(address, location.href);
    this.address.protocol = this.address.protocol.replace("http", "ws");
    Object.assign(this, { claims, anew, changed, moment, line, note });
    this.epoch = ""; this.offset = 0;
    this.waiting = new Map();       // id -> a call that is not answered yet
    this.pause = FIRST_PAUSE;
    this.closed = false;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.hurry());
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.isHere = false;
    let socket;
    try { socket = this.socket = new WebSocket(this.address); } catch (reason) { this.closed = true; this.line("out", reason.message); return; }
    const begun = performance.now();
    const silence = setTimeout(() => socket.close(), SILENT);
    socket.onopen = () => socket.send(JSON.stringify({ hello: this.claims, epoch: this.epoch, offset: this.offset }));
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket) return;
      clearTimeout(silence);
      for (const line of data.split("\n")) if (!this.take(JSON.parse(line))) { this.away(socket, "Something was missed."); return; }
      this.moment?.();
    };
    socket.onclose = ({ code, reason }) => {
      clearTimeout(silence);
      if (socket !== this.socket) return;
      if (performance.now() - begun > HERE) this.pause = FIRST_PAUSE;
      if (OUT.has(code)) { this.socket = null; this.line("out", reason); this.giveUp(reason); } else this.away(socket);
    };
  }

  // The rule: after <= offset < its offset is new; its offset <= ours is known; the rest is a gap.
  take(said) {
    if (said.kind === "frame") {
      if (said.offset <= this.offset) return true;
      if (said.after > this.offset) return false;
      this.offset = said.offset;
      for (const [key, value] of said.changes) this.changed(key, value);
    } else if (said.kind === "joined" || said.kind === "reset") {
      this.epoch = said.epoch; this.offset = said.offset;
      this.anew(said.facts);
      this.here();
    } else if (said.kind === "resumed") {
      this.here();
    } else if (said.kind === "answer" || said.kind === "refused") {
      const call = this.waiting.get(said.id);
      this.waiting.delete(said.id);
      if (said.kind === "answer") call?.done(said.answer); else call?.failed(new Fault(said));
    } else this.note?.(said);
    return true;
  }

  here() {
    this.isHere = true;
    this.line("here", "");
    for (const call of this.waiting.values()) this.socket.send(call.text);   // the same ids: each counts once
  }

  away(socket, why = "") {
    this.socket = null;
    socket.onclose = null;
    socket.close();
    this.isHere = false;
    if (this.closed) return;
    this.line("away", why);
    this.timer = setTimeout(() => this.open(), this.pause * (0.5 + Math.random()));   // not all of them at once
    this.pause = Math.min(LONGEST_PAUSE, this.pause * 1.5);
  }

  hurry() {
    if (!this.socket && !this.closed && this.timer) { this.pause = FIRST_PAUSE; this.open(); }
  }

  // What is called while it is away is sent when it is back.
  call(name, inputs = {}) {
    const id = hex();
    return new Promise((done, failed) => {
      const text = JSON.stringify({ call: name, id, inputs });
      this.waiting.set(id, { text, done, failed });
      if (this.isHere) this.socket.send(text);
    });
  }

  giveUp(message) {
    this.closed = true;
    for (const call of this.waiting.values()) call.failed(new Fault({ message }));
    this.waiting.clear();
  }

  close() {
    this.giveUp("");
    this.socket?.close();
  }
}
