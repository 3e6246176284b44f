"""The laws of the house, as functions from a file's text to the list of its breaches.

Each law reads syntax trees, not text, so that a word in a comment breaks nothing and an alias
hides nothing. `test_tidy.py` applies them, and plants a breach of each to see it caught.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70

_CLOCK_MODULES = ("time", "random", "secrets", "uuid")
_CLOCK_NAMES = {
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "os.urandom",
    "os.getrandom",
    "os.times",
    "ssl.RAND_bytes",
}
# Parsing an identifier is arithmetic; making one is throwing dice.
_PURE_NAMES = {"uuid.UUID", "uuid.SafeUUID", "time.struct_time"}
# A die with a seed is repeatable: the simulator may own one.
_SEEDED_NAMES = {"random.Random"}

_THREAD_MODULES = {"threading", "_thread", "concurrent", "queue"}
_THREAD_NAMES = {"asyncio.to_thread", "anyio.to_thread"}

_UNSAFE_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"}
_UNSAFE_NAMES = {
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.full_load_all",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
}
_UNSAFE_BUILTINS = {"eval", "exec", "__import__"}

_STATEMENT = re.compile(
    r"""^\s*(?:explain\s+(?:query\s+plan\s+)?)?(?:
        select\b[\s\S]*?\bfrom\s+\S
      | insert\s+(?:or\s+\w+\s+)?into\b
      | replace\s+into\b
      | update\s+(?:or\s+\w+\s+)?\S+\s+set\b
      | delete\s+from\b
      | with\s+(?:recursive\s+)?\w+\s*(?:\([^)]*\)\s*)?as\s+(?:not\s+)?(?:materialized\s+)?\(
      | create\s+(?:temp\w*\s+|unique\s+|virtual\s+|or\s+replace\s+)*
        (?:table|index|trigger|view|schema|function|type|extension)\b
      | (?:alter|drop|truncate)\s+(?:table|index|trigger|view|schema)\b
    )""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_BARE_SELECT = re.compile(r"^\s*SELECT\s+\S", re.MULTILINE)
_CONNECTION_WORDS = re.compile(
    r"^\s*(?:PRAGMA|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE|VACUUM|ATTACH|DETACH)\b(?:[\s;]|$)"
)


@dataclass(frozen=True, slots=True)
class Breach:
    """One place where a file breaks a law."""

    line: int
    what: str


def breaches_of_file_length(text: str) -> list[Breach]:
    """A file can be read in one sitting."""
    lines = len(text.splitlines())
    if lines <= FILE_LINES_MAX:
        return []
    return [Breach(lines, f"{lines} lines; a file has at most {FILE_LINES_MAX}")]


def breaches_of_function_length(text: str) -> list[Breach]:
    """A function fits on one screen, decorators and docstring included."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            lines = (node.end_lineno or node.lineno) - first + 1
            if lines > FUNCTION_LINES_MAX:
                what = f"{node.name} has {lines} lines; a function has at most {FUNCTION_LINES_MAX}"
                found.append(Breach(node.lineno, what))
    return found


def breaches_of_clock_and_dice(text: str, *, seeded: bool = False) -> list[Breach]:
    """Time and chance come in through one adapter; `seeded` also allows dice with a seed."""
    pure = _PURE_NAMES | _SEEDED_NAMES if seeded else _PURE_NAMES
    found = []
    for line, name in _names_used(ast.parse(text)):
        ambient = name.split(".")[0] in _CLOCK_MODULES or name in _CLOCK_NAMES
        if ambient and name not in pure and not any(p.startswith(name + ".") for p in pure):
            found.append(Breach(line, f"{name} is a clock or a die; take it from outlast.system"))
    return found


def breaches_of_no_threads(text: str) -> list[Breach]:
    """What the simulator runs starts no thread: its order would be nobody's to choose."""
    tree = ast.parse(text)
    found = [
        Breach(line, f"{name} is a thread; the simulator can't run it")
        for line, name in _names_used(tree)
        if name.split(".")[0] in _THREAD_MODULES or name in _THREAD_NAMES
    ]
    return found + [
        Breach(node.lineno, "run_in_executor is a thread; the simulator can't run it")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "run_in_executor"
    ]


def breaches_of_sql_in_strings(text: str, *, connection: bool = False) -> list[Breach]:
    """SQL lives in .sql files; the `connection` file alone may say PRAGMA, BEGIN and COMMIT."""
    tree = ast.parse(text)
    documentation = _docstrings(tree)
    found = []
    for line, value in _strings(tree, documentation):
        statement = _STATEMENT.search(value) or _BARE_SELECT.search(value)
        if statement is None and not connection:
            statement = _CONNECTION_WORDS.search(value)
        if statement is not None:
            found.append(Breach(line, f"SQL in a string: {statement.group().strip()[:40]!r}"))
    return found


def breaches_of_safe_loading(text: str) -> list[Breach]:
    """Nothing that is read from a queue, a file or a socket can run as code."""
    tree = ast.parse(text)
    loaded = [
        Breach(line, f"{name} can run what it reads")
        for line, name in _names_used(tree)
        if name.split(".")[0] in _UNSAFE_MODULES or name in _UNSAFE_NAMES
    ]
    called = [
        Breach(node.lineno, f"{node.id}() runs what it is given")
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in _UNSAFE_BUILTINS
    ]
    return loaded + called


def breaches_of_no_sleep(text: str) -> list[Breach]:
    """A test waits for a signal, never for a while."""
    found = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Attribute(attr="sleep" | "sleep_forever" | "sleep_until"):
                found.append(Breach(node.lineno, "sleep: wait for a signal instead"))
            case ast.Name(id="sleep" | "sleep_forever" | "sleep_until"):
                found.append(Breach(node.lineno, "sleep: wait for a signal instead"))
            case ast.ImportFrom(names=names) if any(n.name.startswith("sleep") for n in names):
                found.append(Breach(node.lineno, "sleep: wait for a signal instead"))
    return found


def breaches_of_no_root_import(text: str) -> list[Breach]:
    """A room imports rooms: `outlast` itself is the front door, and stands outside."""
    found = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names) if any(n.name == "outlast" for n in names):
                found.append(Breach(node.lineno, "import outlast: import the room instead"))
            case ast.ImportFrom(module="outlast", level=0, names=names):
                classes = [n.name for n in names if not n.name.islower()]
                if classes:
                    what = f"from outlast import {', '.join(classes)}: import the room instead"
                    found.append(Breach(node.lineno, what))
    return found


def modules_nobody_imports(
    modules: Mapping[str, str], others: Mapping[str, str], entries: frozenset[str]
) -> list[str]:
    """Name the modules that no other file imports or names; `entries` are started from outside.

    A module counts as used when its dotted name stands whole in a string, too: that is how a
    child process is started and how an extra is loaded.
    """
    used: set[str] = set(entries)
    for owner, text in [*modules.items(), *others.items()]:
        tree = ast.parse(text)
        mentioned = set(_imported(tree, owner)) | {value for _, value in _strings(tree, set())}
        used |= mentioned - {owner}
    return sorted(name for name in modules if name not in used)


def _imported(tree: ast.Module, owner: str) -> Iterator[str]:
    """Yield every dotted name an import statement could stand for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = owner.split(".")[: -node.level]
                base = ".".join([*parent, *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _names_used(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield each imported name and each dotted use of one, under its full name."""
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                aliases[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                aliases[alias.asname or alias.name] = full
                yield node.lineno, full
    for node in ast.walk(tree):
        dotted = _dotted(node) if isinstance(node, ast.Attribute) else None
        if dotted is not None:
            first, _, rest = dotted.partition(".")
            if first in aliases:
                yield node.lineno, f"{aliases[first]}.{rest}"


def _dotted(node: ast.expr) -> str | None:
    """Spell `a.b.c`, or nothing when its root is not a plain name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = _dotted(node.value)
        return None if left is None else f"{left}.{node.attr}"
    return None


def _docstrings(tree: ast.Module) -> set[int]:
    """Identify the string nodes that are statements: they document, they do not run."""
    return {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }


def _strings(tree: ast.Module, without: set[int]) -> Iterator[tuple[int, str]]:
    """Yield each string, with an f-string's and a `+`'s unknown parts as a question mark."""
    inside: set[int] = set(without)
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.JoinedStr | ast.BinOp):
            value = _flat(node)
            if value.strip("? "):
                inside |= {id(child) for child in ast.walk(node)}
                yield node.lineno, value
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def _flat(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(_flat(value) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _flat(left) + _flat(right)
        case ast.BinOp(left=left, op=ast.Mod()):
            return _flat(left)
    return "?"
