"""A user's connection by each library, begun and ended in that library's own words."""

from contextlib import contextmanager
from urllib.parse import urlsplit

import apsw
import asyncpg
import psycopg
from django.db import connections, transaction
from psycopg.rows import dict_row
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tests.frameworks import django_fixtures  # noqa: F401 - sets Django up

TABLE = "CREATE TABLE IF NOT EXISTS orders (number integer)"


class Theirs:
    """What a law does with a connection; one that blocks waits for nothing in its coroutines."""

    is_async = True
    store = "postgres"

    def __init__(self, url):
        self.url = url

    async def open(self):
        raise NotImplementedError

    async def close(self):
        await self.connection.close()

    async def begin(self): ...

    async def commit(self):
        await self.connection.commit()

    async def rollback(self):
        await self.connection.rollback()

    async def run(self, statement):
        raise NotImplementedError

    async def commit_each(self): ...

    async def part(self):
        await self.run("SAVEPOINT theirs")

    async def undo_part(self):
        await self.run("ROLLBACK TO SAVEPOINT theirs")

    async def orders(self):
        return [next(iter(row)) for row in await self.run("SELECT number FROM orders")]


class Blocking(Theirs):
    is_async = False

    async def close(self):
        self.connection.close()

    async def commit(self):
        self.connection.commit()

    async def rollback(self):
        self.connection.rollback()


class Asyncpg(Theirs):
    async def open(self):
        self.connection = await asyncpg.connect(self.url)

    async def begin(self):
        self.transaction = self.connection.transaction()
        await self.transaction.start()

    async def commit(self):
        await self.transaction.commit()

    async def rollback(self):
        await self.transaction.rollback()

    async def run(self, statement):
        return await self.connection.fetch(statement)


class AsyncpgPool(Asyncpg):
    async def open(self):
        self.pool = await asyncpg.create_pool(self.url, min_size=1, max_size=1)
        self.connection = await self.pool.acquire()

    async def close(self):
        await self.pool.release(self.connection)
        await self.pool.close()


class Psycopg(Blocking):
    async def open(self):
        self.connection = psycopg.connect(self.url, row_factory=dict_row)

    async def commit_each(self):
        self.connection.autocommit = True

    async def run(self, statement):
        cursor = self.connection.execute(statement)
        return [row.values() for row in cursor] if cursor.description else []


class AsyncPsycopg(Theirs):
    async def open(self):
        self.connection = await psycopg.AsyncConnection.connect(self.url)

    async def commit_each(self):
        await self.connection.set_autocommit(True)

    async def run(self, statement):
        cursor = await self.connection.execute(statement)
        return await cursor.fetchall() if cursor.description else []


def for_sqlalchemy(url, driver):
    """Return the URL as SQLAlchemy takes it: options go to the driver by their names there."""
    names = ("sslmode=", "ssl=") if driver == "asyncpg" else ("", "")
    return url.replace("postgresql:", f"postgresql+{driver}:").replace(*names)


class SqlAlchemy(Blocking):
    driver = "psycopg"

    async def open(self):
        self.engine = create_engine(for_sqlalchemy(self.url, self.driver), poolclass=NullPool)
        self.connection = self.made()

    def made(self):
        return self.engine.connect()

    async def commit_each(self):
        self.engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self.connection.close()
        self.connection = self.made()

    async def run(self, statement):
        result = self.connection.execute(text(statement))
        return result.all() if result.returns_rows else []


class SqlAlchemyOrm(SqlAlchemy):
    def made(self):
        return Session(self.engine)


class AsyncSqlAlchemy(Theirs):
    driver = "asyncpg"

    async def open(self):
        self.engine = create_async_engine(for_sqlalchemy(self.url, self.driver), poolclass=NullPool)
        self.connection = await self.made()

    async def made(self):
        return await self.engine.connect()

    async def commit_each(self):
        self.engine = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        await self.connection.close()
        self.connection = await self.made()

    async def run(self, statement):
        result = await self.connection.execute(text(statement))
        return result.all() if result.returns_rows else []


class AsyncSqlAlchemyPsycopg(AsyncSqlAlchemy):
    driver = "psycopg"


class AsyncSqlAlchemyOrm(AsyncSqlAlchemy):
    async def made(self):
        return AsyncSession(self.engine)


class Django(Blocking):
    @staticmethod
    @contextmanager
    def settings(url, alias):
        at = urlsplit(url)
        connections.settings[alias] = {
            **connections.settings["default"],
            "ENGINE": "django.db.backends.postgresql",
            "NAME": at.path[1:],
            "USER": at.username,
            "PASSWORD": at.password,
            "HOST": at.hostname,
            "PORT": at.port,
        }
        try:
            yield
        finally:
            connections[alias].close()
            del connections[alias]
            del connections.settings[alias]

    async def open(self):
        self.configured = self.settings(self.url, "shared")
        self.configured.__enter__()
        self.connection = connections["shared"]

    async def close(self):
        self.configured.__exit__(None, None, None)

    async def begin(self):
        self.block = transaction.atomic(using="shared")
        self.block.__enter__()

    async def commit(self):
        self.block.__exit__(None, None, None)

    async def rollback(self):
        transaction.set_rollback(True, using="shared")
        self.block.__exit__(None, None, None)

    async def part(self):
        self.saved = transaction.savepoint(using="shared")

    async def undo_part(self):
        transaction.savepoint_rollback(self.saved, using="shared")

    async def run(self, statement):
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


class Apsw(Blocking):
    store = "sqlite"

    async def open(self):
        self.connection = apsw.Connection(self.url.removeprefix("sqlite:///"))
        self.connection.set_busy_timeout(5_000)
        self.connection.row_trace = lambda _, row: dict(enumerate(row))

    async def begin(self):
        await self.run("BEGIN IMMEDIATE")

    async def commit(self):
        await self.run("COMMIT")

    async def rollback(self):
        await self.run("ROLLBACK")

    async def run(self, statement):
        return [row.values() for row in self.connection.execute(statement)]


LIBRARIES = {
    "asyncpg": Asyncpg,
    "asyncpg-pool": AsyncpgPool,
    "psycopg": Psycopg,
    "psycopg-async": AsyncPsycopg,
    "sqlalchemy": SqlAlchemy,
    "sqlalchemy-orm": SqlAlchemyOrm,
    "sqlalchemy-async": AsyncSqlAlchemy,
    "sqlalchemy-async-psycopg": AsyncSqlAlchemyPsycopg,
    "sqlalchemy-async-orm": AsyncSqlAlchemyOrm,
    "django": Django,
    "apsw": Apsw,
}
