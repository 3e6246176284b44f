"""API keys: made once, shown once, stored as a hash."""

import json
from hashlib import sha256

import click

from outlast.cli.options import options, with_ledger
from outlast.cli.output import show_json, show_table
from outlast.core.errors import InvalidInputError, NotFoundError
from outlast.core.instant import to_rfc3339
from outlast.ledger import Ledger
from outlast.system import CLOCK, ENTROPY

_SCOPES = ("submit", "read", "operate", "admin")


@click.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command("create")
@click.option("--scopes", default="submit,read", show_default=True, help=", ".join(_SCOPES))
@click.option("--tenant", default="", help="The only tenant whose jobs the key sees.")
@options("json")
@with_ledger
async def create_key(ledger: Ledger, scopes: str, tenant: str, as_json: bool) -> None:
    """Make a key; its secret is shown once and stored as a hash."""
    wanted = [scope.strip() for scope in scopes.split(",")]
    unknown = set(wanted) - set(_SCOPES)
    if unknown:
        raise InvalidInputError(f"--scopes: expected some of {', '.join(_SCOPES)}; got {scopes!r}")
    secret = f"ol_{ENTROPY.token(32).hex()}"
    doc = {
        "scopes": wanted, "tenant": tenant, "prefix": secret[:9],
        "created_at": to_rfc3339(CLOCK.now_us()),
    }  # fmt: skip
    await ledger.put("key", sha256(secret.encode()).hexdigest(), json.dumps(doc))
    if as_json:
        show_json({"key": secret, **doc})
    else:
        print(secret)


@keys.command("list")
@options("json")
@with_ledger
async def list_keys(ledger: Ledger, as_json: bool) -> None:
    """List the keys by their prefixes."""
    found = [json.loads(doc.doc) for doc in await ledger.docs("key")]
    if as_json:
        show_json({"keys": found})
    else:
        heads = ["prefix", "scopes", "tenant", "created_at"]
        show_table(heads, [[doc[h] for h in heads] for doc in found], empty="no keys")


@keys.command("revoke")
@click.argument("prefix")
@options("json")
@with_ledger
async def revoke_key(ledger: Ledger, prefix: str, as_json: bool) -> None:
    """Revoke the key with this prefix."""
    found = [d for d in await ledger.docs("key") if json.loads(d.doc)["prefix"] == prefix]
    if not found:
        raise NotFoundError(f"there is no key {prefix!r:.40}", hint="outlast keys list")
    for doc in found:
        await ledger.put("key", doc.key, None)
    show_json({"revoked": len(found)}) if as_json else print(f"{len(found)} revoked")
