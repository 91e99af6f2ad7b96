// A build as it runs: its steps, and its log, which stays at the end unless somebody scrolled up.
const { id, base, build } = JSON.parse(document.getElementById("data").textContent);
const [state, steps, message, log] = ["state", "steps", "message", "log"].map((name) => document.getElementById(name));
const words = {
  resolving: "Finding out what it depends on", building: "Building", done: "Done", failed: "Failed",
  unchanged: "Nothing it depends on has changed",
};
// Characters kept on the page; the whole log is kept by the node.
const LOG_LENGTH_MAX = 2_000_000;
let spoke = -1;

function show(record) {
  const seconds = record.ended_ns ? `, ${((record.ended_ns - record.began_ns) / 1e9).toFixed(1)} s` : "";
  const number = record.number ? `: version ${record.number}` : "";
  state.textContent = `${words[record.state] ?? record.state}${number}${seconds}`;
  steps.hidden = record.steps.length === 0;
  steps.replaceChildren(...record.steps.map((step) => {
    const row = document.createElement("li");
    const [kind, title, said, dot] = ["span", "span", "span", "span"].map((name) => document.createElement(name));
    dot.className = `dot ${step.state}`;
    kind.className = "kind";
    kind.append(dot, step.kind);
    title.textContent = step.title;
    said.className = "quiet";
    said.textContent = step.state === "built" ? `${(step.ns / 1e9).toFixed(1)} s` : step.state;
    row.append(kind, title, said);
    return row;
  }));
  message.hidden = !record.message;
  message.textContent = record.message;
}

function say(step, text) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  if (spoke !== step) log.append(`${spoke < 0 ? "" : "\n"}── step ${step + 1} ──\n`);
  spoke = step;
  log.append(text);
  if (log.textContent.length > LOG_LENGTH_MAX) log.textContent = log.textContent.slice(-LOG_LENGTH_MAX / 2);
  if (atEnd) log.scrollTop = log.scrollHeight;
}

show(build);
const source = new EventSource(`${base}/images/builds/${id}/events`);
source.addEventListener("open", () => { log.textContent = ""; spoke = -1; }); // a stream tells everything from the start
source.addEventListener("build", (event) => show(JSON.parse(event.data)));
source.addEventListener("log", (event) => { const { step, text } = JSON.parse(event.data); say(step, text); });
source.addEventListener("end", () => source.close());
source.addEventListener("gone", () => source.close());
