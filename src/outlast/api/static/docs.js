// The list of calls, made from openapi.json.

import { Problem, get } from "./api.js";
import { file, h } from "./dom.js";
import { askKey } from "./key.js";

const main = document.getElementById("main");
const state = document.getElementById("state");

const tell = (error) => { state.textContent = error.message; };

// Sets what stands between backticks as code.
const prose = (text) => text.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
const nameOf = (schema) => schema?.$ref?.split("/").pop();

// Writes a schema with its references resolved, so that nothing has to be looked up.
function whole(doc, schema, depth = 0) {
  if (schema === null || typeof schema !== "object") return schema;
  if (Array.isArray(schema)) return schema.map((item) => whole(doc, item, depth));
  if (schema.$ref) {
    if (depth > 3) return { $ref: schema.$ref };
    return whole(doc, doc.components.schemas[nameOf(schema)], depth + 1);
  }
  return Object.fromEntries(Object.entries(schema).map(([k, v]) => [k, whole(doc, v, depth)]));
}

const code = (value) => h("pre", { tabindex: "0" }, JSON.stringify(value, null, 2));

function parameters(call) {
  if (!call.parameters?.length) return null;
  return h("ul", {}, call.parameters.map((one) => h("li", {},
    h("code", {}, one.name), h("span", { class: "soft" }, ` ${one.in}`),
    one.schema?.description ? [" ", prose(one.schema.description)].flat() : null)));
}

function schemas(doc, title, content) {
  return Object.entries(content ?? {}).map(([type, { schema }]) => h("details", {},
    h("summary", {}, `${title}: `, h("code", {}, nameOf(schema) ?? type)),
    code(whole(doc, schema))));
}

function operation(doc, path, method, call) {
  const answers = Object.entries(call.responses).flatMap(([status, answer]) =>
    schemas(doc, `answer ${status}`, answer.content));
  return h("details", { class: "call" },
    h("summary", {}, h("span", { class: "method" }, method.toUpperCase()),
      h("span", { class: "path" }, path), h("span", { class: "soft" }, prose(call.summary))),
    h("div", {}, h("p", {}, prose(call.description ?? "")), parameters(call),
      schemas(doc, "body", call.requestBody?.content), answers));
}

function show(doc) {
  const groups = new Map();
  for (const [path, calls] of Object.entries(doc.paths)) {
    for (const [method, call] of Object.entries(calls)) {
      const group = call.tags?.[0] ?? "health";
      if (!groups.has(group)) groups.set(group, []);
      groups.get(group).push(operation(doc, path, method, call));
    }
  }
  main.replaceChildren(
    h("section", {}, h("p", {}, prose(doc.info.description)),
      h("p", {}, "For programs: ", file("openapi.json", "openapi.json", tell),
        ` (OpenAPI ${doc.openapi}).`)),
    ...[...groups].map(([group, calls]) => h("section", {}, h("h2", {}, group), calls)));
  const number = [...groups.values()].reduce((sum, calls) => sum + calls.length, 0);
  state.textContent = `${number} calls, version ${doc.info.version}`;
}

async function open() {
  try {
    show(await get("openapi.json"));
  } catch (error) {
    tell(error);
    if (error instanceof Problem && error.status === 401) askKey(main, error, open);
  }
}

open();
