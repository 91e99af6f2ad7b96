// What the pages of the monitor share: elements, words for times, sparklines, the live line, asking before an order.

export const base = document.documentElement.dataset.base;
export const given = () => JSON.parse(document.getElementById("data").textContent);
export const $ = (id) => document.getElementById(id);

// In the order in which somebody should look at them.
export const STATES = ["critical", "unknown", "warning", "pending", "ok"];
const WORDS = ["ok", "warning", "critical", "unknown"];

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

// Replaces what is in `parent` only where it differs, so that a focused button stays focused.
export function fill(parent, ...children) {
  const next = el("div", {}, ...children);
  if (next.innerHTML !== parent.innerHTML) parent.replaceChildren(...next.childNodes);
}

export const count = (amount) => amount.toLocaleString("en");
export const plural = (amount, word) => `${count(amount)} ${word}${amount === 1 ? "" : "s"}`;

export function span(seconds) {
  if (seconds < 1) return "now";
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}
export const ms = (value) => value === null ? "–" : value < 10 ? `${value.toFixed(1)} ms` : value < 10000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`;

const moment = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
export const time = (ns) => moment.format(ns / 1e6);
export const ago = (ns) => ns ? span(Math.max(0, Date.now() - ns / 1e6) / 1000) : "–";
export const link = (path, text, attributes = {}) => el("a", { href: `${base}${path}`, ...attributes }, text);
export const checkLink = (name) => link(`/monitor/check/${encodeURIComponent(name)}`, name);
export const pill = (word, more = "") => el("span", { class: "pill", "data-is": word }, word, more);

// Each result is a stroke: as high as it took long (by its root, so that small ones show), in the colour of its state.
export function spark(recent, width = 160, height = 18, most = 40) {
  const space = "http://www.w3.org/2000/svg";
  const made = document.createElementNS(space, "svg");
  for (const [name, value] of Object.entries({ class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", preserveAspectRatio: "none" })) made.setAttribute(name, value);
  const last = recent.slice(-most), slowest = Math.max(1, ...last.map(([, took]) => took)), step = width / most;
  const bad = last.filter(([state]) => state).length;
  made.setAttribute("aria-label", last.length ? `${bad} of the last ${last.length} results were not ok; the slowest took ${ms(slowest)}` : "no result yet");
  const paths = {};
  last.forEach(([state, took], place) => {
    const x = (width - (last.length - place - .5) * step).toFixed(1);
    const high = state ? height - 1 : Math.max(2, (height - 1) * Math.sqrt(took / slowest));
    paths[WORDS[state]] = (paths[WORDS[state]] ?? "") + `M${x} ${height}V${(height - high).toFixed(1)}`;
  });
  for (const [word, path] of Object.entries(paths)) {
    const line = document.createElementNS(space, "path");
    for (const [name, value] of Object.entries({ d: path, "data-is": word, "stroke-width": (step * .7).toFixed(1) })) line.setAttribute(name, value);
    made.append(line);
  }
  return made;
}

// The stream: the browser itself comes back after a break; where it gave up, this does.
export function live(query, heard) {
  const state = (word, text) => { $("line").dataset.state = word; $("line-text").textContent = text; };
  const source = new EventSource(`${base}/monitor/events${query}`);
  source.onopen = () => state("live", "Live");
  source.onmessage = (event) => heard(JSON.parse(event.data));
  source.onerror = () => {
    state("away", "Reconnecting…");
    if (source.readyState === EventSource.CLOSED) setTimeout(() => live(query, heard), 2000);
  };
  addEventListener("pagehide", () => source.close(), { once: true });
}

export async function order(path, values) {
  const reply = await fetch(base + path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(values) });
  const told = await reply.json();
  if (!reply.ok) throw new Error(told.message);
  return told;
}

// Who is asked for every order, because it stands in the timeline; `fields` are [name, label, attributes].
export function ask(title, path, word, fields, values = {}) {
  const who = el("input", { name: "who", required: true, maxlength: "100", autocomplete: "username", placeholder: "your name" });
  who.value = localStorage.getItem("monitor.who") ?? "";
  const inputs = fields.map(([name, label, attributes]) => [name, label, el("input", { name, autocomplete: "off", ...attributes })]);
  const fault = el("p", { class: "fault", role: "alert" });
  const form = el("form", { method: "dialog" },
    el("h2", {}, title), el("label", {}, "Who", who), ...inputs.map(([, label, input]) => el("label", {}, label, input)), fault,
    el("div", { class: "actions" },
      el("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel"),
      el("button", { type: "submit", class: "button first" }, word)));
  const dialog = el("dialog", { class: "ask", "aria-label": title }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      localStorage.setItem("monitor.who", who.value);
      const said = Object.fromEntries(inputs.map(([name, , input]) => [name, input.type === "number" ? Number(input.value) : input.value]));
      await order(path, { ...values, ...said, who: who.value });
      dialog.close();
    } catch (error) {
      fault.textContent = error.message;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  (who.value && inputs.length ? inputs[0][2] : who).focus();
}

const NOTE = ["note", "Note", { maxlength: "300", placeholder: "for whoever reads the timeline" }];
export const acknowledge = (number) => ask(`Acknowledge incident ${number}`, `/monitor/incidents/${number}/acknowledge`, "Acknowledge", [NOTE]);
export const resolve = (number) => ask(`Resolve incident ${number}`, `/monitor/incidents/${number}/resolve`, "Resolve", [NOTE]);
export const maintain = (checks) => ask("Maintenance", "/monitor/silences", "Begin", [
  ["checks", "Checks (a name, or a pattern with *; what needs them is meant, too)", { required: true, value: checks, pattern: "[A-Za-z0-9*?._\\-]{1,64}" }],
  ["minutes", "Minutes", { type: "number", min: "1", max: "10080", value: "60", required: true }],
  ["why", "Why", { required: true, maxlength: "300", placeholder: "what is done meanwhile" }],
]);
export const endWindow = (id, checks) => ask(`End the maintenance of ${checks}`, `/monitor/silences/${id}/end`, "End it", []);

// Buttons with data-act, wherever they stand below `parent`.
export function acts(parent) {
  parent.addEventListener("click", (event) => {
    const found = event.target.closest("[data-act]");
    if (!found) return;
    const { act, number, checks, id } = found.dataset;
    ({ acknowledge: () => acknowledge(number), resolve: () => resolve(number), maintain: () => maintain(checks), end: () => endWindow(id, checks) })[act]?.();
  });
}

const button = (act, word, number) => el("button", { type: "button", class: "button", "data-act": act, "data-number": number }, word);
export const steering = (incident) => incident.state === "open" ? [button("acknowledge", "Acknowledge", incident.number), button("resolve", "Resolve", incident.number)]
  : incident.state === "acknowledged" ? [button("resolve", "Resolve", incident.number)] : [];
