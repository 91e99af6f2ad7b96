// The newest entries, live, and what became of one receipt.

import { $, ask } from "./parts.js";
import { fill } from "./entries.js";
import * as outcome from "./outcome.js";
import { listen } from "./stream.js";

const ENTRIES = 30;

async function explain(receipt) {
  try { outcome.show($("outcome"), outcome.explanation(await ask(`/state/explain/${encodeURIComponent(receipt.trim())}`))); }
  catch (error) { outcome.show($("outcome"), outcome.refused(error.told ?? { error: "network", message: error.message, retry: "later", details: {} })); }
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  history.pushState(null, "", `?receipt=${encodeURIComponent($("receipt").value.trim())}`);
  explain($("receipt").value);
});

function here() {
  const receipt = new URLSearchParams(location.search).get("receipt");
  $("receipt").value = receipt ?? "";
  if (receipt) explain(receipt); else $("outcome").hidden = true;
}

addEventListener("popstate", here);
here();
listen((told) => {
  $("no-entries").hidden = told.recent.length > 0;
  fill($("entries"), told.recent, ENTRIES);
});
