"""Brokers to judge, each with its house; a server that several tests use is started once."""

from contextlib import ExitStack

import pytest

from outlast.core.errors import CapabilityError
from outlast.testing.kafka import private_kafka
from outlast.testing.rabbitmq import private_rabbitmq
from outlast.testing.redis import private_redis
from outlast.testing.sqs import private_sqs
from tests.broker.houses import MemoryHouse
from tests.broker.kafka_house import KafkaHouse
from tests.broker.rabbitmq_house import RabbitHouse
from tests.broker.redis_house import RedisHouse
from tests.broker.sqs_house import SqsHouse
from tests.conftest import needs_server


@pytest.fixture(scope="session")
def sqs():
    """An SQS of the session's own."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(private_sqs())
        except CapabilityError as error:
            needs_server("sqs", error)
        yield server


@pytest.fixture(scope="session")
def kafka():
    """A Kafka of the session's own."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(private_kafka())
        except CapabilityError as error:
            needs_server("kafka", error)
        yield server


@pytest.fixture(scope="session")
def redis_server():
    """A Redis of the session's own; who stops or fills one starts another."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(private_redis())
        except CapabilityError as error:
            needs_server("redis", error)
        yield server


@pytest.fixture
def redis_house(redis_server):
    return RedisHouse(redis_server)


@pytest.fixture(scope="session")
def rabbitmq_server():
    """A RabbitMQ of the session's own; who stops or fills one starts another."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(private_rabbitmq())
        except CapabilityError as error:
            needs_server("rabbitmq", error)
        yield server


@pytest.fixture
def rabbitmq_house(rabbitmq_server):
    return RabbitHouse(rabbitmq_server)


@pytest.fixture(params=["memory", "rabbitmq", "redis", "sqs", "sqs_fifo", "kafka"])
def house(request):
    if request.param == "memory":
        return MemoryHouse()
    if request.param in {"rabbitmq", "redis"}:
        return request.getfixturevalue(f"{request.param}_house")
    if request.param == "kafka":
        return KafkaHouse(request.getfixturevalue("kafka"))
    return SqsHouse(request.getfixturevalue("sqs"), fifo=request.param == "sqs_fifo")
