// The playground: choose a transaction, give it inputs, preview or commit it, see what became of it.

import { $, ask, base, copying, el } from "./parts.js";
import { Form } from "./form.js";
import { asCurl, asPython, asShell } from "./code.js";
import * as outcome from "./outcome.js";

const { transactions, data: folder } = JSON.parse($("data").textContent);
const state = { box: null, code: "curl", busy: false };
const form = new Form($("fields"), () => write());
const KEPT = "boxwork.state.inputs";

const kept = () => { try { return JSON.parse(sessionStorage.getItem(KEPT) ?? "{}"); } catch { return {}; } };
function keep(name, inputs) { try { sessionStorage.setItem(KEPT, JSON.stringify({ ...kept(), [name]: inputs })); } catch { /* private mode */ } }

const rows = transactions.map((box) => {
  const row = el("a", "", el("b", "", box.name), box.summary ? el("small", "", box.summary) : null);
  row.href = `?transaction=${encodeURIComponent(box.name)}`;
  row.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
    event.preventDefault();
    history.pushState(null, "", row.href);
    open(box.name);
    document.querySelector("#fields input, #fields textarea, #fields select, #run").focus({ preventScroll: false });
  });
  $("boxes").append(el("li", "", row));
  return { box, row };
});

function open(name) {
  const box = transactions.find((one) => one.name === name);
  document.body.classList.toggle("closely", Boolean(name && box));
  state.box = box ?? transactions[0];
  for (const { box: one, row } of rows) { if (one === state.box) row.setAttribute("aria-current", "true"); else row.removeAttribute("aria-current"); }
  $("title").textContent = state.box.name;
  $("summary").textContent = state.box.summary;
  const tags = [state.box.lane || (state.box.slow || state.box.awaits ? "snapshot" : "serial"), ...(state.box.slow ? ["slow"] : []), ...(state.box.awaits ? ["awaits"] : [])];
  $("tags").replaceChildren(...tags.map((tag) => el("span", "tag", tag)));
  $("preview").disabled = state.box.awaits;
  form.open(state.box.inputs, kept()[state.box.name]);
  $("outcome").hidden = true;
  write();
}

function call() {
  return { name: state.box.name, inputs: form.values(), once: $("once").value, who: $("who").value, lane: $("lane").value };
}

function write() {
  let made;
  try { made = call(); } catch { made = { name: state.box.name, inputs: {}, once: $("once").value, who: $("who").value, lane: $("lane").value }; }
  $("code").textContent = { curl: () => asCurl(made, `${location.origin}${base}`), python: () => asPython(made, folder), shell: () => asShell(made, folder) }[state.code]();
}

async function commit(made) {
  const headers = { "content-type": "application/json" }, started = performance.now();
  if (made.once) headers["Idempotency-Key"] = made.once;
  if (made.who) headers["Boxwork-Who"] = made.who;
  try {
    const told = await ask(`/commit/${encodeURIComponent(made.name)}${made.lane ? `?lane=${made.lane}` : ""}`, { method: "POST", headers, body: JSON.stringify(made.inputs) });
    return { told, spent: performance.now() - started };
  } catch (error) {
    return { fault: error.told ?? { error: "network", message: error.message, retry: "later", details: {} }, spent: performance.now() - started };
  }
}

async function run() {
  const made = call(), times = Number($("times").value);
  keep(made.name, made.inputs);
  if (times > 1) return outcome.several(await Promise.all(Array.from({ length: times }, () => commit(made))));
  const { told, fault, spent } = await commit(made);
  if (fault) return outcome.refused(fault);
  const explained = told.index < 0 ? null : await ask(`/state/explain/${told.receipt}`).catch(() => null);
  return outcome.committed(told, explained, spent);
}

async function preview() {
  const made = call();
  keep(made.name, made.inputs);
  return outcome.previewed(await ask(`/state/preview/${encodeURIComponent(made.name)}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(made.inputs) }));
}

async function show(doing) {
  if (state.busy || !$("form").reportValidity()) return;
  state.busy = true;
  $("form").setAttribute("aria-busy", "true");
  try {
    outcome.show($("outcome"), await doing());
  } catch (error) {
    if (error.field) { error.field.setCustomValidity(error.message); error.field.reportValidity(); error.field.addEventListener("input", () => error.field.setCustomValidity(""), { once: true }); }
    else outcome.show($("outcome"), outcome.refused(error.told ?? { error: "network", message: error.message, retry: "later", details: {} }));
  } finally {
    state.busy = false;
    $("form").removeAttribute("aria-busy");
  }
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); show(run); });
$("preview").addEventListener("click", () => show(preview));
$("form").addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); show(run); } });
for (const id of ["once", "who", "lane"]) $(id).addEventListener("input", write);
for (const button of document.querySelectorAll("[data-code]")) button.addEventListener("click", () => {
  state.code = button.dataset.code;
  for (const other of document.querySelectorAll("[data-code]")) other.setAttribute("aria-pressed", String(other === button));
  write();
});
copying($("copy"), () => $("code").textContent);
$("back").addEventListener("click", () => { history.pushState(null, "", location.pathname); document.body.classList.remove("closely"); });
$("filter").addEventListener("input", () => {
  const words = $("filter").value.toLowerCase();
  for (const { box, row } of rows) row.parentElement.hidden = !`${box.name} ${box.summary}`.toLowerCase().includes(words);
});
const named = () => new URLSearchParams(location.search).get("transaction");
addEventListener("popstate", () => { if (transactions.length) open(named()); });

$("empty").hidden = transactions.length > 0;
$("view").hidden = !transactions.length;
if (transactions.length) open(named());
