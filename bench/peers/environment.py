"""An environment for each queue, made once from its pinned requirements."""

import hashlib
import subprocess
import sys
from pathlib import Path

CACHE = Path(".bench-peers").absolute()


class SetupError(Exception):
    """An environment could not be made; the message is the installer's."""


def python_of(name: str, requirements: Path | None) -> Path:
    """Return the interpreter with these packages, installed now if they are not yet."""
    if requirements is None:
        return Path(sys.executable)
    place = CACHE / name
    interpreter, stamp = place / "bin" / "python", place / ".installed"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return interpreter
    print(f"  installing {requirements.name}", flush=True)
    _run(sys.executable, "-m", "venv", "--clear", str(place))
    pip = (str(interpreter), "-m", "pip", "--disable-pip-version-check", "--no-input")
    _run(*pip, "install", "--quiet", "--no-deps", "--requirement", str(requirements))
    stamp.write_text(wanted)
    return interpreter


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise SetupError(f"{' '.join(command)}: {done.stderr.strip()[-1_500:]}")
