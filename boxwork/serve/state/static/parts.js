// Elements, values and keys as the pages show them.

export const base = document.documentElement.dataset.base;
export const $ = (id) => document.getElementById(id);

export function el(tag, kind = "", ...children) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
}

export function link(to, text, kind = "") {
  const made = el("a", kind, text);
  made.href = `${base}${to}`;
  return made;
}

// Long texts are cut for the eye; the whole one is the title.
const SHOWN = 400;
export function value(any) {
  const text = typeof any === "string" ? JSON.stringify(any) : JSON.stringify(any) ?? "null";
  const made = el("code", "value", text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text);
  if (text.length > SHOWN) made.title = text;
  return made;
}

// A part of a key that looks like a digest is shown by its beginning.
const short = (part) => typeof part === "string" && part.length > 34 ? `${part.slice(0, 19)}…` : part;
export function key(parts) {
  const made = el("code", "fact");
  parts.forEach((part, k) => {
    if (k) made.append(el("i", "", "·"));
    const text = typeof part === "string" ? short(part) : JSON.stringify(part);
    made.append(el("span", typeof part === "string" ? "" : "number", text));
  });
  made.title = JSON.stringify(parts);
  return made;
}

export const count = (n) => n < 10_000 ? (Number.isInteger(n) ? n : n < 10 ? Number(n.toFixed(2)) : Math.round(n)).toLocaleString("en")
  : n < 1e6 ? `${(n / 1e3).toFixed(n < 1e5 ? 1 : 0)}k` : n < 1e9 ? `${(n / 1e6).toFixed(1)}M` : `${(n / 1e9).toFixed(1)}G`;
export const bytes = (n) => n < 1000 ? `${Math.round(n)} B` : n < 1e6 ? `${(n / 1e3).toFixed(1)} kB` : `${(n / 1e6).toFixed(1)} MB`;
export const duration = (ms) => ms === 0 ? "0" : ms < 1 ? `${Math.round(ms * 1e3)} µs` : ms < 1000 ? `${ms.toFixed(ms < 10 ? 2 : 0)} ms` : `${(ms / 1000).toFixed(1)} s`;

const CLOCK = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
export const clock = (ms) => CLOCK.format(ms);

export const set = (element, text) => { if (element.textContent !== String(text)) element.textContent = text; };

export async function ask(path, options) {
  const reply = await fetch(`${base}${path}`, options);
  const told = await reply.json();
  if (!reply.ok) throw Object.assign(new Error(told.message), { told });
  return told;
}

export const short_receipt = (text) => { const [epoch, version, index, digest] = text.split("."); return `${epoch}.${version}.${index}.${digest.slice(0, 8)}…`; };

export function copying(button, text) {
  button.addEventListener("click", async () => {
    const before = button.textContent;
    try { await navigator.clipboard.writeText(text()); button.textContent = "Copied"; } catch { button.textContent = "Not allowed"; }
    setTimeout(() => { button.textContent = before; }, 1200);
  });
  return button;
}
