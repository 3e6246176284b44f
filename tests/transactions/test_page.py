"""The blocks of the guide that need PostgreSQL run there."""

import ast
import asyncio
import inspect

import asyncpg
import psycopg
import pytest
from django.db import connections, transaction
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import NullPool

from outlast import Outlast, SyncOutlast
from outlast.core.job import Filter, Page
from tests.pages import blocks, pages
from tests.transactions.theirs import TABLE, Django, for_sqlalchemy

PAGE = "docs/transactions.md"
TEXTS = [
    block.text for block in blocks(PAGE, pages()[PAGE]) if block.rest.startswith("no-run: needs Po")
]


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    number: Mapped[int] = mapped_column(primary_key=True)


@pytest.mark.parametrize("text", TEXTS, ids=["asyncpg", "sqlalchemy", "psycopg", "django"])
def test_a_block_that_needs_postgres_runs(text, migrated, tmp_path):
    app = Outlast(ledger=migrated, blobs=f"{tmp_path}/blobs")

    @app.task
    async def receipt(order: int) -> str:
        return f"receipt {order}"

    with psycopg.connect(migrated) as connection:
        connection.execute(TABLE)
    known = {"app": app, "receipt": receipt, "url": migrated, "Order": Order}
    known |= {"psycopg": psycopg, "AsyncSession": AsyncSession, "SyncOutlast": SyncOutlast}
    known |= {"transaction": transaction, "connections": connections}
    code = compile(text, PAGE, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        found = asyncio.run(on_a_loop(code, known))
    else:
        found = on_this_thread(code, known, "shop" in text)

    assert len(found) == 1


async def on_a_loop(code, known):
    app = known["app"]
    engine = create_async_engine(for_sqlalchemy(known["url"], "asyncpg"), poolclass=NullPool)
    async with app, asyncpg.create_pool(known["url"], min_size=0) as pool:
        await eval(code, known | {"pool": pool, "engine": engine})
        return await app.ledger.find(Filter(), Page())


def on_this_thread(code, known, is_django):
    if is_django:
        known |= {"jobs": SyncOutlast(known["app"])}
        with Django.settings(known["url"], "shop"):
            exec(code, known)
    else:
        exec(code, known)
    with known["jobs"] as jobs:
        return jobs.wait(known["app"].ledger.find(Filter(), Page()))
