"""What AWS Lambda does to a function: a process that is frozen in between, and killed when late.

Run as a program it is the sandbox: it loads the function's module, then takes an event at a time.
Imported, it is the platform, which knows no mercy: an invocation past its deadline is killed.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path


class Context:
    """Lambda's context, with a clock that goes on."""

    def __init__(self, milliseconds):
        self._end = time.monotonic() + milliseconds / 1_000

    def get_remaining_time_in_millis(self):
        return max(0, int((self._end - time.monotonic()) * 1_000))


def serve(folder):
    """Be the sandbox: `function.py` of a folder has a `handler`."""
    began = time.monotonic()
    sys.path.insert(0, folder)
    from function import handler

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what jobs print is no answer
    loaded_s = time.monotonic() - began
    for line in sys.stdin:
        asked = json.loads(line)
        began = time.monotonic()
        said = handler(asked["event"], Context(asked["milliseconds"]))
        took_s = time.monotonic() - began
        told = {"answer": said, "took_s": took_s, "loaded_s": loaded_s}
        print(json.dumps(told), file=answers, flush=True)


class LateError(Exception):
    """The invocation was past its deadline, and its sandbox is gone."""


class Sandbox:
    """One sandbox: started when it is made, and frozen unless it is invoked."""

    def __init__(self, folder, environment):
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
            env={**os.environ, **environment}, start_new_session=True,
        )  # fmt: skip
        self.last = {}

    def invoke(self, event, milliseconds=5_000):
        """Return the answer; kill the sandbox, and raise, when there is none in time."""
        self.begin(event, milliseconds)
        return self.finish(milliseconds)

    def begin(self, event, milliseconds=5_000):
        self._thaw()
        print(json.dumps({"event": event, "milliseconds": milliseconds}), file=self.process.stdin)
        self.process.stdin.flush()

    def finish(self, milliseconds=5_000):
        # Loading the module is not counted against the function's own time.
        ready, _, _ = select.select([self.process.stdout], [], [], milliseconds / 1_000 + 5)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            self.kill()
            raise LateError
        self.last = json.loads(line)
        if self.last["took_s"] > milliseconds / 1_000:
            raise LateError
        self.process.send_signal(signal.SIGSTOP)
        return self.last["answer"]

    def _thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """As when its machine is gone."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def sandboxes(folder, code, environment):
    """Give what starts a sandbox of this code."""
    Path(folder).mkdir(exist_ok=True)
    (Path(folder) / "function.py").write_text(code, "utf-8")
    started = []

    def start():
        started.append(Sandbox(folder, environment))
        return started[-1]

    try:
        yield start
    finally:
        for one in started:
            if not one.process.stdin.closed:
                one.kill()


if __name__ == "__main__":
    serve(sys.argv[1])
