"use strict";
// A list made from openapi.json; everything is set as text, never as markup.
const row = (kind, texts) => {
  const tr = document.createElement("tr");
  for (const text of texts) { const cell = document.createElement(kind); cell.textContent = text; tr.append(cell); }
  return tr;
};
const state = document.getElementById("state");
fetch("/openapi.json").then((answer) => answer.json()).then((doc) => {
  const rows = Object.entries(doc.paths).flatMap(([path, calls]) => Object.entries(calls)
    .map(([method, call]) => row("td", [method.toUpperCase(), path, call.summary ?? ""])));
  document.getElementById("calls").replaceChildren(row("th", ["method", "path", "what it does"]), ...rows);
  state.textContent = `${rows.length} calls`;
}).catch((error) => { state.textContent = `no answer: ${error.message}`; });
