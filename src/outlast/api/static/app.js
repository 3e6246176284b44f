"use strict";
// Everything comes from the public API, and everything is set as text, never as markup.
const cell = (value, kind) => {
  const td = document.createElement("td");
  if (value instanceof Node) td.append(value); else td.textContent = value ?? "–";
  if (kind) td.className = kind;
  return td;
};
const fill = (id, heads, rows, empty) => {
  const table = document.getElementById(id);
  const head = document.createElement("tr");
  for (const name of heads) { const th = document.createElement("th"); th.textContent = name; head.append(th); }
  const body = rows.map((cells) => { const tr = document.createElement("tr"); tr.append(...cells); return tr; });
  if (!body.length) { const tr = document.createElement("tr"); tr.append(cell(empty)); body.push(tr); }
  table.replaceChildren(head, ...body);
};
const bar = (job) => {
  if (!job.progress || job.done) return job.progress?.message ?? "";
  const span = document.createElement("span");
  const meter = document.createElement("progress");
  if (job.progress.percent !== null) { meter.max = 100; meter.value = job.progress.percent; }
  span.append(meter, ` ${job.progress.message ?? ""}`);
  return span;
};
const seconds = (value) => value === null ? "–" : value < 1 ? `${(value * 1000).toFixed(0)} ms` : `${value.toFixed(1)} s`;
const redrive = (id) => {
  const button = document.createElement("button");
  button.textContent = "run again";
  button.onclick = () => fetch("/v1/dead-letters/redrive", {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ ids: [id] }) }).then(look);
  return button;
};
const get = (path) => fetch(path).then((answer) => { if (!answer.ok) throw new Error(answer.statusText); return answer.json(); });
async function look() {
  try {
    const [queues, jobs, dead] = await Promise.all([get("/v1/queues"), get("/v1/jobs?limit=25"), get("/v1/dead-letters?limit=10")]);
    fill("queues", ["queue", "pending", "scheduled", "running", "in /s", "out /s", "wait p95", "run p95", "workers"],
      queues.queues.map((q) => [cell(q.name), cell(q.depth.pending), cell(q.depth.scheduled), cell(q.depth.processing),
        cell(q.arrivals_per_second), cell(q.completions_per_second), cell(seconds(q.wait_seconds.p95)),
        cell(seconds(q.run_seconds.p95)), cell(q.workers)]), "no queues yet");
    fill("jobs", ["task", "status", "attempt", "progress", "submitted", "id"], jobs.jobs.map((job) => [cell(job.task),
      cell(job.status, job.status), cell(`${job.attempt}/${job.max_attempts}`), cell(bar(job)),
      cell(job.submitted_at.slice(11, 19)), cell(job.id)]), "no jobs yet");
    fill("dead", ["task", "error", "attempts", ""], dead.dead_letters.map((job) => [cell(job.task),
      cell(`${job.error?.type}: ${job.error?.message}`), cell(job.attempt), cell(redrive(job.id))]), "none: everything that could succeed did");
    document.getElementById("state").textContent = "live";
  } catch (error) {
    document.getElementById("state").textContent = `no answer: ${error.message}`;
  }
}
look();
setInterval(look, 1000);
