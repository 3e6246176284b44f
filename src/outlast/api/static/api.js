// The public API, which is all that these pages use. The key lives in this tab's session storage
// and goes into a header: never into an address, where histories and logs would keep it.

const BASE = new URL("..", import.meta.url);
const STORE = "outlast-key";

export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const hasKey = () => sessionStorage.getItem(STORE) !== null;
export const setKey = (key) => sessionStorage.setItem(STORE, key);
export const forgetKey = () => sessionStorage.removeItem(STORE);

const headers = (more) => {
  const key = sessionStorage.getItem(STORE);
  return key === null ? more : { ...more, Authorization: `Bearer ${key}` };
};

async function problem(answer) {
  const said = await answer.json().catch(() => null);
  return new Problem(answer.status, said?.detail ?? `the server answered ${answer.status}`);
}

export async function call(method, path, body, signal) {
  const more = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await fetch(new URL(path, BASE), {
    method, signal, cache: "no-store", headers: headers(more),
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!answer.ok) throw await problem(answer);
  return answer.status === 204 ? null : answer.json();
}

export const get = (path, signal) => call("GET", path, undefined, signal);
export const post = (path, body) => call("POST", path, body);

export const query = (values) => new URLSearchParams(
  Object.entries(values).filter(([, value]) => value !== null && value !== "")).toString();

export const jobPath = (id, tail = "") => `v1/jobs/${encodeURIComponent(id)}${tail}`;

// Follows a job's events from a sequence number until the server ends the stream.
export async function follow(id, after, signal, onEvent) {
  const answer = await fetch(new URL(jobPath(id, "/events"), BASE), {
    signal, cache: "no-store",
    headers: headers({ Accept: "text/event-stream", "Last-Event-ID": String(after) }),
  });
  if (!answer.ok) throw await problem(answer);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = {};
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const colon = line.indexOf(": ");
      if (line === "" && event.data) {
        onEvent({ seq: Number(event.id), type: event.event, data: JSON.parse(event.data) });
        event = {};
      } else if (colon > 0) {
        event[line.slice(0, colon)] = line.slice(colon + 2);
      }
    }
  }
}

export const urlOf = (path) => new URL(path, BASE);

// A link can't carry the key: with one, a file is fetched and then saved.
export async function save(path, name) {
  const answer = await fetch(urlOf(path), { headers: headers({}) });
  if (!answer.ok) throw await problem(answer);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Waits, unless the page is left or something was done that should show at once.
export class Pace {
  #kick = () => {};

  now() {
    this.#kick();
  }

  async wait(ms, signal) {
    await new Promise((done) => {
      const timer = setTimeout(done, ms);
      this.#kick = () => {
        clearTimeout(timer);
        done();
      };
      signal.addEventListener("abort", this.#kick, { once: true });
    });
    signal.removeEventListener("abort", this.#kick);
  }
}
