// The same as the heatmap, as a table: for screen readers, and for whoever wants to copy figures.

import { stateOf } from "./interval.js";
import * as format from "./format.js";

const ROWS = 120;

export function fillTable(body, model, unit) {
  const rows = model.inOrder().slice(-ROWS).reverse().map(([start, column]) => {
    const row = document.createElement("tr"), known = column?.quantiles ?? [null, null, null];
    const cells = [
      format.clock(start), stateOf(column), column ? format.count(column.count) : "–", ...known.map((one) => format.value(one, unit)),
      column?.count ? format.value(column.max, unit) : "–", column ? format.count(column.lost) : "–",
    ];
    cells.forEach((text, k) => {
      const cell = document.createElement(k ? "td" : "th");
      if (!k) cell.scope = "row";
      cell.textContent = text;
      row.append(cell);
    });
    return row;
  });
  body.replaceChildren(...rows);
}
