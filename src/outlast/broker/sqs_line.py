"""The line to SQS: one client, bounded waits, and errors in a sentence of ours."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
)

from outlast.broker.address import Address, refused
from outlast.core.errors import UnavailableError

POLL_S_MAX: Final = 20  # SQS's own limit
_ANSWER_S: Final = 5.0
_CONNECT_S: Final = 3
_AT_ONCE: Final = 8  # requests, beside the polls
_REGION: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MISSING: Final = {"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"}
_RIGHTS: Final = (
    "SendMessage, ReceiveMessage, DeleteMessage, ChangeMessageVisibility, GetQueueUrl,"
    " GetQueueAttributes and, unless create=no, CreateQueue"
)


class Absent(Exception):
    """The queue is not there (any more)."""


class SqsLine:
    """The client of one region, which is made at the first call and again after a close."""

    def __init__(self, address: Address) -> None:
        if not _REGION.fullmatch(address.netloc):
            raise refused(
                "sqs:// expects a region and no credentials: sqs://eu-central-1/prefix",
                hint="credentials come from AWS_ACCESS_KEY_ID, a profile or a role",
            )
        self._region = address.netloc
        self._endpoint = address.text("endpoint") or None
        if self._endpoint and not self._endpoint.startswith(("http://", "https://")):
            raise refused("sqs:// option endpoint: expected http://… or https://…")
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._opening = asyncio.Lock()
        self._client: Any = None
        self._exit = AsyncExitStack()

    def __str__(self) -> str:
        return f"SQS in {self._region}"

    @property
    def place(self) -> str:
        """The region, and another endpoint than Amazon's own."""
        host = (self._endpoint or "").partition("?")[0].rpartition("@")[2]
        return f"{self._region} at {host.partition('://')[2] or host}" if host else self._region

    @property
    def is_open(self) -> bool:
        """Whether there is a client."""
        return self._client is not None

    async def ask(self, call: str, *, patience_s: float = 0, **what: Any) -> dict[str, Any]:
        """Call SQS; raise Absent when the queue isn't there, and UnavailableError for the rest."""
        if patience_s:  # a poll, which holds its connection for long
            return await self._ask(call, patience_s, what)
        async with self._room:
            return await self._ask(call, 0, what)

    async def _ask(self, call: str, patience_s: float, what: dict[str, Any]) -> dict[str, Any]:
        with self._told(call):
            async with asyncio.timeout(_ANSWER_S + patience_s):
                client = self._client or await self._open()
                return dict(await getattr(client, call)(**what))

    async def close(self) -> None:
        """Close every connection."""
        client, self._client = self._client, None
        if client is not None:
            await self._exit.aclose()

    async def _open(self) -> Any:
        async with self._opening:
            if self._client is None:
                config = AioConfig(
                    connect_timeout=_CONNECT_S,
                    read_timeout=POLL_S_MAX + _ANSWER_S,
                    retries={"total_max_attempts": 2, "mode": "standard"},
                    max_pool_connections=1_000,  # each poll holds one
                )
                making = get_session().create_client(
                    "sqs", region_name=self._region, endpoint_url=self._endpoint, config=config
                )
                self._client = await self._exit.enter_async_context(making)
            return self._client

    @contextmanager
    def _told(self, call: str) -> Iterator[None]:
        """Turn the library's errors into ours; they never leave this file."""
        what = "".join(word.capitalize() for word in call.split("_"))
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
            raise UnavailableError(
                f"{self}: no AWS credentials were found",
                hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or a role",
            ) from error
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            if code in _MISSING:
                raise Absent from error
            raise UnavailableError(
                f"{self} refused {what}: {code:.80}",
                hint=f"check the credentials, and that they may {_RIGHTS}",
            ) from error
        except (BotoCoreError, OSError, TimeoutError) as error:
            raise UnavailableError(
                f"{self} did not answer {what}: {type(error).__name__}",
                hint="check region, endpoint and network",
            ) from error
