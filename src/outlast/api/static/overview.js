// The first page: queues, jobs, dead letters and workers, all live.

import { Pace, Problem, call, get, post, query } from "./api.js";
import { badge, button, h, meter, seconds, sure, table, time, words } from "./dom.js";
import { schedulesTable } from "./schedules.js";

const EVERY_MS = 1000;
const HIDDEN_MS = 10_000;
const STATUSES = [
  "scheduled", "pending", "processing", "waiting", "completed", "failed", "cancelled",
];
const PAGE = 25;

const number = (value) => value.toLocaleString();
const rate = (value) => (value ? value.toFixed(value < 10 ? 2 : 0) : "0");
const link = (job) => h("a", { href: `#/jobs/${job.id}` }, job.task);

function progressOf(job) {
  if (!job.progress) return "";
  if (job.done) return job.progress.message ?? "";
  return h("span", { class: "meter" }, meter(job.progress), words(job.progress));
}

const cut = (text) => h("span", { class: "cut", title: text }, text);
const errorOf = (error) => (error ? `${error.type}: ${error.message}` : "the worker was lost");

// The filters of the list of jobs; they stand in the address, so that a view can be shared.
function filters(given, changed) {
  const status = h("select", { name: "status", "aria-label": "status" },
    h("option", { value: "" }, "any status"),
    STATUSES.map((name) => {
      const selected = given.get("status") === name;
      return h("option", { value: name, selected }, name);
    }));
  const text = h("input", {
    type: "search", name: "q", placeholder: "ID, task, arguments, error", value: given.get("q"),
    "aria-label": "text in ID, task, arguments or error",
  });
  const queue = h("input", {
    type: "search", name: "queue", placeholder: "queue", "aria-label": "queue", size: "12",
    value: given.get("queue"),
  });
  const newest = h("button", { type: "button", disabled: true }, "Newest");
  const older = h("button", { type: "button", disabled: true }, "Older");
  const form = h("form", { class: "bar", role: "search" }, status, queue, text, newest, older);
  const where = { status: status.value, queue: queue.value, q: text.value, cursor: "" };
  let following = null;

  function apply() {
    const kept = { status: status.value, queue: queue.value.trim(), q: text.value.trim() };
    Object.assign(where, { ...kept, cursor: "" });
    const said = query(kept);
    history.replaceState(null, "", said ? `#/?${said}` : "#/");
    changed();
  }
  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  older.addEventListener("click", () => { where.cursor = following; changed(); });
  newest.addEventListener("click", () => { where.cursor = ""; changed(); });
  return {
    form,
    path: () => `v1/jobs?${query({ ...where, limit: PAGE })}`,
    page(next) {
      following = next;
      older.disabled = next === null;
      newest.disabled = where.cursor === "";
    },
  };
}

function queuesTable(shell, pace) {
  const shown = table("Queues", [
    ["queue"], ["pending", "n"], ["scheduled", "n"], ["running", "n"], ["in /s", "n"],
    ["out /s", "n"], ["oldest", "n"], ["wait p95", "n"], ["run p95", "n"], ["workers", "n"],
    ["", "act"],
  ], { empty: "no queues yet" });
  function pauser({ name, paused }) {
    const title = paused ? "let workers take its jobs again" : "let workers take no job of it";
    return button(paused ? "Resume" : "Pause", async () => {
      await call("PATCH", `v1/queues/${encodeURIComponent(name)}`, { paused: !paused });
      pace.now();
    }, { tell: shell.tell, title });
  }
  return {
    node: shown.node,
    fill: (queues) => shown.fill(queues, (queue) => queue.name, (queue) => [
      h("span", {}, `${queue.name} `, queue.paused ? badge("paused") : null),
      number(queue.depth.pending), number(queue.depth.scheduled), number(queue.depth.processing),
      rate(queue.arrivals_per_second), rate(queue.completions_per_second),
      seconds(queue.oldest_pending_seconds), seconds(queue.wait_seconds.p95),
      seconds(queue.run_seconds.p95), number(queue.workers),
      pauser(queue),
    ]),
  };
}

function jobsTable(form) {
  const shown = table("Jobs", [
    ["task"], ["status"], ["queue"], ["attempt", "n"], ["progress or error", "wide"],
    ["submitted", "n"], ["ID", "id"],
  ], { extra: form, empty: "no such jobs" });
  return {
    node: shown.node,
    fill: (jobs) => shown.fill(jobs, (job) => job.id, (job) => [
      link(job), badge(job.status), job.queue, `${job.attempt}/${job.max_attempts}`,
      job.status === "failed" ? cut(errorOf(job.error)) : progressOf(job),
      time(job.submitted_at), job.id,
    ]),
  };
}

function deadTables(shell, pace) {
  const errors = table("Dead letters by error", [
    ["jobs", "n"], ["task"], ["error", "wide"], ["since", "n"], ["newest", "n"], ["", "act"],
  ]);
  const letters = table("Latest dead letters", [
    ["task"], ["error", "wide"], ["attempt", "n"], ["failed", "n"], ["", "act"],
  ]);
  const act = (verb, which) => async () => {
    await post(`v1/dead-letters/${verb}`, which);
    pace.now();
  };
  const actions = (which, count, what) => h("span", { class: "bar" },
    button("Run again", act("redrive", which), { tell: shell.tell, title: `run ${what} again` }),
    button("Discard", async () => {
      const question = `Take ${what} off this list? The history stays.`;
      const yes = count > 1 ? `Discard ${count}` : "Discard";
      if (await sure(question, yes)) await act("discard", which)();
    }, { tell: shell.tell, title: `take ${what} off this list` }));
  return {
    nodes: [errors.node, letters.node],
    fill(groups, dead) {
      for (const shown of [errors, letters]) shown.node.hidden = !dead.length;
      errors.fill(groups, (group) => group.fingerprint, (group) => [
        number(group.count), group.task, cut(errorOf(group.error)),
        time(group.oldest_at), time(group.newest_at),
        actions({ fingerprint: group.fingerprint }, group.count, `all ${group.count} of these`),
      ]);
      letters.fill(dead, (job) => job.id, (job) => [
        link(job), cut(errorOf(job.error)),
        `${job.attempt}/${job.max_attempts}`, time(job.finished_at),
        actions({ ids: [job.id] }, 1, "this job"),
      ]);
    },
  };
}

function workersTable() {
  const shown = table("Workers", [
    ["host"], ["process", "n"], ["queues", "wide"], ["at once", "n"], ["running", "n"],
    ["since", "n"], ["version"],
  ], { empty: "no worker is alive: start one with outlast worker APP" });
  return {
    node: shown.node,
    fill: (workers) => shown.fill(workers, (worker) => worker.id, (worker) => [
      worker.host, String(worker.pid), worker.queues.join(", "), number(worker.concurrency),
      number(worker.processing.length), time(worker.started_at), worker.version,
    ]),
  };
}

export async function overview(main, signal, shell, given) {
  const pace = new Pace();
  const filter = filters(given, () => pace.now());
  const queues = queuesTable(shell, pace);
  const jobs = jobsTable(filter.form);
  const dead = deadTables(shell, pace);
  const schedules = schedulesTable(shell, pace);
  const workers = workersTable();
  let shown = false;

  while (!signal.aborted) {
    try {
      const [q, j, groups, letters, s, w] = await Promise.all([
        get("v1/queues", signal), get(filter.path(), signal),
        get("v1/dead-letters?group=error", signal), get("v1/dead-letters?limit=10", signal),
        get("v1/schedules", signal), get("v1/workers", signal),
      ]);
      queues.fill(q.queues);
      jobs.fill(j.jobs);
      filter.page(j.next);
      dead.fill(groups.dead_letters, letters.dead_letters);
      schedules.fill(s.schedules);
      // Its heartbeat changes all the time, and is not shown.
      workers.fill(w.workers.map(({ last_heartbeat_at, ...worker }) => worker));
      if (!shown) {
        main.replaceChildren(
          queues.node, jobs.node, ...dead.nodes, schedules.node, workers.node);
      }
      shown = true;
      shell.live();
    } catch (error) {
      const barred = error instanceof Problem && [401, 403].includes(error.status);
      if (signal.aborted || barred) throw error;
      shell.lost(error);
    }
    await pace.wait(document.hidden ? HIDDEN_MS : EVERY_MS, signal);
  }
}
