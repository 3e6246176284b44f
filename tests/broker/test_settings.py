"""Which broker a queue has is said in the settings, and its password is told to nobody."""

import json
from dataclasses import replace

import pytest

from outlast.cli.child import _must_agree
from outlast.cli.processes import _children, run
from outlast.core.errors import InvalidInputError
from outlast.sdk.app import Outlast
from outlast.sdk.queues import change_queue
from outlast.sdk.settings import Settings

SECRET = "hunter2"
SQS = f"sqs://ann:{SECRET}@eu-west-1"


def test_a_queue_s_own_broker_beats_the_one_of_all():
    settings = Settings.load(
        broker="memory://all", queue_settings={"mail": {"broker": SQS}, "odd": {"broker": "ledger"}}
    )

    routes = settings.routes

    assert routes.grouped(["mail", "odd", "other"]) == {SQS: ["mail"], "memory://all": ["other"]}
    assert [settings.rules(name).told()["broker"] for name in ("mail", "odd", "other")] == [
        "sqs", "ledger", "memory"
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", [f"smtp://ann:{SECRET}@mail.test", SECRET, "", 7])
def test_a_wrong_broker_is_named_by_its_place_and_not_by_its_password(tmp_path, wrong):
    file = tmp_path / "outlast.yaml"
    text = json.dumps(wrong)
    file.write_text(f"broker: {text}\nqueues:\n  mail:\n    broker: {text}\n")

    with pytest.raises(InvalidInputError) as refused:
        Settings.load(config=str(file))

    assert "line 1: broker: expected" in str(refused.value)
    assert "line 4: queues.mail.broker: expected" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_no_password_is_among_the_arguments_of_a_process():
    settings = Settings(broker=SQS, queue_settings={"mail": {"broker": SQS}, "odd": {}})

    children = _children("app.py", settings, api=True, worker=True, reload=False)

    for child in children:
        assert SECRET not in " ".join(child.command)
        assert child.environment["OUTLAST_BROKER"] == SQS
        assert json.loads(child.environment["OUTLAST_QUEUE_BROKERS"]) == {"mail": SQS}


async def test_a_broker_can_not_change_while_workers_run():
    app = Outlast(ledger="memory://")
    async with app:
        with pytest.raises(InvalidInputError, match="broker: can't change while workers run"):
            await change_queue(app, "mail", {"broker": "ledger"})


def test_processes_can_not_share_a_broker_in_memory(tmp_path):
    settings = Settings(ledger=f"sqlite:///{tmp_path}/outlast.db", broker="memory://")

    with pytest.raises(InvalidInputError, match="memory:// can't be shared between processes"):
        run("app.py", settings=settings, api=False, worker=True, ready=print)


async def test_an_app_without_a_broker_has_a_bare_ledger(tmp_path):
    settings = Settings(ledger="memory://", broker="memory://", blobs=str(tmp_path))
    for broker, is_bare in (("ledger", True), ("memory://", False)):
        app = Outlast()
        app.configure(replace(settings, broker=broker))
        async with app:
            assert hasattr(app.ledger, "publisher") is not is_bare


def test_code_and_command_must_name_the_same_broker():
    app = Outlast(broker=SQS)

    with pytest.raises(InvalidInputError, match="broker: the code says 'sqs://ann@") as refused:
        _must_agree(app, Settings())
    _must_agree(app, Settings(broker=SQS))

    assert SECRET not in str(refused.value)
