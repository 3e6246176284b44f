"""Stores to judge: a folder, and a bucket of a server that speaks S3."""

import pytest

from outlast.blobs import open_store


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        return open_store(str(tmp_path / "blobs"))
    return open_store(request.getfixturevalue("bucket"))
