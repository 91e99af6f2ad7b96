// Values, counts and times in words.

const short = (value) => value >= 99.95 ? value.toFixed(0) : value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
const trimmed = (text) => text.includes(".") ? text.replace(/\.?0+$/, "") : text;
const LADDERS = {
  "ns": [["ns", 1], ["µs", 1e3], ["ms", 1e6], ["s", 1e9]],
  "bytes": [["B", 1], ["KiB", 2 ** 10], ["MiB", 2 ** 20], ["GiB", 2 ** 30], ["TiB", 2 ** 40]],
  "bytes/s": [["B/s", 1], ["kB/s", 1e3], ["MB/s", 1e6], ["GB/s", 1e9]],
};
const PLAIN = [["", 1], ["k", 1e3], ["M", 1e6], ["G", 1e9]];

export function value(amount, unit = "ns", round = false) {
  if (amount === null || amount === undefined || Number.isNaN(amount)) return "–";
  if (unit === "ppm") return `${trimmed(short(Math.abs(amount) / 1e4))} %`;
  if (unit === "tasks/1000") return trimmed(short(amount / 1000));
  const size = Math.abs(amount), ladder = LADDERS[unit] ?? PLAIN;
  let [name, factor] = ladder[0];
  for (const [step, from] of ladder) if (size >= from * 0.9995) [name, factor] = [step, from];
  const text = factor === 1 && Number.isInteger(amount) ? String(size) : round ? trimmed(short(size / factor)) : short(size / factor);
  const tail = LADDERS[unit] ? ` ${name}` : `${name}${["", "ns"].includes(unit) ? "" : ` ${unit}`}`;
  return `${amount < 0 ? "−" : ""}${text}${tail}`;
}

// Whether no amount of this unit takes more than some nine letters: units that somebody named may be words.
export const isShort = (unit) => unit in LADDERS || unit === "ppm" || unit === "tasks/1000" || unit === "";

// Made once: `toLocaleString` makes one for each number, 100 µs.
const whole = new Intl.NumberFormat("en");
export const count = (amount) => amount < 10_000 ? whole.format(amount) : value(amount, "");
export const share = (part) => part === 0 ? "0 %" : part < 0.0001 ? "< 0.01 %" : `${trimmed((part * 100).toFixed(part < 0.01 ? 2 : 1))} %`;

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const seconds = new Intl.DateTimeFormat("en", CLOCK);
const minutes = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });
export const clock = (time) => seconds.format(time);
export const clockShort = (time) => minutes.format(time);
export const date = (time) => day.format(time);

// The zone of all times on a page, as `Europe/Berlin, UTC+1`.
export function zone() {
  const minutes = -new Date().getTimezoneOffset(), size = Math.abs(minutes), rest = size % 60;
  const offset = minutes ? `UTC${minutes < 0 ? "−" : "+"}${Math.floor(size / 60)}${rest ? `:${String(rest).padStart(2, "0")}` : ""}` : "UTC";
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return !name || name === "UTC" || name === offset ? offset : `${name}, ${offset}`;
}

export function span(milliseconds) {
  const s = milliseconds / 1000;
  return s < 120 ? `${trimmed(s.toFixed(1))} s` : s < 7200 ? `${trimmed((s / 60).toFixed(1))} min` : `${trimmed((s / 3600).toFixed(1))} h`;
}

// A series as people say it: what it is about, and the labels that set it apart.
export function title(name, labels) {
  const { method, route, status, box, src, dst } = labels;
  // What the title does not say becomes a tag: two series must never look the same.
  const others = (...said) => Object.entries(labels).filter(([key]) => !said.includes(key)).map(([key, text]) => ({ key, text }));
  if (name === "http" && route) return { main: `${method ?? ""} ${route}`.trim(), tags: [{ key: "status", text: status ?? "" }, ...others("method", "route", "status")] };
  if (box) return { main: box, tags: [{ key: "hop", text: name.split(".").pop() }, ...others("box")] };
  if (src && dst) return { main: `${src} → ${dst}`, tags: [...(name === "path" ? [] : [{ key: "kind", text: name.replace("path.", "") }]), ...others("src", "dst")] };
  return { main: name, tags: others() };
}

const GROUPS = [["http", "HTTP"], ["derive", "Derivations"], ["store", "Store"], ["content", "Store"], ["path", "Paths"], ["room", "Rooms"], ["commit", "Transactions"], ["state", "Transactions"]];
export const group = (name) => (GROUPS.find(([start]) => name === start || name.startsWith(`${start}.`)) ?? [, "Your own"])[1];
