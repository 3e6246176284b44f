"""A real queue of SQS before the handler, which the test empties as Lambda's poller does."""

import socket

import botocore.session
import pytest

from outlast.core.status import Status
from outlast.testing.sqs import KEYS, REGION, private_sqs
from tests.aws.sandbox import sandboxes
from tests.aws.test_lambda import FUNCTION, Place, event_of, failed, ticket

STEPS = 25


@pytest.fixture(scope="module")
def sqs():
    with private_sqs() as server:
        yield server


class Poller:
    """Takes a batch, invokes, and deletes what is not among the failures."""

    def __init__(self, server):
        self._client = botocore.session.get_session().create_client(
            "sqs", region_name=REGION, endpoint_url=server.endpoint,
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip

    @property
    def url(self):
        (url,) = self._client.list_queues()["QueueUrls"]
        return url

    def make(self, name):
        self._client.create_queue(QueueName=name)

    def put(self, body):
        self._client.send_message(QueueUrl=self.url, MessageBody=body)

    def turn(self, sandbox):
        """Deliver one batch; return how many messages it had."""
        got = self._client.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1, VisibilityTimeout=60
        )
        messages = got.get("Messages", [])
        if messages:
            records = [{"messageId": one["MessageId"], "body": one["Body"]} for one in messages]
            again = failed(sandbox.invoke({"Records": records}))
            assert again == []
            for one in messages:
                self._client.delete_message(QueueUrl=self.url, ReceiptHandle=one["ReceiptHandle"])
        return len(messages)

    def close(self):
        self._client.close()


@pytest.fixture
def poller(sqs):
    made = Poller(sqs)
    yield made
    made.close()


@pytest.mark.slow
def test_a_job_that_goes_on_has_a_new_ticket_at_once_and_needs_no_failure(sqs, poller, tmp_path):
    """A message that is failed would be seen again only after its visibility timeout."""
    place = Place(f"sqlite:///{tmp_path}/outlast.db", tmp_path)
    environment = {**place.environment, **KEYS, "OUTLAST_BROKER": sqs.url}
    poller.make("outlast_default")
    with sandboxes(tmp_path / "code", FUNCTION, environment) as start:
        sandbox = start()
        job = place.submit("long", steps=STEPS, seconds=0.3)
        poller.put(ticket(job))
        turns = []

        while not turns or turns[-1]:
            assert len(turns) < 10
            turns.append(poller.turn(sandbox))

    row, told = place.job(job)
    begun = [line for line in place.lines() if line.startswith("begin")]
    assert row.status == Status.COMPLETED
    assert begun == [f"begin {n}" for n in range(STEPS)]
    assert told.count("released") >= 1
    assert all(number == 1 for number in turns[:-1])


@pytest.mark.slow
def test_when_no_new_ticket_can_be_sent_the_old_one_comes_again(tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, so that nobody else takes the port, and not open
        broker = f"sqs://{REGION}/outlast?endpoint=http://127.0.0.1:{nobody.getsockname()[1]}"
        place = Place(f"sqlite:///{tmp_path}/outlast.db", tmp_path)
        environment = {**place.environment, **KEYS, "OUTLAST_BROKER": broker}
        with sandboxes(tmp_path / "code", FUNCTION, environment) as start:
            job = place.submit("long", steps=STEPS, seconds=0.3)

            answer = start().invoke(event_of(ticket(job)))

    assert failed(answer) == ["m0"]
    assert place.job(job)[0].status == Status.PENDING
