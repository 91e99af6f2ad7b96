// One rollout: how far it is, what happened, and its hosts in the order in which they went.

import { $, base, el, fill, given, link, live, pill, rolloutCard, steer, time } from "./parts.js";

let rollout = given();
const HOSTS_SHOWN = 300;
const card = el("section", { class: "card", "aria-label": "Rollout" });
const events = el("section", { class: "card history" });
const hosts = el("section", { class: "card" });
$("body").append(el("div", { class: "column" }, card, hosts), el("div", { class: "column" }, events));
$("title").textContent = $("crumb").textContent = `Rollout ${rollout.number}`;
$("up").href = `${base}/fleet`;
steer(card, () => rollout);

function show() {
  fill($("says"), `${rollout.why} — ${rollout.who}`);
  fill(card, ...rolloutCard(rollout, false));
  fill(events, el("h2", {}, "What happened"), el("ol", {}, ...[...rollout.events].reverse().map((event) => el("li", {}, el("b", {}, event.what), el("span", {}, event.why), el("small", { class: "quiet" }, `${event.who}, ${time(event.at_ns)}`)))));
  fill(hosts, el("h2", {}, "Hosts, in the order in which they went"), el("ul", { class: "hosts" }, ...rollout.hosts.slice(0, HOSTS_SHOWN).map(([host, word]) => el("li", {}, link(`/fleet/host/${encodeURIComponent(host)}`, host), pill(word)))),
    rollout.hosts.length > HOSTS_SHOWN ? el("p", { class: "quiet" }, `and ${rollout.hosts.length - HOSTS_SHOWN} more`) : null);
}

show();
live(`?rollout=${rollout.number}`, (told) => { rollout = told.rollout; show(); });
