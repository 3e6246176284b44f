"""Mistakes by which job queues have shown one tenant to another, to be planted one at a time."""

import functools
from dataclasses import replace

from outlast.api import act, dead, events, jobs, operate, query, routes, schedules, submit
from outlast.api.context import Context
from outlast.api.overview import Overviews
from outlast.sdk.schedules import Schedules
from tests.ledger_fixtures import plant


def for_all(real, place):
    """Call it with a caller, who stands at this place, of no tenant."""

    @functools.wraps(real)
    def call(*given, **more):
        some = list(given)
        some[place] = replace(some[place], tenant=None)
        return real(*some, **more)

    return call


def any_job_by_its_id(monkeypatch):
    monkeypatch.setattr(Context, "job", for_all(Context.job, 2))


def lists_of_all(monkeypatch):
    for module in (jobs, act, dead):
        monkeypatch.setattr(module, "filter_of", for_all(query.filter_of, 1))


def events_of_all(monkeypatch):
    monkeypatch.setattr(events._Sieve, "_lets", lambda *_: True)


def places_among_all(monkeypatch):
    monkeypatch.setattr(jobs, "place_of", for_all(jobs.place_of, 2))


def figures_of_all(monkeypatch):
    real = Overviews.all
    monkeypatch.setattr(Overviews, "all", lambda self, _: real(self, None))


def schedules_of_all(monkeypatch):
    real = Schedules.all
    monkeypatch.setattr(Schedules, "all", lambda self: real(Schedules(self._app, None)))


def a_tenant_by_its_name(monkeypatch):
    def of(context, request, who):
        return Schedules(context.app, request.query_params.get("tenant", who.tenant))

    monkeypatch.setattr(schedules, "_of", of)


def workers_of_all(monkeypatch):
    monkeypatch.setattr(operate, "_presences", for_all(operate._presences, 1))


def keys_of_all(monkeypatch):
    plant(monkeypatch, "key_find", lambda text: text.replace("tenant = :tenant", ":tenant <> ''"))


def uploads_of_all(monkeypatch):
    class Any(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __ne__(self, _):
            return False

    real = submit.Uploads.__init__

    def made(self, context, who):
        real(self, context, who)
        self._tenant = Any()

    monkeypatch.setattr(submit.Uploads, "__init__", made)


def figures_of_the_server(monkeypatch):
    ways = tuple(
        replace(way, handler=for_all(way.handler, 2)) if way.path == "/metrics" else way
        for way in routes.WAYS
    )
    monkeypatch.setattr("outlast.api.server.WAYS", ways)


LEAKS = (
    any_job_by_its_id, lists_of_all, events_of_all, places_among_all, figures_of_all,
    schedules_of_all, a_tenant_by_its_name, workers_of_all, keys_of_all, uploads_of_all,
    figures_of_the_server,
)  # fmt: skip
