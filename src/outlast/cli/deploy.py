"""The command that writes deployments: `deploy render`."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from outlast.cli.options import options
from outlast.cli.output import show_json
from outlast.core.errors import UnavailableError
from outlast.deploy import TARGETS, Plan, render
from outlast.sdk.settings import Settings


@click.group()
def deploy() -> None:
    r"""Write what a platform must be told to run an app.

    \b
    outlast deploy render --target kubernetes --image registry.example.com/app:1
    """


@deploy.command("render")
@click.argument("app", required=False)
@click.option("--target", required=True, type=click.Choice(list(TARGETS)), help="The platform.")
@click.option("--image", help="Image of the app (default: deploy.image of outlast.yaml).")
@click.option("--out", metavar="DIR", help="Write the files there (default: print them).")
@options("config", "json")
def render_(
    app: str | None,
    target: str,
    image: str | None,
    out: str | None,
    config: str | None,
    as_json: bool,
) -> None:
    r"""Write the API, the workers of each queue and the migration for a platform.

    Takes queues, their worker_count and instance_type, and the block `deploy` from outlast.yaml.
    No URL and no password is written: they stay in a secret, or a file of variables.

    \b
    outlast deploy render --target kubernetes | kubectl apply -f -
    outlast deploy render app.py --target systemd --out /etc/systemd/system
    outlast deploy render --target ecs --image registry.example/studio:7 --out deploy/ecs
    """
    files = dict(render(target, _plan(app, image, config)))
    if out is None:
        if as_json:
            show_json({"files": files})
            return
        for name, text in files.items():
            print(text if len(files) == 1 else f"# file: {name}\n{text}", end="")
        return
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        raise UnavailableError(f"--out: can't write to {out}: {error.strerror}") from error
    paths = [str(folder / name) for name in files]
    show_json({"files": paths}) if as_json else print("\n".join(paths))


def _plan(app: str | None, image: str | None, config: str | None) -> Plan:
    settings = Settings.load(config=config)
    said: dict[str, Any] = dict(settings.deploy)
    said |= {name: value for name, value in (("app", app), ("image", image)) if value is not None}
    return Plan.of(replace(settings, deploy=said))
