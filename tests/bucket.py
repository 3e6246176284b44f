"""Buckets of a server that speaks S3, private to the session that asks for one."""

import pytest

from outlast.system import new_id

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@pytest.fixture(scope="session")
def s3():
    """The address of a real S3-speaking server on a free port."""
    from moto.server import ThreadedMotoServer  # takes a second to load

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3, monkeypatch):
    """A fresh bucket's URL, as a user writes it."""
    import boto3  # as above

    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    name = f"b{new_id()}"
    client = boto3.client(
        "s3", endpoint_url=s3, region_name="us-east-1",
        aws_access_key_id="test", aws_secret_access_key="test",
    )  # fmt: skip
    client.create_bucket(Bucket=name)
    client.close()
    return f"s3://{name}/some/prefix?endpoint={s3}"
