"""What only the ledger's owner does: keys and migrations."""

import json
from hashlib import sha256
from importlib.metadata import version

import pytest

from outlast.core.errors import (
    KeyReusedError,
    NotFoundError,
    QueueFullError,
    UnauthorizedError,
    UnavailableError,
)
from outlast.sdk.http import error_of
from outlast.system import new_id
from tests.cli.rig import using


def test_a_key_is_shown_once_and_stored_as_a_hash(run, url):
    made = json.loads(
        run(
            "keys", "create", "--scopes", "read, submit", "--tenant", "a", "--ledger", url, "--json"
        ).stdout
    )

    assert made["key"].startswith(made["prefix"])
    assert len(made["key"]) == len("ol_") + 64
    (doc,) = using(url, lambda ledger: ledger.docs("key"))
    assert doc.key == sha256(made["key"].encode()).hexdigest()
    stored = json.loads(doc.doc)
    assert (stored["scopes"], stored["tenant"]) == (["read", "submit"], "a")
    listed = run("keys", "list", "--ledger", url)
    assert made["prefix"] in listed.stdout
    assert made["key"] not in listed.stdout


@pytest.mark.parametrize("part", [slice(None), slice(0, 11)])
def test_a_key_is_revoked_by_its_prefix_or_its_secret(run, url, part):
    secret, other = (run("keys", "create", "--ledger", url).stdout.strip() for _ in range(2))

    result = run("keys", "revoke", secret[part], "--ledger", url)

    assert result.exit_code == 0
    assert secret not in result.output
    (left,) = using(url, lambda ledger: ledger.docs("key"))
    assert left.key == sha256(other.encode()).hexdigest()


def test_the_last_step_of_an_upgrade_is_refused_beside_workers_of_another_release(run, url):
    def living(release):
        doc = json.dumps({"version": release})
        return lambda ledger: ledger.put("worker", release, doc, ttl_us=60_000_000)

    finish = ("migrate", "--finish", "--ledger", url)
    run("migrate", "--ledger", url)
    using(url, living(version("outlast")))
    beside_itself = run(*finish)
    using(url, living("0.0.9"))
    beside_another = run(*finish)

    assert beside_itself.exit_code == 0, beside_itself.output
    assert beside_another.exit_code == 5, beside_another.output
    assert "1 of 0.0.9" in beside_another.output


def test_a_server_wants_its_key_and_takes_it_from_the_environment(run, url, start):
    secret = run("keys", "create", "--ledger", url).stdout.strip()
    where = ("--url", start("api", "--ledger", url)["url"])

    unknown = new_id()
    submit = ("submit", where[1], "add", "a=1", "b=2")
    for command, code in [
        (("jobs", *where), 0), (("show", unknown, *where), 4), (("cancel", unknown, *where), 4),
        (("retry", unknown, *where), 3), (("dead", *where), 0), (submit, 0),
        (("dead", "redrive", unknown, *where), 3),
    ]:  # fmt: skip
        assert run(*command).exit_code == 3, command
        assert run(*command, "--key", "ol_wrong").exit_code == 3, command
        assert run(*command, "--key", secret).exit_code == code, command
        assert run(*command, env={"OUTLAST_KEY": secret}).exit_code == code, command


def test_with_json_keys_are_listed_and_revoked_for_programs(run, url):
    secret = run("keys", "create", "--ledger", url).stdout.strip()

    (listed,) = json.loads(run("keys", "list", "--ledger", url, "--json").stdout)["keys"]
    revoked = run("keys", "revoke", secret, "--ledger", url, "--json")

    assert json.loads(revoked.stdout) == {"revoked": listed["prefix"]}
    assert run("keys", "list", "--ledger", url).stdout == "no keys\n"


def test_migrate_makes_the_ledger_and_does_nothing_twice(run, tmp_path):
    first, second = run("migrate"), run("migrate")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout == second.stdout
    assert json.loads(run("migrate", "--json").stdout)["schema"] == int(first.stdout.split()[1])
    assert (tmp_path / "outlast.db").exists()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (422, "idempotency-key-reused", KeyReusedError),
        (503, "queue-full", QueueFullError),
        (404, "job-not-found", NotFoundError),
        (401, "unauthorized", UnauthorizedError),
        (502, "", UnavailableError),
    ],
)
def test_a_problem_document_becomes_the_error_it_tells_of(status, code, kind):
    error = error_of(status, {"detail": "why", "code": code, "message": "x", "retry_after": 5})

    assert type(error) is kind
    assert str(error) == "why"
    assert error.facts == {"retry_after": 5}
