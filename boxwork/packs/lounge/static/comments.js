// The comments on the page, by their numbers; the newest at the bottom, and the page stays where somebody reads.

import { $ } from "./person.js";

// Comments on the page.  More than this nobody scrolls back; the oldest go first.
const SHOWN = 500;
// Presses of the wheel from the end that still mean "at the end".  Unit: px.
const NEAR = 80;

const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const list = $("comments"), log = $("log"), down = $("down");
const shown = new Map();           // number -> { row, value }

export class Comments {
  constructor({ me, mute, remove }) {
    Object.assign(this, { me, mute, remove });
    this.muted = new Set();
    this.keeper = false;
    down.onclick = () => { log.scrollTop = log.scrollHeight; log.focus(); };
    log.onscroll = () => { this.isAtEnd = this.atEnd(); if (this.isAtEnd) down.hidden = true; };
    this.isAtEnd = true;
    // A message above the field, a keyboard on the phone: who was at the end stays there.
    new ResizeObserver(() => { if (this.isAtEnd) log.scrollTop = log.scrollHeight; }).observe(log);
  }

  atEnd() { return log.scrollHeight - log.scrollTop - log.clientHeight < NEAR; }

  clear() { shown.clear(); list.replaceChildren(); this.muted.clear(); }

  set(number, value) {
    if (value === undefined) { shown.get(number)?.row.remove(); shown.delete(number); return; }
    this.stays ??= this.atEnd();
    const row = this.row(number, value), before = shown.get(number);
    if (before) before.row.replaceWith(row);
    else list.append(row);
    shown.set(number, { row, value });
    if (shown.size > SHOWN) {
      const [oldest] = shown.keys();
      shown.get(oldest).row.remove();
      shown.delete(oldest);
    }
    if (!before && !this.stays) down.hidden = false;
  }

  // After all changes of one message: one layout for all of them.
  settle() {
    if (this.stays) log.scrollTop = log.scrollHeight;
    this.stays = null;
  }

  again() { for (const [number, { value }] of [...shown]) this.set(number, value); this.settle(); }

  row(number, [person, name, text, at]) {
    const row = document.createElement("li"), by = document.createElement("b"), when = document.createElement("time");
    row.id = `c${number}`;
    by.textContent = name;
    when.dateTime = new Date(at).toISOString();
    when.textContent = time.format(at);
    const words = document.createElement("p");
    if (text === null) { words.textContent = "removed"; row.className = "removed"; } else this.mark(words, text);
    if (person === this.me) row.classList.add("mine");
    row.append(by, " ", when);
    if (this.keeper && text !== null) row.append(this.button("Remove", `Remove the comment of ${name}`, () => this.remove(number)));
    if (this.keeper && person !== this.me && !this.muted.has(person)) row.append(this.button("Mute", `Mute ${name}`, () => this.mute(person, true)));
    row.append(words);
    return row;
  }

  button(text, label, does) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "quiet act", textContent: text, onclick: does });
    button.setAttribute("aria-label", label);
    return button;
  }

  mark(words, text) {
    for (const part of text.split(/((?<![\p{L}\p{N}_])@[\p{L}\p{N}_-]{1,32})/u)) {
      if (!part.startsWith("@")) { words.append(part); continue; }
      const name = document.createElement("span");
      name.className = "mention";
      name.textContent = part;
      words.append(name);
    }
  }

  nameOf(person) {
    return [...shown.values()].findLast(({ value }) => value[0] === person)?.value[1] ?? person;
  }
}
