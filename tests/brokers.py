"""The servers of brokers, private to the session; who stops or fills one starts another."""

from contextlib import ExitStack

import pytest

from outlast.core.errors import CapabilityError
from outlast.testing.kafka import private_kafka
from outlast.testing.rabbitmq import private_rabbitmq
from outlast.testing.redis import private_redis
from outlast.testing.sqs import private_sqs
from tests.conftest import needs_server


def of_the_session(name, start):
    """Return a fixture that gives a server, or says aloud that it can't be started here."""

    @pytest.fixture(scope="session")
    def server():
        with ExitStack() as stack:
            try:
                started = stack.enter_context(start())
            except CapabilityError as error:
                needs_server(name, error)
            yield started

    return server


redis_server = of_the_session("redis", private_redis)
rabbitmq_server = of_the_session("rabbitmq", private_rabbitmq)
sqs = of_the_session("sqs", private_sqs)
kafka = of_the_session("kafka", private_kafka)
