"""A page of the documentation as a program: its Python blocks run, its commands are parsed."""

import ast
import asyncio
import inspect
import re
import shlex
import traceback
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from outlast import Outlast
from outlast.cli.commands import cli
from tests.worker.rig import DEADLINE_S, running

ROOT = Path(__file__).parents[1]
FENCE = re.compile(
    r"^(?P<fence>```+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\]\((?!\w+:)(?P<path>[^)#\s]+)[^)]*\)")
NOT_RUN = re.compile(r"no-run: \S.*")
SHELLS = {"console", "sh", "shell", "bash"}
STOPS = {"|", "||", "&&", "&", ";", ">", ">>", "<"}


@dataclass(frozen=True)
class Block:
    """A fenced block: what its fence says, and where it stands."""

    page: str
    line: int  # of the first line inside the fence
    language: str
    rest: str
    text: str

    @property
    def place(self):
        return f"{self.page}:{self.line}"

    @property
    def is_run(self):
        """Whether it is a program; one that is not must say why on its fence."""
        if self.language != "python":
            return False
        if self.rest and not NOT_RUN.fullmatch(self.rest):
            raise BrokenPageError(f"{self.place}: expected `no-run: reason`, got {self.rest!r}")
        return not self.rest


class BrokenPageError(AssertionError):
    """A page says what is not so."""


def pages():
    """Return the README and the guides, by their paths in the repository."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in found}


def blocks(page, text):
    """Return a page's fenced blocks in their order."""
    found = []
    for match in FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Block(page, line, language, rest.strip(), match["text"]))
    return found


async def run(page, text):
    """Run a page's Python blocks in one namespace; a worker takes the jobs of the apps they make.

    The worker begins when the block that made its app has ended, so a page makes the app and its
    tasks in one block and submits in a later one.
    """
    namespace = {"__name__": "page"}
    served = set()
    async with AsyncExitStack() as stack:
        for block in blocks(page, text):
            if not block.is_run:
                continue
            await _run(block, namespace)
            for app in [value for value in namespace.values() if isinstance(value, Outlast)]:
                if app not in served:
                    served.add(app)
                    await stack.enter_async_context(app)
                    await stack.enter_async_context(running(app))


async def _run(block, namespace):
    try:
        # Empty lines before it give every line the number that it has on the page.
        source = "\n" * (block.line - 1) + block.text
        code = compile(source, block.page, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        async with asyncio.timeout(DEADLINE_S):
            done = eval(code, namespace)
            if inspect.isawaitable(done):
                await done
    except Exception as error:
        steps = traceback.extract_tb(error.__traceback__)
        lines = [step.lineno for step in steps if step.filename == block.page]
        line = error.lineno if isinstance(error, SyntaxError) else (lines or [block.line])[0]
        said = f"{block.page}:{line}: {type(error).__name__}: {error}"
        raise BrokenPageError(said) from error


def commands(page, text):
    """Return the commands that a page tells to type, each with its place."""
    found = []
    for block in blocks(page, text):
        if block.language not in SHELLS:
            continue
        # A command that goes on in the next line keeps the number of its first.
        lines = re.finditer(r"(?:[^\n]*\\\n)*[^\n]+", block.text)
        for match in lines:
            line = match[0].replace("\\\n", " ")
            if block.language == "console" and not line.startswith("$ "):
                continue
            place = f"{page}:{block.line + block.text.count(chr(10), 0, match.start())}"
            found += [(place, words) for words in _commands(line.removeprefix("$ "))]
    return found


def _commands(line):
    reader = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    reader.whitespace_split = True
    command = []
    for word in reader:
        if word not in STOPS:
            command.append(word)
            continue
        yield command
        command = []
    if command:
        yield command


def parse(place, words):
    """Parse an `outlast` command as the command line would, without doing it."""
    command, arguments, context = cli, words[1:], None
    try:
        while True:
            context = command.make_context(command.name, list(arguments), parent=context)
            if not isinstance(command, click.Group):
                return
            _, rest, _ = command.make_parser(context).parse_args(list(arguments))
            if not rest:
                return
            _, command, arguments = command.resolve_command(context, rest)
    except click.ClickException as error:
        raise BrokenPageError(f"{place}: {shlex.join(words)}: {error.format_message()}") from error


def check_links(page, text):
    """Refuse a link to a file that is not there."""
    for match in LINK.finditer(text):
        if not (ROOT / page).parent.joinpath(match["path"]).exists():
            line = text.count("\n", 0, match.start()) + 1
            raise BrokenPageError(f"{page}:{line}: there is no {match['path']}")
