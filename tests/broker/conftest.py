"""Brokers to judge, each with its house; a server that several tests use is started once."""

import pytest

from tests.broker.houses import MemoryHouse
from tests.broker.kafka_house import KafkaHouse
from tests.broker.rabbitmq_house import RabbitHouse
from tests.broker.redis_house import RedisHouse
from tests.broker.sqs_house import SqsHouse


@pytest.fixture
def redis_house(redis_server):
    return RedisHouse(redis_server)


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
