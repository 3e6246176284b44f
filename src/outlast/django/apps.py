"""Outlast as an installed app, which keeps what the backends of all threads share."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.apps import AppConfig

from outlast.sdk.app import Outlast
from outlast.sdk.sync import SyncOutlast


@dataclass(frozen=True, slots=True)
class Site:
    """An app of Outlast in this process, and the way to it for plain code."""

    app: Outlast
    queue: SyncOutlast


class OutlastConfig(AppConfig):
    """Put `"outlast.django"` into INSTALLED_APPS."""

    name = "outlast.django"
    label = "outlast"
    verbose_name = "Outlast"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._sites: dict[str, Site] = {}

    def site(self, settings: Mapping[str, Any]) -> Site:
        """Return the one app of this process that has these settings.

        Django makes a backend for each thread, and a ledger has one writer in a process.
        """
        app = Outlast(**settings)
        return self._sites.setdefault(
            json.dumps(settings, default=str), Site(app, SyncOutlast(app))
        )
