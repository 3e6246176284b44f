"""A project with as little as Django's Tasks framework needs."""

from importlib.util import find_spec
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = True
SECRET_KEY = "only for this example"  # noqa: S105
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "mysite.urls"
USE_TZ = True

INSTALLED_APPS = ["outlast.django", "shop"]
if find_spec("django.tasks") is None:  # before Django 6.0 the framework is a package of its own
    INSTALLED_APPS += ["django_tasks"]

TASKS = {
    "default": {
        "BACKEND": "outlast.django.OutlastBackend",
        "QUEUES": ["default", "slow"],
        "OPTIONS": {
            "ledger": f"sqlite:///{BASE_DIR / 'outlast.db'}",
            "blobs": str(BASE_DIR / "outlast-blobs"),
            "retries": 3,
        },
    }
}
