"""`manage.py outlast_worker`: runs the tasks of a Django project."""

import os
import sys
from argparse import ArgumentParser
from typing import Any, Final

import click
from django.core.management.base import BaseCommand, CommandError

from outlast.cli.serve import worker
from outlast.core.errors import OutlastError
from outlast.django.backend import OutlastBackend
from outlast.django.framework import task_backends

_APPS: Final = "outlast.django.worker"  # has one for each alias


class Command(BaseCommand):
    """What `outlast worker` does, with the settings of TASKS."""

    help = "Runs the tasks that were enqueued to an OutlastBackend."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--backend", default="default", help="Alias in TASKS (default).")
        parser.add_argument(
            "--queue", action="append", help="Queue to work on; repeatable (default: its QUEUES)."
        )
        parser.add_argument("--concurrency", help="Jobs at once in each process (default 16).")
        parser.add_argument("--processes", help="Worker processes (default 2).")
        parser.add_argument("--json", action="store_true", help="Machine-readable output.")

    def handle(self, *_: Any, **given: Any) -> None:
        backend = task_backends[given["backend"]]
        if not isinstance(backend, OutlastBackend):
            raise CommandError(f"TASKS[{given['backend']!r}] is no OutlastBackend: {backend}")
        queues = given["queue"] or sorted(backend.queues)
        if not queues:
            raise CommandError("QUEUES is empty, which allows any: name some with --queue")
        arguments = [f"{_APPS}:{backend.alias}"]
        for name, value in backend.settings.items():
            arguments += [f"--{name}", str(value)]
        for queue in queues:
            arguments += ["--queue", queue]
        for name in ("concurrency", "processes"):
            arguments += [f"--{name}", given[name]] if given[name] else []
        arguments += ["--json"] if given["json"] else []
        # The processes of the worker import the project as this one does.
        paths = [sys.path[0], *filter(None, [os.environ.get("PYTHONPATH")])]
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)
        try:
            code = worker.main(arguments, prog_name="outlast_worker", standalone_mode=False)
        except click.ClickException as error:
            raise CommandError(error.format_message()) from error
        except OutlastError as error:
            raise CommandError(str(error)) from error
        if code:
            sys.exit(code)
