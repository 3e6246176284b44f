"""The command that fetches what a job made: `download`."""

import sys
from contextlib import aclosing
from pathlib import Path

import click

from outlast.cli.backend import Backend, with_backend
from outlast.cli.output import show_json
from outlast.core.errors import ConflictError, InvalidInputError
from outlast.sdk.artifact import write_file


@click.command()
@click.argument("job_id", metavar="ID")
@click.argument("name")
@click.option("-o", "--output", metavar="PATH", help="Where to; - is the terminal or the pipe.")
@with_backend
async def download(
    backend: Backend, job_id: str, name: str, output: str | None, as_json: bool
) -> None:
    r"""Save a file of a job here, checked against its SHA-256.

    Without -o it gets the last part of its name, and never takes the place of another file.

    \b
    outlast download 0193… report.pdf
    outlast download 0193… report.pdf -o /tmp/november.pdf
    outlast download 0193… rows.csv -o - | head
    """
    async with aclosing(backend.file(job_id, name)) as chunks:
        if output == "-":
            async for chunk in chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        path = await write_file(chunks, _here(name) if output is None else output)
    size = path.stat().st_size
    show_json({"path": str(path), "size": size}) if as_json else print(f"{path} ({size} bytes)")


def _here(name: str) -> Path:
    """Return a new file's path in this folder, whatever the name says."""
    last = name.replace("\\", "/").rpartition("/")[2]
    if last in {"", ".", ".."} or not last.isprintable():
        raise InvalidInputError(f"{name!r:.80} gives no name of a file", hint="say where to: -o")
    path = Path(last)
    if path.exists() or path.is_symlink():
        raise ConflictError(f"{path} is there already", hint="say where to: -o")
    return path
