"""A Django project in this process, each test with a ledger of its own."""

from contextlib import asynccontextmanager
from importlib.util import find_spec

import django
import pytest
from django.apps import apps
from django.conf import settings
from django.db import connections
from django.test import override_settings

from tests.worker.rig import running

BACKEND = "outlast.django.OutlastBackend"
QUEUES = ["default", "slow"]

BACKPORT = [] if find_spec("django.tasks") else ["django_tasks"]

if not settings.configured:
    settings.configure(
        INSTALLED_APPS=["outlast.django", "tests.frameworks.house", *BACKPORT],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3"}},
        TASKS={"default": {"BACKEND": BACKEND, "QUEUES": QUEUES}},
        USE_TZ=True,
    )
    django.setup()


def backends(folder, **options):
    paths = {"ledger": f"sqlite:///{folder}/outlast.db", "blobs": f"{folder}/blobs"}
    return {"default": {"BACKEND": BACKEND, "QUEUES": QUEUES, "OPTIONS": paths | options}}


@pytest.fixture
def house(tmp_path, monkeypatch):
    """Give the project's tasks, with a backend whose ledger is this test's."""
    from tests.frameworks.house import tasks

    config = apps.get_app_config("outlast")
    monkeypatch.setitem(connections.settings["default"], "NAME", str(tmp_path / "site.db"))
    with override_settings(TASKS=backends(tmp_path)):
        yield tasks
    for site in config._sites.values():
        site.queue.__exit__()
    config._sites.clear()


@asynccontextmanager
async def at_work(**config):
    """Run the project's tasks as `outlast_worker` does, in this process."""
    from outlast.django import worker

    app = worker.default
    async with app, running(app, **config):
        yield app


__all__ = ["BACKEND", "QUEUES", "at_work", "backends", "house"]
