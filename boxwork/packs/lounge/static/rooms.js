// The list of rooms, and the form that opens one.

import { $, base, keepKey } from "./person.js";

const title = $("title"), name = $("name"), fault = $("fault");
let typed = false;                 // the address follows the title until somebody types one

$("none").hidden = $("rooms").childElementCount > 0;
title.oninput = () => {
  if (!typed) name.value = title.value.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 40);
};
name.oninput = () => { typed = name.value !== ""; };

$("open").onsubmit = async (event) => {
  event.preventDefault();
  fault.hidden = true;
  try {
    const answer = await fetch(`${base}/lounge/rooms/open`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ room: name.value, title: title.value }),
    });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.message);
    keepKey(said.room, said.key);
    $("key").textContent = said.key;
    $("enter").href = `${base}/lounge/${said.room}`;
    $("opened").showModal();
    $("enter").focus();
  } catch (reason) {
    fault.textContent = reason instanceof TypeError ? "The server does not answer." : reason.message;
    fault.hidden = false;
  }
};
