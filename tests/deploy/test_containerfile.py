"""The Containerfile, read as its instructions: no container engine is needed, and none is here.

What its steps do is not seen by these tests; `docs/deployment.md` says what was run by hand.
"""

import json
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path

import pytest

from outlast.deploy.plan import HEALTH_PORT, USER

ROOT = Path(__file__).parents[2]


def instructions(text):
    """Return each instruction with its words as they stand; comments and line breaks are gone."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name.upper(), rest.strip()) for name, _, rest in found]


def stages(text):
    """Divide the instructions at each FROM."""
    found = []
    for name, rest in instructions(text):
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


def faults(text):
    """Return what an image of this file would do wrong when it runs."""
    build, last = stages(text)[:-1], stages(text)[-1]
    found = []
    user = [rest for name, rest in last if name == "USER"]
    if not user or user[-1].partition(":")[0] in {"0", "root"}:
        found.append("runs as root")
    for name, rest in last:
        if name in {"CMD", "ENTRYPOINT"} and not rest.startswith("["):
            found.append(f"{name} by a shell, which keeps signals to itself")
        if name == "HEALTHCHECK" and "CMD [" not in rest:
            found.append("HEALTHCHECK by a shell")
    if not any(name == "HEALTHCHECK" for name, _ in last):
        found.append("no HEALTHCHECK")
    for stage in (*build, last):
        installed = [i for i, (name, rest) in enumerate(stage) if "pip install" in rest]
        for number, (name, rest) in enumerate(stage):
            words = [word for word in rest.split() if not word.startswith("--")]
            is_local = name == "COPY" and "--from=" not in rest
            missing = [word for word in words[:-1] if not (ROOT / word).exists()]
            if is_local and missing:
                found.append(f"COPY of {', '.join(missing)}, which are not there")
            if is_local and words[:-1] == ["."] and (not installed or number < installed[0]):
                found.append("COPY of everything before the dependencies")
    return found


@pytest.fixture
def text():
    return (ROOT / "Containerfile").read_text("utf-8")


def test_the_image_runs_as_nobody_special_and_hears_signals(text):
    assert faults(text) == []


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("USER 10001:10001", "USER root", "runs as root"),
        ('ENTRYPOINT ["/usr/bin/tini", "--", "outlast"]', "ENTRYPOINT outlast", "by a shell"),
        ("COPY src src", "COPY sources src", "not there"),
        ("    CMD [", "    CMD python [", "HEALTHCHECK by a shell"),
        ("COPY pyproject.toml", "COPY . .\nCOPY pyproject.toml", "before the dependencies"),
    ],
)
def test_each_fault_would_be_noticed(text, good, bad, told):
    assert good in text

    found = faults(text.replace(good, bad))

    assert any(told in fault for fault in found)


def test_the_build_sees_what_it_copies_and_little_else(text):
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    allowed = [rule[1:] for rule in rules if rule.startswith("!")]

    copied = [
        word
        for stage in stages(text)
        for name, rest in stage
        if name == "COPY" and "--from=" not in rest
        for word in rest.split()[:-1]
    ]

    assert rules[1] == "*"
    assert [word for word in copied if not any(fnmatch(word, f"{a}*") for a in allowed)] == []


def test_the_image_is_asked_how_it_is_by_a_module_that_is_there(text):
    check = next(rest for name, rest in stages(text)[-1] if name == "HEALTHCHECK")
    command = json.loads(check[check.index("CMD ") + 4 :])

    assert command[:2] == ["python", "-m"]
    assert find_spec(command[2]) is not None
    assert f"OUTLAST_HEALTH_PORT={HEALTH_PORT}" in text
    assert f"USER {USER}:{USER}" in text


def test_the_extras_that_it_installs_are_ours(text):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    (asked,) = re.findall(r'"\.\[([a-z,]+)\]"', text)

    assert set(asked.split(",")) <= project["optional-dependencies"].keys()
    assert {"api", "cli", "postgres"} <= set(asked.split(","))


def test_the_lock_becomes_constraints_that_pip_reads(text, tmp_path):
    """The image's own line, run on the real lock; then pip is asked what it would take of them."""
    command = next(rest for _, rest in stages(text)[0] if "constraints.txt" in rest)
    sed = command.partition("&&")[0].replace("constraints.txt", str(tmp_path / "constraints.txt"))

    subprocess.run(["sh", "-c", sed], cwd=ROOT, check=True)

    lines = (tmp_path / "constraints.txt").read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert len(pins) > 50
    assert all(re.fullmatch(r"[a-z0-9._-]+==\S+( ?; .*)?", pin) for pin in pins)
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--no-deps", "--no-index",
         "--constraint", tmp_path / "constraints.txt", "click"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert asked.returncode == 0, asked.stderr
