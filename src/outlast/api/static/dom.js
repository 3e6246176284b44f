// Making and updating nodes. Every value is set as text or as an attribute, never as markup.

import { hasKey, save, urlOf } from "./api.js";

export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      node.setAttribute(name, value);
    }
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const focusable = (node) => [...node.querySelectorAll("a[href], button, input, select, summary")];

// Brings a node's children up to date: what is the same stays the same node, so that neither a
// click, nor a selection, nor the keyboard's focus is lost to a redraw.
export function draw(node, ...wanted) {
  const children = wanted.flat().filter((child) => child !== null);
  const focused = focusable(node).indexOf(document.activeElement);
  children.forEach((child, i) => {
    const old = node.children[i];
    if (!old) {
      node.append(child);
      return;
    }
    const open = [...old.querySelectorAll("details")].map((details) => details.open);
    child.querySelectorAll("details").forEach((details, n) => { details.open = open[n] ?? false; });
    if (!old.isEqualNode(child)) old.replaceWith(child);
  });
  while (node.children.length > children.length) node.lastChild.remove();
  if (focused >= 0 && !node.contains(document.activeElement)) {
    focusable(node)[focused]?.focus({ preventScroll: true });
  }
}

// A section with a title and a table, whose rows stay the same nodes as long as their key is there.
export function table(title, heads, { extra = null, empty = "none" } = {}) {
  const id = `section-${title.toLowerCase().replaceAll(" ", "-")}`;
  const body = h("tbody");
  const names = heads.map(([name, kind]) =>
    h("th", { scope: "col", class: kind }, name || h("span", { class: "unseen" }, "actions")));
  const node = h("section", { "aria-labelledby": id },
    h("div", { class: "bar" }, h("h2", { id }, title), extra),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-labelledby": id },
      h("table", {}, h("thead", {}, h("tr", {}, names)), body)));
  const nothing = h("tr", {}, h("td", { colspan: heads.length, class: "soft" }, empty));

  function fill(items, key, cells) {
    const old = new Map([...body.children].map((row) => [row.dataset.key, row]));
    const rows = items.map((item) => {
      const row = old.get(key(item)) ?? h("tr", { "data-key": key(item) });
      draw(row, cells(item).map((cell, i) => h("td", { class: heads[i][1] }, cell ?? "–")));
      return row;
    });
    const wanted = rows.length ? rows : [nothing];
    const same = wanted.length === body.children.length
      && wanted.every((row, i) => row === body.children[i]);
    if (same) return;
    const active = document.activeElement;
    body.replaceChildren(...wanted);
    if (body.contains(active)) active.focus({ preventScroll: true });
  }
  return { node, fill };
}

// A button that can't be pressed twice; what goes wrong is told, not lost.
export function button(label, act, { kind = "", title = null, tell }) {
  const node = h("button", { type: "button", class: kind, title }, label);
  node.addEventListener("click", async () => {
    // A disabled button would lose the keyboard's focus.
    if (node.ariaBusy === "true") return;
    node.ariaBusy = "true";
    try {
      await act();
    } catch (error) {
      tell(error);
    } finally {
      node.ariaBusy = null;
    }
  });
  return node;
}

// A file to download: a plain link, or a button where a link could not carry the key.
export function file(path, name, tell) {
  if (!hasKey()) return h("a", { href: urlOf(path), download: true }, name);
  const act = () => save(path, name.split("/").pop());
  return button(name, act, { kind: "link", tell });
}

// Asks before something that can't be taken back; Escape means no.
export function sure(question, yes) {
  return new Promise((answer) => {
    const dialog = h("dialog", { "aria-label": question });
    const end = (said) => () => dialog.close(said);
    dialog.append(h("p", {}, question), h("div", { class: "bar" },
      h("button", { type: "button", click: end("") }, "No"),
      h("button", { type: "button", class: "bad", click: end("yes") }, yes)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      answer(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export const badge = (status) => h("span", { class: `badge ${status}` }, status);

export const json = (value) => h("pre", { tabindex: "0" }, JSON.stringify(value, null, 2));

export function time(text) {
  if (!text) return "–";
  const at = new Date(text);
  const today = at.toDateString() === new Date().toDateString();
  const shown = today ? at.toLocaleTimeString() : at.toLocaleString();
  return h("time", { datetime: text, title: text }, shown);
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 100) return `${value.toFixed(1)} s`;
  if (value < 6000) return `${Math.round(value / 60)} min`;
  return `${(value / 3600).toFixed(1)} h`;
}

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let n = 0;
  while (value >= 1000 && n < units.length - 1) {
    value /= 1000;
    n += 1;
  }
  return `${n ? value.toFixed(1) : value} ${units[n]}`;
}

// What a progress says in words: `40/120 · 33 % · rendering · 2.5/s · 32 s left`.
export function words(progress) {
  const { done, total, percent, message, rate, eta } = progress;
  return [
    total ? `${done}/${total}` : done,
    percent === null || percent === undefined ? null : `${Math.round(percent)} %`,
    message,
    rate ? `${rate}/s` : null,
    eta ? `${seconds(eta)} left` : null,
  ].filter((part) => part !== null && part !== undefined && part !== "").join(" · ");
}

export function meter(progress) {
  const { percent, message } = progress;
  const known = percent !== null && percent !== undefined;
  const value = known ? percent : null;
  return h("progress", { max: 100, value, "aria-label": message || "progress" });
}
