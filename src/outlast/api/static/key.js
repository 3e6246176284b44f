// Asking for the API key.

import { hasKey, setKey } from "./api.js";
import { h } from "./dom.js";

export function askKey(main, error, then) {
  const input = h("input", {
    id: "key", type: "password", autocomplete: "off", required: true, pattern: "\\s*[!-~]+\\s*",
    title: "an API key has letters, digits and signs, no spaces", "aria-describedby": "why",
  });
  const form = h("form", { class: "ask" },
    h("h2", {}, "API key"),
    h("p", { id: "why" }, hasKey() ? error.message : "This server wants an API key."),
    h("div", { class: "bar" },
      h("label", { for: "key", class: "unseen" }, "API key"), input,
      h("button", { type: "submit", class: "main" }, "Open")),
    h("p", { class: "soft" }, "It is kept until this tab is closed. ",
      h("code", {}, "outlast keys create --scopes read,submit,operate"), " makes one."));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    setKey(input.value.trim());
    then();
  });
  main.replaceChildren(form);
  input.focus();
}
