"""The table of docs/reliability.md says of every fault what the tests say, and nothing else."""

import ast
import re
from collections import defaultdict
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
ROW = re.compile(r"^\| (F\d+) \| ([^|]+) \| (survived|not run) \| ([^|]+) \|$", re.MULTILINE)


def marked(sources):
    """Return which files have a test marked with each fault."""
    found = defaultdict(set)
    for name, text in sources.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                for argument in node.args:
                    found[ast.literal_eval(argument)].add(name)
    return {fault: sorted(names) for fault, names in found.items()}


def breaches(page, tests):
    """Return where the table and the marks disagree."""
    rows = {number: (state, why) for number, _, state, why in ROW.findall(page)}
    wrong = [f"F{n} has no row" for n in range(1, 61) if f"F{n}" not in rows]
    wrong += [f"{fault} is marked and in no row" for fault in tests if fault not in rows]
    for fault, (state, why) in rows.items():
        files = tests.get(fault, [])
        said = re.findall(r"`([^`]+)`", why)
        if state == "survived" and said != files:
            wrong.append(f"{fault}: the table names {said}, the marks are in {files}")
        if state == "not run" and files:
            wrong.append(f"{fault} is not run by the table, and marked in {files}")
    return wrong


def test_the_table_of_faults_says_what_the_marks_say():
    sources = {
        str(path.relative_to(TESTS)): path.read_text("utf-8") for path in TESTS.rglob("test_*.py")
    }

    assert breaches(PAGE.read_text("utf-8"), marked(sources)) == []


def test_a_table_that_boasts_or_forgets_is_caught():
    rows = [f"| F{n} | a fault | not run | later |" for n in range(1, 61)]
    tests = marked({"a.py": '@pytest.mark.fault("F1", "F2")\ndef test_it(): ...'})
    good = [r.replace("not run | later", "survived | `a.py`") for r in rows[:2]] + rows[2:]

    assert breaches("\n".join(good), tests) == []
    assert breaches("\n".join(rows), tests)  # forgets
    assert breaches("\n".join([*good[:2], good[0].replace("F1", "F3"), *good[3:]]), tests)  # boasts
    assert breaches("\n".join(good[:-1]), tests)  # leaves one out
    assert breaches("\n".join(good), {**tests, "F61": ["a.py"]})  # knows no such fault
