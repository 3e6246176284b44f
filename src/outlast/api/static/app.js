// The shell: chooses the page by the address, asks for the key, and says how the server is.

import { Problem, forgetKey, hasKey } from "./api.js";
import { h } from "./dom.js";
import { job } from "./job.js";
import { askKey } from "./key.js";
import { overview } from "./overview.js";

const main = document.getElementById("main");
const state = document.getElementById("state");
const forget = document.getElementById("forget");
const told = document.getElementById("told");
let leave = () => {};

const shell = {
  live(ended = false) {
    state.textContent = ended ? "ended" : "live";
    state.className = ended ? "" : "good";
  },
  lost(error) {
    const known = error instanceof Problem;
    state.textContent = known ? error.message : "no answer: is the server running?";
    state.className = "bad";
  },
  tell(error) {
    if (error instanceof Problem && error.status === 401) {
      ask(error);
      return;
    }
    told.firstElementChild.textContent = error.message;
    told.hidden = false;
  },
};

function ask(error) {
  leave();
  state.textContent = "needs a key";
  state.className = "";
  askKey(main, error, route);
}

async function route() {
  leave();
  const controller = new AbortController();
  leave = () => controller.abort();
  told.hidden = true;
  forget.hidden = !hasKey();
  const [path, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [, id] = path.match(/^jobs\/([^/]+)$/) ?? [];
  document.title = "Outlast";
  try {
    if (id) await job(main, controller.signal, shell, decodeURIComponent(id));
    else await overview(main, controller.signal, shell, new URLSearchParams(search));
  } catch (error) {
    if (controller.signal.aborted) return;
    if (error instanceof Problem && error.status === 401) ask(error);
    else {
      shell.lost(error);
      const back = h("p", {}, h("a", { href: "#/" }, "All jobs"));
      main.replaceChildren(h("p", {}, error.message), back);
    }
  }
}

forget.addEventListener("click", () => {
  forgetKey();
  route();
});
told.lastElementChild.addEventListener("click", () => { told.hidden = true; });
window.addEventListener("hashchange", route);
route();
