// The heart of the picture that is looked at: liked with a press or the letter l, counted live for everybody.
//
// What a press shows at once is put right by the answer.  A press has an id of its own, so one that is sent again
// after a lost answer counts once; of many quick presses the last one stands.

import { base } from "./source.js";

const TRIES = 4;             // of one press, before it is taken back
const PAUSE = 400;           // ms before the second one, then twice as long each time

const $ = (id) => document.getElementById(id);
const hex = () => [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");
const number = new Intl.NumberFormat();

// Nobody signs on yet, so a browser is a person, by a name that it draws once.
function who() {
  try {
    let person = localStorage.getItem("boxwork.person");
    if (!person) localStorage.setItem("boxwork.person", person = hex());
    return person;
  } catch { return session; }
}
const session = hex();       // private mode

export class Heart {
  constructor() {
    this.button = $("like");
    this.button.onclick = () => this.press();
  }

  // `known`: likes and liked are what the server said last, wanted is what was pressed since.
  show(ref) {
    if (this.known?.ref === ref && this.events) return;
    this.hide();
    this.known = { ref, likes: 0, liked: false, wanted: false, busy: false, heard: false, missed: false };
    this.render();
    this.listen(this.known);
  }

  listen(known) {
    this.events?.close();
    known.missed = false;
    this.events = new EventSource(`${base}/thumbs/likes/${known.ref}?person=${who()}`);
    this.events.onmessage = (event) => {
      if (known.busy) { known.missed = true; return; }   // whether it is from before or after our press nobody can say
      const said = JSON.parse(event.data);
      Object.assign(known, { likes: said.likes, liked: said.liked, wanted: said.liked, heard: true });
      this.render();
    };
  }

  hide() {
    this.events?.close();
    this.events = null;
    $("like-said").textContent = "";
  }

  render() {
    const { likes, liked, wanted, heard } = this.known;
    const shown = Math.max(0, likes + Number(wanted) - Number(liked));
    this.button.disabled = !heard;
    this.button.setAttribute("aria-pressed", wanted);
    this.button.setAttribute("aria-label", `Like (l), ${number.format(shown)} ${shown === 1 ? "like" : "likes"}`);
    $("likes").textContent = shown ? number.format(shown) : "";
  }

  async press() {
    const known = this.known;
    if (!known?.heard) return;
    known.wanted = !known.wanted;
    $("like-said").textContent = "";
    this.render();
    if (known.busy) return;            // the loop below sees it
    known.busy = true;
    while (known.wanted !== known.liked) {
      const fault = await this.commit(known, known.wanted);
      if (fault) {
        known.wanted = known.liked;
        if (this.known === known) $("like-said").textContent = fault;
      }
      if (this.known === known) this.render();
    }
    known.busy = false;
    if (known.missed && this.known === known && this.events) this.listen(known);
  }

  // Null, or why it cannot be.
  async commit(known, wanted) {
    const once = hex();
    let pause = PAUSE;
    for (let tries = 1; ; tries++, pause *= 2) {
      try {
        const answer = await fetch(`${base}/commit/${wanted ? "like_photo" : "unlike_photo"}`, {
          method: "POST",
          headers: { "content-type": "application/json", "idempotency-key": once },
          body: JSON.stringify({ photo: `sha256:${known.ref}`, person: who() }),
        });
        const said = await answer.json();
        if (answer.ok) { known.likes = said.answer; known.liked = wanted; return null; }
        if (answer.status === 409 && !wanted) {          // in another window it was taken back before
          known.likes = Math.max(0, known.likes - 1); known.liked = false; known.missed = true; return null;
        }
        if (said.retry === "never" || tries === TRIES) return said.message ?? "This could not be saved.";
      } catch {
        if (tries === TRIES) return "The server does not answer: this is not saved.";
      }
      await new Promise((done) => setTimeout(done, pause));
    }
  }
}
