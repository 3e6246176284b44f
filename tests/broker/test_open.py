"""A broker's URL opens it, or says in one sentence what is wrong."""

import pytest

from outlast import broker
from outlast.broker.memory import MemoryBroker
from outlast.core.errors import CapabilityError, InvalidInputError


def test_a_url_opens_the_broker_that_it_names():
    assert isinstance(broker.open_broker("memory://"), MemoryBroker)


@pytest.mark.parametrize(
    "url",
    ["smtp://ann:hunter2@mail.test/x?token=hunter2", "hunter2", "", "://hunter2", "x://[hunter2"],
)
def test_another_url_is_refused_without_telling_its_password(url):
    with pytest.raises(InvalidInputError, match="expected a URL that starts with") as refusal:
        broker.open_broker(url)

    assert "hunter2" not in str(refusal.value)


def test_a_client_that_is_not_installed_is_named_with_its_install_line(monkeypatch):
    home = broker._Home("outlast_no_such_client", "Broker", "redis")
    monkeypatch.setitem(broker._HOMES, "redis", home)

    with pytest.raises(CapabilityError, match=r'pip install "outlast\[redis\]"') as refusal:
        broker.open_broker("redis://ann:hunter2@cache.test")

    assert "hunter2" not in str(refusal.value)
