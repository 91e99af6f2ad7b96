// What the pages of the fleet share: elements, words for times, the live line, and asking before an order.

export const base = document.documentElement.dataset.base;
export const given = () => JSON.parse(document.getElementById("data").textContent);
export const $ = (id) => document.getElementById(id);

// In the order in which somebody should look at them.
export const CONDITIONS = ["failed", "unwell", "drifted", "away", "moving", "new", "well", "left"];

export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Replaces what is in `parent` only where it differs, so that a focused button stays focused.
export function fill(parent, ...children) {
  const next = el("div", {}, ...children);
  if (next.innerHTML !== parent.innerHTML) parent.replaceChildren(...next.childNodes);
}

export const count = (amount) => amount.toLocaleString("en");

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "never";
  if (seconds < 1) return "now";
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

const moment = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
export const time = (ns) => moment.format(ns / 1e6);
export const bytes = (size) => size < 1024 ? `${size} B` : size < 1048576 ? `${(size / 1024).toFixed(1)} KiB` : `${(size / 1048576).toFixed(1)} MiB`;
export const link = (path, text, attributes = {}) => el("a", { href: `${base}${path}`, ...attributes }, text);
export const version = (number) => number ? link(`/fleet/version/${number}`, `v${number}`) : el("span", { class: "quiet" }, "–");
export const pill = (word) => el("span", { class: "pill", "data-is": word }, word);

// The stream: the browser itself comes back after a break; where it gave up, this does.
export function live(query, heard) {
  const state = (word, text) => { $("line").dataset.state = word; $("line-text").textContent = text; };
  const source = new EventSource(`${base}/fleet/events${query}`);
  source.onopen = () => state("live", "Live");
  source.onmessage = (event) => heard(JSON.parse(event.data));
  source.onerror = () => {
    state("away", "Reconnecting…");
    if (source.readyState === EventSource.CLOSED) setTimeout(() => live(query, heard), 2000);
  };
  addEventListener("pagehide", () => source.close(), { once: true });
}

async function order(path, values) {
  const reply = await fetch(base + path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(values) });
  const told = await reply.json();
  if (!reply.ok) throw new Error(told.message);
  return told;
}

// Who and why are asked for every order: they stand in the history.
export function ask(title, path, word, values = {}) {
  const why = el("input", { name: "why", required: true, maxlength: "300", autocomplete: "off", placeholder: "the reason, for whoever reads the history" });
  const who = el("input", { name: "who", required: true, maxlength: "100", autocomplete: "username", placeholder: "your name" });
  who.value = localStorage.getItem("fleet.who") ?? "";
  const fault = el("p", { class: "fault", role: "alert" });
  const form = el("form", { method: "dialog" },
    el("h2", {}, title),
    el("label", {}, "Who", who), el("label", {}, "Why", why), fault,
    el("div", { class: "actions" },
      el("button", { type: "button", class: "button", onclick: () => dialog.close() }, "Cancel"),
      el("button", { type: "submit", class: "button first" }, word)));
  const dialog = el("dialog", { class: "ask", "aria-label": title }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      localStorage.setItem("fleet.who", who.value);
      await order(path, { ...values, who: who.value, why: why.value });
      dialog.close();
    } catch (error) {
      fault.textContent = error.message;
    }
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  (who.value ? why : who).focus();
}

const PLANS = { exponential: "exponential", linear: "linear", once: "all at once" };

// A rollout as a card: how far, which step, what it waits for, and the buttons that steer it.
export function rolloutCard(rollout, linked = true) {
  const part = (value) => `${(100 * value / Math.max(1, rollout.cohort)).toFixed(2)}%`;
  const bar = el("div", { class: "progress", "data-state": rollout.state, role: "progressbar", "aria-valuemin": "0", "aria-valuemax": rollout.cohort, "aria-valuenow": rollout.moved, "aria-label": "hosts moved" });
  const track = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  track.setAttribute("width", "100%");
  track.setAttribute("height", "14");
  const rect = (kind, x, width) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of Object.entries({ class: kind, x, y: "0", width, height: "14" })) made.setAttribute(name, value);
    track.append(made);
  };
  const well = rollout.conditions.well ?? 0;
  const bad = (rollout.conditions.failed ?? 0) + (rollout.conditions.unwell ?? 0);
  rect("moved", "0", part(rollout.moved));
  rect("well", "0", part(well));
  if (bad) rect("bad", part(well), `max(3px, ${part(bad)})`);
  for (const step of rollout.steps) if (step < rollout.cohort) rect("step", part(step), "2");
  bar.append(track);
  const to = link(`/fleet/version/${rollout.to}`, `version ${rollout.to}`);
  const name = linked ? link(`/fleet/rollout/${rollout.number}`, `Rollout ${rollout.number}`) : `Rollout ${rollout.number}`;
  const plan = rollout.plan, gate = plan.latency;
  const last = rollout.events.at(-1);
  const buttons = rollout.is_over ? [] : [
    rollout.state === "running"
      ? el("button", { type: "button", class: "button", "data-act": "pause" }, "Pause")
      : el("button", { type: "button", class: "button first", "data-act": "resume" }, "Resume"),
    el("button", { type: "button", class: "button danger", "data-act": "abort" }, "Abort"),
  ];
  return [
    el("div", { class: "head" }, el("h2", {}, name, " to ", to, rollout.only ? ` for ${rollout.only}` : ""), pill(rollout.state), el("div", { class: "actions" }, ...buttons)),
    el("p", { class: "quiet" }, `${rollout.why} — ${rollout.who}, ${time(rollout.at_ns)}`),
    bar,
    el("p", { class: "progress-text" }, el("strong", {}, `${count(rollout.moved)} of ${count(rollout.cohort)} hosts`), ` · ${count(well)} well`, bad ? ` · ${count(bad)} failed` : "",
      rollout.waiting_for ? ` · waits for ${rollout.waiting_for}` : "", rollout.is_over && last ? ` · ${last.why}` : ""),
    el("p", { class: "quiet small" }, `${PLANS[plan.kind]}, first ${(plan.first * 100).toLocaleString("en")} %, ${plan.bake_s} s of baking, at most ${plan.failures_max} failures`, gate ? `, p99 of ${gate.series} below ${gate.p99_ms} ms` : ""),
  ];
}

export function steer(card, rollout) {
  card.onclick = (event) => {
    const action = event.target.closest("[data-act]")?.dataset.act;
    if (!action) return;
    const title = { pause: "Pause the rollout", resume: "Go on with the rollout", abort: "Take the rollout back" }[action];
    ask(title, `/fleet/rollouts/${rollout().number}/${action}`, { pause: "Pause", resume: "Resume", abort: "Take it back" }[action]);
  };
}
