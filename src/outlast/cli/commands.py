"""The root of the commands: loads each on first use, and tells every error in one place."""

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, cast

import click

from outlast.core.errors import InvalidInputError, OutlastError

BAD_USAGE: Final = 2
INTERRUPTED: Final = 130  # as a shell counts a process that Ctrl-C ended
READER_GONE: Final = 141  # as a shell counts a process whose pipe was closed

# Where each command lives and what the overview says of it, so that `outlast --help` loads none.
COMMANDS: Final = {
    "dev": ("outlast.cli.serve", "Run API, dashboard, workers and upkeep, with reload."),
    "api": ("outlast.cli.serve", "Run the API and the dashboard."),
    "worker": ("outlast.cli.serve", "Run workers."),
    "submit": ("outlast.cli.submit", "Submit a job, and wait for its result if you like."),
    "jobs": ("outlast.cli.look", "List jobs, newest first."),
    "show": ("outlast.cli.look", "Show one job and its history; follow it live."),
    "download": ("outlast.cli.files", "Save a file that a job made."),
    "cancel": ("outlast.cli.act", "Ask a job to stop."),
    "retry": ("outlast.cli.act", "Run a failed or cancelled job again."),
    "change": ("outlast.cli.act", "Change when, where and how soon a job runs."),
    "dead": ("outlast.cli.dead", "List, redrive or discard dead letters."),
    "limits": ("outlast.cli.limits", "List limits of tasks, tenants and keys; set them live."),
    "queues": ("outlast.cli.queues", "List queues; pause, drain or bound them."),
    "schedules": ("outlast.cli.schedules", "List schedules; make, change, pause, trigger them."),
    "keys": ("outlast.cli.keys", "Make, list and revoke API keys."),
    "migrate": ("outlast.cli.health", "Bring the ledger's schema up to this release."),
    "deploy": ("outlast.cli.deploy", "Write what a platform needs to run an app."),
    "doctor": ("outlast.cli.health", "Check the installation and say what is wrong."),
}


def laid_out(command: click.Command) -> click.Command:
    """Keep the examples in a command's help as they are written.

    Click marks them with a backspace character; our docstrings spell it, so that none is hidden
    in the source.
    """
    command.help = (command.help or "").replace("\\b\n", "\b\n")
    for child in command.commands.values() if isinstance(command, click.Group) else ():
        laid_out(child)
    return command


class Root(click.Group):
    """Imports a command when it is called, and turns errors into a sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return laid_out(getattr(import_module(COMMANDS[cmd_name][0]), cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run the commands; return the exit code, or exit with it when standing alone."""
        arguments = list(sys.argv[1:] if args is None else args)
        standalone = extra.pop("standalone_mode", True)
        code = _guarded(super().main, arguments or ["--help"], *rest, **extra)
        if standalone:
            sys.exit(code)
        return code


def _guarded(invoke: Any, arguments: list[str], *rest: Any, **extra: Any) -> int:
    as_json = "--json" in arguments
    try:
        code = invoke(arguments, *rest, standalone_mode=False, **extra)
    except OutlastError as error:
        _tell(error, as_json=as_json)
        return error.exit_code
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            _tell(_as_ours(error), as_json=as_json)
        return BAD_USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Python would write to the closed pipe once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    return code if isinstance(code, int) else 0


def _as_ours(error: click.ClickException) -> OutlastError:
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"see {context.command_path} --help" if context else None
    return InvalidInputError(error.format_message().rstrip("."), hint=hint)


def _tell(error: OutlastError, *, as_json: bool) -> None:
    """Print an error where errors belong."""
    if as_json:
        facts = {"error": error.code, "detail": str(error), **error.facts}
        print(json.dumps(facts, default=str), file=sys.stderr)
    else:
        print(f"outlast: {error}", file=sys.stderr)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="outlast")
def cli() -> None:
    r"""Outlast runs work that outlasts the request.

    \b
    outlast dev app.py                                  API, dashboard and workers
    outlast submit app.py report --args month=2026-11 --wait
    outlast jobs --status failed                        what went wrong
    outlast show ID --follow                            watch one job live

    Every command takes --json for programs. Settings come from flags, then OUTLAST_* variables,
    then outlast.yaml.

    Exit codes: 0 done, 1 error, 2 bad input, 3 not allowed, 4 not found, 5 conflict, 6 try later,
    7 unavailable, 8 the job failed or was cancelled, 9 not ended in time, 130 interrupted.
    """


laid_out(cli)


def run() -> int:
    """Run the command line with the process's arguments; return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character is no error
    return cast("int", cli.main(standalone_mode=False))
