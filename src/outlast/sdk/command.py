"""Commands: tasks that are a program, its arguments filled from the job's, without a shell."""

import inspect
import os
import shlex
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePath
from string import Formatter
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel

from outlast.core.effects import Effects
from outlast.core.errors import CapabilityError, CommandError, InvalidInputError, TooLargeError
from outlast.core.limits import ARTIFACTS_MAX
from outlast.sdk.context import Job
from outlast.sdk.parsers import Parser, Progress, new_parser
from outlast.sdk.task import Task

_TAIL_LINES: Final = 20
_TAIL_CHARS: Final = 2_000
_EXIT_CODES: Final = frozenset(range(256))
_TEXTUAL: Final = (int, float, Decimal, UUID, PurePath)


class CommandResult(BaseModel, frozen=True):
    """What a program left: its exit code, and the names of the kept files."""

    exit_code: int
    files: list[str] = []


@dataclass(frozen=True, slots=True)
class Template:
    """An argument list with `{name}` in it; each element stays one argument, whatever is filled in.

    >>> Template.read(["head", "-n", "{count}", "{file}"], {"count", "file"}).fill(
    ...     {"count": 3, "file": "/tmp/a b; rm -rf x"}
    ... )
    ['head', '-n', '3', '/tmp/a b; rm -rf x']
    """

    elements: tuple[tuple[tuple[str, str | None], ...], ...]  # texts, each with a name after it

    @classmethod
    def read(cls, argv: Sequence[str], names: set[str]) -> "Template":
        """Read an argument list; raise InvalidInputError for what can't be filled."""
        if isinstance(argv, str) or not argv or not all(isinstance(e, str) for e in argv):
            raise InvalidInputError(
                f"argv: expected a list of texts, got {argv!r:.80}",
                hint="there is no shell: give each argument as an element of its own",
            )
        elements = tuple(_element(element) for element in argv)
        used = {name for element in elements for _, name in element if name is not None}
        if any(name is not None for _, name in elements[0]):
            raise InvalidInputError(
                f"argv[0]: expected the name of a program, got {argv[0]!r}: "
                "a job must not choose what runs"
            )
        if used != names:
            raise InvalidInputError(
                f"argv: expected a place for each of {', '.join(sorted(names)) or 'no args'}, "
                f"got {', '.join(sorted(used)) or 'none'}"
            )
        return cls(elements)

    def fill(self, values: Mapping[str, Any]) -> list[str]:
        """Return the arguments; raise InvalidInputError for a value that would be an option."""
        found: list[str] = []
        options_end = False
        for element in self.elements:
            match element:
                case (("", str() as name),) if isinstance(values[name], list | tuple | set):
                    found += [_guarded(name, v, _text(name, v), options_end) for v in values[name]]
                case (("", str() as name),) if values[name] is None:
                    pass
                case (("", str() as name), *_):
                    text = "".join(_filled(element, values))
                    found.append(_guarded(name, values[name], text, options_end))
                case _:
                    found.append("".join(_filled(element, values)))
                    options_end = options_end or element == (("--", None),)
        return found


def _element(text: str) -> tuple[tuple[str, str | None], ...]:
    parts = []
    try:
        for literal, name, spec, conversion in Formatter().parse(text):
            if name is not None and (spec or conversion or not name.isidentifier()):
                raise ValueError(f"{{{name}}} is no plain name")  # noqa: TRY301 - told below
            parts.append((literal, name))
    except ValueError as error:
        raise InvalidInputError(
            f"argv: {text!r:.80}: {error}", hint="write {name}, and {{ }} for the braces themselves"
        ) from error
    return tuple(parts) or (("", None),)


def _filled(element: tuple[tuple[str, str | None], ...], values: Mapping[str, Any]) -> list[str]:
    return [
        text + (_text(name, values[name]) if name is not None else "") for text, name in element
    ]


def _text(name: str, value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Enum():
            return _text(name, value.value)
        case str():
            text = value
        case date() | time():
            text = value.isoformat()
        case _ if isinstance(value, _TEXTUAL):
            text = os.fspath(value) if isinstance(value, PurePath) else str(value)
        case _:
            raise _refused(name, f"expected a text, number, date or path, got {value!r:.60}")
    if "\x00" in text:
        raise _refused(name, "a program's argument can't hold a NUL character")
    return text


def _guarded(name: str, value: Any, text: str, options_end: bool) -> str:  # noqa: FBT001 - ours
    if text.startswith("-") and not options_end and not isinstance(value, int | float | Decimal):
        raise _refused(name, f"{text!r:.60} would be read as an option: it begins with '-'")
    return text


def _refused(name: str, message: str) -> InvalidInputError:
    return InvalidInputError(
        f"args.{name}: {message}", errors=[{"path": f"args.{name}", "message": message}]
    )


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `app.command` was given beyond a task's policy."""

    template: Template
    parser: Parser | str | None
    keep: tuple[str, ...]
    ok_exit_codes: frozenset[int]


def read_recipe(
    argv: Sequence[str],
    args: Mapping[str, Any],
    progress: Parser | str | None,
    keep: Sequence[str],
    ok_exit_codes: Sequence[int],
) -> Recipe:
    """Check all of it when the command is registered; raise InvalidInputError."""
    new_parser(progress)  # refuses a name that is none
    if isinstance(keep, str) or not all(_is_inside(pattern) for pattern in keep):
        raise InvalidInputError(
            f'keep: expected patterns inside the job\'s folder such as ("*.mp4",), got {keep!r:.80}'
        )
    codes = frozenset(ok_exit_codes)
    if not codes or not codes <= _EXIT_CODES:
        raise InvalidInputError(f"ok_exit_codes: expected numbers 0–255, got {ok_exit_codes!r:.80}")
    return Recipe(Template.read(argv, set(args)), progress, tuple(keep), codes)


def _is_inside(pattern: object) -> bool:
    if not isinstance(pattern, str) or not pattern:
        return False
    path = PurePath(pattern)
    return not path.is_absolute() and ".." not in path.parts


def stand_in(name: str, argv: Sequence[str], args: Mapping[str, Any]) -> Callable[..., Any]:
    """Return a function with the command's signature, which the task reads like any other."""

    async def command(**_: Any) -> None:
        raise CapabilityError(
            f"command {name} can't run here: only a worker starts programs",
            hint="submit it as a job, and start outlast worker",
        )

    hints = {n: hint[0] if isinstance(hint, tuple) else hint for n, hint in args.items()}
    empty = inspect.Parameter.empty
    parameters = [
        inspect.Parameter(
            n,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=hint[1] if isinstance(hint, tuple) else empty,
            annotation=hints[n],
        )
        # Those with a default last, as a signature wants it.
        for n, hint in sorted(args.items(), key=lambda item: isinstance(item[1], tuple))
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {**hints, "return": CommandResult}
    command.__doc__ = f"Run `{shlex.join(argv)}`."
    return command


@dataclass(slots=True)
class CommandTask(Task):
    """A task that is a program."""

    recipe: Recipe = field(kw_only=True)

    def encode(self, args: Mapping[str, Any]) -> str:
        """Check the arguments as for a function, and that the program can be given them."""
        text = Task.encode(self, args)
        self.recipe.template.fill(self._values(text))
        return text

    def _values(self, text: str) -> dict[str, Any]:
        values: dict[str, Any] = self.args_model.__pydantic_validator__.validate_json(text).__dict__
        return values

    async def begin(self, effects: Effects) -> "Performance":
        """Begin an attempt, which the worker runs."""
        args = await effects.unshelve(effects.lease.args)
        return Performance(self.recipe, self._values(args), effects)


class Performance:
    """One attempt at a program."""

    def __init__(self, recipe: Recipe, values: dict[str, Any], effects: Effects) -> None:
        self.argv = recipe.template.fill(values)
        self._effects = effects
        self._recipe = recipe
        self._job = Job(effects)
        self._parse = new_parser(recipe.parser)
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    def hear(self, stream: str, line: str) -> None:
        """Take a line: it is the program's progress, or goes to the job's log."""
        if stream == "stderr":
            self._tail.append(line[-_TAIL_CHARS:])
        told: Progress = None
        if self._parse is not None:
            try:
                told = self._parse(line)
            except Exception as error:  # noqa: BLE001 - a bad parser must not end a good program
                self._parse = None
                self._job.log(f"progress is told no more: {error!r}", level="WARNING")
        match told:
            case None:
                self._job.log(line, stream=stream)
            case tuple():
                self._job.progress(*told)
            case bool():
                pass  # of the progress, but with nothing to tell
            case _:
                self._job.progress(round(100 * told, 2), 100)

    async def finish(self, exit_code: int, folder: Path) -> str:
        """Keep the files of a program that did well; raise CommandError for one that did not."""
        if exit_code not in self._recipe.ok_exit_codes:
            tail = "\n".join(self._tail)[-_TAIL_CHARS:].replace("\x00", "\ufffd")
            last = f": {self._tail[-1]:.200}" if self._tail else ""
            raise CommandError(
                f"{self.argv[0]} ended with exit code {exit_code}{last}",
                exit_code=exit_code,
                stderr=tail,
            )
        names = []
        for path in self._kept(folder):
            names.append(path.relative_to(folder).as_posix())
            await self._job.save(names[-1], path)
        result = CommandResult(exit_code=exit_code, files=names)
        return await self._effects.shelve(result.model_dump_json())

    def _kept(self, folder: Path) -> list[Path]:
        found: set[Path] = set()
        for pattern in self._recipe.keep:
            # No links: what is kept must have been made here.
            files = {p for p in folder.glob(pattern) if p.is_file() and not p.is_symlink()}
            files = {p for p in files if p.resolve().is_relative_to(folder.resolve())}
            if not files:
                self._job.log(f"keep: no file matches {pattern!r}", level="WARNING")
            found |= files
        if len(found) > ARTIFACTS_MAX:
            raise TooLargeError(
                f"keep: {len(found)} files match, a job keeps at most {ARTIFACTS_MAX}",
                hint="have the program pack them into one",
            )
        return sorted(found)
