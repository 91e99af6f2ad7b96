// A room: comments, likes, who is here, mentions, and keeping order.

import { $, base, keepKey, keepName, key, name as knownName, person, secret } from "./person.js";
import { Comments } from "./comments.js";

const GATHER = 100;                // ms: presses of the heart that are handed in together
const MOST = 100;                  // presses in one call: what the transaction takes

const { room: here, client } = JSON.parse($("data").textContent);
const { Room, Fault } = await import(client);
const count = new Intl.NumberFormat();
const me = await person();
const comments = new Comments({ me, mute, remove: (number) => order("lounge_remove", { number }, "Removed.") });
let room, likes = 0, pressed = 0, gathering = 0, slow = 0;

function said(element, text) { element.textContent = text; element.hidden = !text; }

function state(line, text) {
  $("line").dataset.state = line;
  $("line-text").textContent = { here: "Live", away: "Cut off; coming back…", out: text || "Not here." }[line];
  $("room").dataset.state = line;
}

function enter() {
  room?.close();
  const claims = { secret: secret(), key: key(here) };
  comments.keeper = Boolean(claims.key);
  $("key-form").hidden = comments.keeper;
  $("keeper").hidden = !comments.keeper;
  room = new Room(`${base}/rooms/lounge/${here}`, {
    claims,
    anew(facts) {
      comments.clear();
      likes = slow = 0;
      for (const [key, value] of facts) fact(key, value);
      comments.stays = true;
    },
    changed: fact,
    moment() { comments.settle(); show(); },
    line(line, text) {
      if (line === "out" && claims.key) {        // a wrong key: in again as everybody
        keepKey(here, "");
        said($("order-fault"), text);
        enter();
      } else state(line, text);
    },
    note({ count: people }) { $("present").textContent = `${count.format(people)} here`; },
  });
}

function fact([kind, which], value) {
  if (kind === "comment") comments.set(which, value);
  else if (kind === "likes") likes = value;
  else if (kind === "slow") slow = value;
  else if (kind === "title") $("title").textContent = value;
  else if (kind === "muted") {
    if (value) comments.muted.add(which); else comments.muted.delete(which);
    muted();
  }
}

function show() {
  $("likes").textContent = count.format(likes + pressed);
  $("like").setAttribute("aria-label", `Like, ${count.format(likes + pressed)} so far`);
  said($("slow-said"), slow ? `Slow: one comment every ${slow} s.` : "");
}

// --- saying something

$("name").value = knownName();
$("say").onsubmit = async (event) => {
  event.preventDefault();
  const text = $("text").value, name = $("name").value;
  said($("fault"), "");
  $("text").value = "";
  try {
    await room.call("lounge_comment", { name, text });
    keepName(name);
  } catch (reason) {
    if (!(reason instanceof Fault)) throw reason;
    said($("fault"), sentence(reason.message));
    if (!$("text").value) $("text").value = text;      // nothing that somebody wrote is lost
  }
};
const sentence = (text) => text && `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

// --- likes: shown at once, handed in together, exact when they are answered

$("like").onclick = () => {
  pressed++;
  show();
  gathering ||= setTimeout(hand, GATHER);
};

async function hand() {
  gathering = 0;
  const times = Math.min(pressed - hand.under, MOST);
  if (times <= 0) return;
  hand.under += times;
  if (pressed > hand.under) gathering = setTimeout(hand, GATHER);
  const before = likes;
  try {
    await room.call("lounge_like", { times });
    if (likes === before) likes += times;          // the frame comes with the next tick, and says what is so
  } catch (reason) {
    if (!(reason instanceof Fault)) throw reason;
    if (reason.said.retry === "later") { hand.under -= times; gathering ||= setTimeout(hand, 10 * GATHER); return; }
    said($("fault"), sentence(reason.message));
  }
  hand.under -= times;
  pressed -= times;
  show();
}
hand.under = 0;

// --- keeping order

async function order(call, inputs, done) {
  said($("order-fault"), "");
  try {
    const answer = await room.call(call, inputs);
    $("order-said").textContent = done;
    return answer;
  } catch (reason) {
    if (!(reason instanceof Fault)) throw reason;
    said($("order-fault"), sentence(reason.message));
    return undefined;
  }
}

function mute(whom, on) {
  return order(on ? "lounge_mute" : "lounge_unmute", { whom }, on ? "Muted." : "May speak again.");
}

function muted() {
  $("muted").replaceChildren(...[...comments.muted].map((whom) => {
    const row = document.createElement("li"), name = comments.nameOf(whom);
    row.append(name, " ", comments.button("Unmute", `Unmute ${name}`, () => mute(whom, false)));
    return row;
  }));
  $("no-muted").hidden = comments.muted.size > 0;
  comments.again();
}

$("key-form").onsubmit = (event) => {
  event.preventDefault();
  said($("order-fault"), "");
  keepKey(here, $("key").value.trim());
  enter();
};
$("slow-form").onsubmit = (event) => {
  event.preventDefault();
  order("lounge_slow_down", { seconds: Number($("slow").value) }, "Set.");
};
$("words-form").onsubmit = async (event) => {
  event.preventDefault();
  const words = await order("lounge_filter_words", { words: $("words").value.split(",").map((one) => one.trim()).filter(Boolean) }, "Set.");
  if (words) $("words").value = words.join(", ");
};

// --- mentions of me

const notes = new Map();
let read = 0, next = 0;

const inbox = new Room(`${base}/rooms/lounge-notes/${me}`, {
  claims: { secret: secret() },
  anew(facts) { notes.clear(); read = next = 0; for (const [key, value] of facts) note(key, value); },
  changed: note,
  moment: mentions,
  line() {},
});

function note([kind, number], value) {
  if (kind === "read") read = value;
  else if (kind === "next") next = value;
  else if (value === undefined) notes.delete(number);
  else notes.set(number, value);
}

function mentions() {
  const unread = [...notes.keys()].filter((number) => number >= read).length;
  $("unread").hidden = !unread;
  $("unread").textContent = unread;
  $("notes-menu").firstElementChild.setAttribute("aria-label", unread ? `Notifications, ${unread} new` : "Notifications");
  $("no-notes").hidden = notes.size > 0;
  $("notes").replaceChildren(...[...notes].sort(([a], [b]) => b - a).map(([, [where, comment, name, text]]) => {
    const row = document.createElement("li"), link = document.createElement("a"), words = document.createElement("p");
    link.href = `${base}/lounge/${where}#c${comment}`;
    link.textContent = name;
    words.textContent = text;
    row.append(link, ` in ${where}`, words);
    return row;
  }));
}

$("notes-menu").ontoggle = () => {
  if ($("notes-menu").open && next > read) inbox.call("lounge_read_notes", { before: next }).catch(() => {});
};
document.addEventListener("keydown", ({ key: pressedKey }) => {
  if (pressedKey === "Escape") for (const menu of document.querySelectorAll(".menu[open]")) { menu.open = false; menu.firstElementChild.focus(); }
});
for (const menu of document.querySelectorAll(".menu")) {
  menu.addEventListener("toggle", () => { if (menu.open) for (const other of document.querySelectorAll(".menu[open]")) if (other !== menu) other.open = false; });
}

enter();
