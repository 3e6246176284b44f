// The page of one job: how it stands, what it was given, what came of it, and its history, live.

import { Pace, Problem, call, follow, get, jobPath, post } from "./api.js";
import {
  badge, button, bytes, draw, file, h, json, meter, seconds, sure, table, time, words,
} from "./dom.js";

const GATHER_MS = 150;
const FLUSH_MS = 50;
const AGAIN_MS = 1000;
const ENDED_MS = 10_000;
const LINES_MAX = 1000;

const lasted = (from, to) => (from && to ? seconds((new Date(to) - new Date(from)) / 1000) : null);

function facts(pairs) {
  return h("dl", {}, pairs.filter(([, value]) => value !== null)
    .map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function factsOf(job) {
  return facts([
    ["queue", job.queue], ["attempt", `${job.attempt} of ${job.max_attempts}`],
    ["priority", job.priority ? String(job.priority) : null],
    ["tags", job.tags.length ? job.tags.join(", ") : null],
    ["jobs ahead", job.position === null ? null : String(job.position)],
    ["submitted", time(job.submitted_at)],
    ["runs at", job.status === "scheduled" ? time(job.run_at) : null],
    ["started", job.started_at ? time(job.started_at) : null],
    ["finished", job.finished_at ? time(job.finished_at) : null],
    ["took", lasted(job.started_at, job.finished_at)],
    ["should end", job.estimated_finish_at ? time(job.estimated_finish_at) : null],
    ["asked to stop", job.cancel_requested_at && !job.done ? time(job.cancel_requested_at) : null],
  ]);
}

const part = (title, ...content) => h("section", {}, h("h2", {}, title), ...content);

function errorOf(error) {
  return part("Error",
    h("p", { class: "error" }, h("strong", {}, error.type), `: ${error.message}`),
    error.hint ? h("p", {}, error.hint) : null,
    error.traceback ? h("details", {}, h("summary", {}, "traceback"),
      h("pre", { tabindex: "0" }, error.traceback)) : null);
}

function filesOf(job, shell) {
  const rows = job.artifacts.map(({ name, size, media_type: kind }) => h("li", {},
    // A page may not fetch from a bucket, so the server reads it for us.
    file(jobPath(job.id, `/artifacts/${encodeURIComponent(name)}?redirect=no`), name, shell.tell),
    h("span", { class: "soft" }, ` ${bytes(size)} · ${kind}`)));
  return part("Files", h("ul", { class: "files" }, rows));
}

// What an event says, in a line.
function gist({ type, data }) {
  const { at, error, ...rest } = data;
  if (type === "progress") return words(rest);
  if (type === "log") return rest.message;
  if (type === "artifact") return `${rest.name} · ${bytes(rest.size)}`;
  const said = Object.entries(rest).map(([name, value]) =>
    `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`);
  if (error) said.push(`${error.type}: ${error.message}`);
  return said.join(" · ");
}

function timeline() {
  const list = h("ol", { class: "events", tabindex: "0", "aria-label": "events" });
  const cut = h("p", { class: "soft", hidden: true }, `Only the last ${LINES_MAX} are shown.`);
  let waiting = [];
  let drawing = null;

  const line = (event) => h("li", { class: event.type },
    h("span", { class: "n" }, String(event.seq)), time(event.data.at),
    h("span", { class: "kind" }, event.type), h("span", {}, gist(event)));
  function flush() {
    drawing = null;
    const below = list.scrollHeight - list.scrollTop - list.clientHeight;
    list.append(...waiting.map(line));
    waiting = [];
    while (list.children.length > LINES_MAX) list.firstChild.remove();
    if (below < 20) list.scrollTop = list.scrollHeight; // whoever scrolled up stays there
  }
  return {
    node: part("Events", cut, list),
    add(event) {
      waiting.push(event);
      if (waiting.length > LINES_MAX) waiting.shift();
      cut.hidden = event.seq <= LINES_MAX;
      drawing ??= setTimeout(flush, FLUSH_MS);
    },
  };
}

function actionsOf(job, shell, pace) {
  const act = (method, tail) => async () => {
    await call(method, jobPath(job.id, tail));
    pace.now();
  };
  const actions = [];
  if (!job.done) {
    actions.push(button("Cancel", async () => {
      if (await sure(`Stop ${job.task}?`, "Stop it")) await act("POST", "/cancel")();
    }, { kind: "bad", tell: shell.tell }));
  }
  if (["failed", "cancelled"].includes(job.status)) {
    actions.push(button("Run again", act("POST", "/retry"), { kind: "main", tell: shell.tell }));
  }
  if (job.status === "failed") {
    actions.push(button("Discard", async () => {
      if (!await sure("Take it off the dead letters? The job stays.", "Discard")) return;
      await post("v1/dead-letters/discard", { ids: [job.id] });
      pace.now();
    }, { tell: shell.tell }));
  }
  return actions;
}

function page(main, shell, pace) {
  const head = h("div");
  const given = h("div");
  const outcome = h("div");
  const attempts = table("Attempts", [
    ["run", "n"], ["attempt", "n"], ["began", "n"], ["took", "n"], ["outcome"], ["error", "wide"],
  ]);
  const events = timeline();
  const two = h("div", { class: "two" }, given, outcome);
  main.replaceChildren(head, two, attempts.node, events.node);
  return {
    event: events.add,
    show(job, tries) {
      document.title = `${job.task} ${job.status}`;
      const moving = job.progress && !job.done;
      draw(head,
        h("nav", { "aria-label": "where you are" }, h("a", { href: "#/" }, "← All jobs")),
        h("div", { class: "bar title" }, h("h2", {}, job.task), badge(job.status),
          actionsOf(job, shell, pace)),
        h("p", { class: "soft id" }, job.id),
        factsOf(job),
        moving ? h("p", { class: "meter big" }, meter(job.progress), words(job.progress)) : null);
      draw(given, part("Arguments", json(job.args)));
      draw(outcome,
        job.error && job.status !== "completed" ? errorOf(job.error) : null,
        job.status === "completed" ? part("Result", json(job.result)) : null,
        job.artifacts.length ? filesOf(job, shell) : null);
      attempts.fill(tries, (one) => String(one.token), (one) => [
        String(one.run), String(one.attempt), time(one.started_at),
        lasted(one.started_at, one.ended_at), one.outcome ?? "running",
        one.error ? h("span", { class: "cut" }, `${one.error.type}: ${one.error.message}`) : "",
      ]);
    },
  };
}

export async function job(main, signal, shell, id) {
  const pace = new Pace();
  let after = 0;
  let shown = null;
  let done = false;
  let soon = null;

  async function look() {
    const [now, tries] = await Promise.all([
      get(jobPath(id), signal), get(jobPath(id, "/attempts"), signal)]);
    shown ??= page(main, shell, pace);
    shown.show(now, tries.attempts);
    done = now.done;
    shell.live(done);
  }
  // Many events in a row are one look.
  function lookSoon() {
    soon ??= setTimeout(() => {
      soon = null;
      if (!signal.aborted) look().catch((error) => { if (!signal.aborted) shell.lost(error); });
    }, GATHER_MS);
  }

  while (!signal.aborted) {
    try {
      await look();
      await follow(id, after, signal, (event) => {
        after = event.seq;
        shown.event(event);
        lookSoon();
      });
      await look();
    } catch (error) {
      if (signal.aborted || (error instanceof Problem && error.status < 500)) throw error;
      shell.lost(error);
    }
    // An ended job can be run again, here or elsewhere: then its history goes on.
    await pace.wait(done ? ENDED_MS : AGAIN_MS, signal);
  }
}
