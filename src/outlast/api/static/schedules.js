// The section of schedules: when they tick, by the clock of their zone, and what a person may do.

import { call, post } from "./api.js";
import { badge, button, h, sure, table, time } from "./dom.js";

const path = (name, tenant, verb = "") => {
  const whose = tenant ? `?tenant=${encodeURIComponent(tenant)}` : "";
  return `v1/schedules/${encodeURIComponent(name)}${verb}${whose}`;
};

const when = ({ cron, every, zone }) => {
  if (every === undefined) return `${cron} ${zone ?? "UTC"}`;
  return `every ${typeof every === "number" ? `${every} s` : every}`;
};

// By the clock of the schedule's zone, which need not be the reader's.
function inZone(at, zone) {
  if (!at) return "–";
  const style = { dateStyle: "medium", timeStyle: "long", timeZone: zone ?? "UTC" };
  return h("time", { datetime: at, title: at }, new Date(at).toLocaleString(undefined, style));
}

function state({ paused, error, edited }) {
  if (error) return h("span", { class: "error cut", title: error.message }, error.message);
  if (paused) return badge("paused");
  return edited ? "edited" : "on";
}

export function schedulesTable(shell, pace) {
  const shown = table("Schedules", [
    ["name"], ["task"], ["when"], ["next"], ["last", "n"], ["state", "wide"], ["", "act"],
  ]);
  const act = (label, title, work) => button(label, async () => {
    await work();
    pace.now();
  }, { tell: shell.tell, title });

  function actions({ name, tenant, paused }) {
    const verb = paused ? "resume" : "pause";
    return h("span", { class: "bar" },
      act("Run now", "submit its job now, beside its ticks", () =>
        post(path(name, tenant, "/trigger"))),
      act(paused ? "Resume" : "Pause", paused ? "let it tick again" : "let it tick no more", () =>
        post(path(name, tenant, `/${verb}`))),
      act("Remove", "forget this schedule", async () => {
        const question = `Remove the schedule ${name}? One of the code comes back with a worker.`;
        if (await sure(question, "Remove")) await call("DELETE", path(name, tenant));
      }));
  }
  return {
    node: shown.node,
    fill(schedules) {
      shown.node.hidden = !schedules.length;
      shown.fill(schedules, ({ name, tenant }) => `${tenant ?? ""}/${name}`, (schedule) => [
        schedule.name,
        schedule.spec.task, when(schedule.spec), inZone(schedule.next_at, schedule.spec.zone),
        schedule.last_at
          ? h("a", { href: `#/jobs/${schedule.last_job_id}` }, time(schedule.last_at))
          : "–",
        state(schedule), actions(schedule),
      ]);
    },
  };
}
