// Who this browser is: a secret that it drew, and keeps; and the keys of rooms that it was shown.

export const base = document.documentElement.dataset.base;
export const $ = (id) => document.getElementById(id);
const session = {};

function kept(name) {
  try { return localStorage.getItem(name); } catch { return session[name] ?? null; }
}

export function keep(name, text) {
  try { localStorage.setItem(name, text); } catch { session[name] = text; }   // private mode
}

export function secret() {
  let found = kept("boxwork.lounge.secret");
  if (!/^[0-9a-f]{32}$/.test(found ?? "")) {
    found = [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");
    keep("boxwork.lounge.secret", found);
  }
  return found;
}

// The public name of the secret: as keys.py makes it.
export async function person() {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`lounge person ${secret()}`));
  return [...new Uint8Array(digest)].map((n) => n.toString(16).padStart(2, "0")).join("").slice(0, 16);
}

export const name = () => kept("boxwork.lounge.name") ?? "";
export const keepName = (text) => keep("boxwork.lounge.name", text);
export const key = (room) => kept(`boxwork.lounge.key.${room}`) ?? "";
export const keepKey = (room, text) => keep(`boxwork.lounge.key.${room}`, text);
