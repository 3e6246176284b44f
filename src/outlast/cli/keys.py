"""The commands about API keys, which only the ledger's owner can give."""

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any, Final

import click

from outlast.cli.backend import must_exist
from outlast.cli.options import Command, options
from outlast.cli.output import show_json, show_table
from outlast.core.errors import ConflictError, InvalidInputError, NotFoundError
from outlast.core.instant import to_rfc3339
from outlast.core.queue import check_queue_name
from outlast.core.share import call_rate
from outlast.ledger import Ledger, open_ledger
from outlast.sdk.settings import Settings
from outlast.system import CLOCK, ENTROPY

_SCOPES: Final = ("submit", "read", "operate", "admin")
_SECRET_BYTES: Final = 32
_PREFIX_CHARS: Final = 11  # of the secret: enough to tell keys apart, far too few to guess one


def with_ledger(
    *, make: bool, migrate: bool = True
) -> Callable[[Callable[..., Awaitable[None]]], Command]:
    """Give a command an open, migrated ledger as its first argument; `make` it if it must be."""

    def decorate(fn: Callable[..., Awaitable[None]]) -> Command:
        @functools.wraps(fn)
        def command(*args: Any, ledger: str | None, config: str | None, **given: Any) -> None:
            url = Settings.load(ledger=ledger, config=config).ledger
            if not make:
                must_exist(url)

            async def work() -> None:
                opened = open_ledger(url)
                try:
                    if migrate:
                        await opened.migrate()
                    await fn(opened, *args, **given)
                finally:
                    await opened.close()

            asyncio.run(work())

        return options("ledger", "config", "json")(command)

    return decorate


@click.group()
def keys() -> None:
    r"""Make, list and revoke API keys.

    \b
    outlast keys create --scopes submit,read --tenant acme
    outlast keys list
    outlast keys revoke ol_1a2b3c4d
    """


@keys.command()
@click.option(
    "--scopes", default="submit,read", show_default=True, help=f"Some of {', '.join(_SCOPES)}."
)
@click.option("--tenant", default="", help="The only tenant whose jobs the key sees.")
@click.option("--rate", help='How often it may call each API process, such as "50/s".')
@with_ledger(make=True)
async def create(ledger: Ledger, scopes: str, tenant: str, rate: str | None, as_json: bool) -> None:
    r"""Make a key. Its secret is shown once; only a hash of it is stored.

    \b
    outlast keys create --scopes submit,read --tenant acme --rate 50/s
    """
    if tenant:
        _guard_tenant(tenant)
    wanted = list(dict.fromkeys(scope.strip() for scope in scopes.split(",")))
    if not set(wanted) <= set(_SCOPES):
        raise InvalidInputError(
            f"--scopes: expected some of {','.join(_SCOPES)}, got {scopes!r:.80}",
            errors=[{"path": "scopes", "message": f"expected some of {','.join(_SCOPES)}"}],
        )
    secret = f"ol_{ENTROPY.token(_SECRET_BYTES).hex()}"
    doc = {
        "scopes": wanted,
        "tenant": tenant,
        **({} if rate is None else {"rate": str(call_rate(rate, field="--rate"))}),
        "prefix": secret[:_PREFIX_CHARS],
        "created_at": to_rfc3339(CLOCK.now_us()),
    }
    await ledger.put("key", _hash(secret), json.dumps(doc), version=0)
    show_json({"key": secret, **doc}) if as_json else print(secret)


@keys.command("list")
@with_ledger(make=False)
async def list_(ledger: Ledger, as_json: bool) -> None:
    r"""List the keys by the prefixes of their secrets.

    \b
    outlast keys list
    """
    found = [json.loads(doc.doc) for doc in await ledger.docs("key")]
    found.sort(key=lambda doc: str(doc["created_at"]))
    if as_json:
        show_json({"keys": found})
        return
    heads = ["prefix", "scopes", "tenant", "rate", "created_at"]
    show_table(heads, [[doc.get(head) for head in heads] for doc in found], empty="no keys")


@keys.command()
@click.argument("key", metavar="PREFIX|SECRET")
@with_ledger(make=False)
async def revoke(ledger: Ledger, key: str, as_json: bool) -> None:
    r"""Revoke a key, named by its prefix or its secret; it stops working at once.

    \b
    outlast keys revoke ol_1a2b3c4d
    """
    found = [
        doc
        for doc in await ledger.docs("key")
        if doc.key == _hash(key) or json.loads(doc.doc)["prefix"] == key
    ]
    if not found:
        raise NotFoundError(f"there is no key {key[:_PREFIX_CHARS]!r}", hint="outlast keys list")
    if len(found) > 1:
        raise ConflictError(f"{len(found)} keys begin with {key}", hint="give the whole secret")
    await ledger.put("key", found[0].key, None)
    prefix = json.loads(found[0].doc)["prefix"]
    show_json({"revoked": prefix}) if as_json else print(f"{prefix} revoked")


def _guard_tenant(name: str) -> None:
    message = check_queue_name(name) or ("expected a name, * means every one" * (name == "*"))
    if message:
        errors = [{"path": "tenant", "message": message}]
        raise InvalidInputError(f"--tenant: {message}", errors=errors)


def _hash(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
