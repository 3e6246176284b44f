import io

import pytest
from PIL import Image


def size(data):
    return Image.open(io.BytesIO(data)).size


async def test_a_photo_gets_smaller_sizes_a_thumbnail_and_filters(run, samples):
    job = run("photo_gallery")

    result = await job.attempt(photo=str(samples / "hubble_deep_field.jpg"))

    made = {name.removeprefix("hubble_deep_field-").removesuffix(".webp") for name in job.names()}
    filters = {"noir", "sepia", "duotone", "vivid", "dreamy", "sketch"}
    assert made == {"800w", "400w", "thumbnail"} | filters
    assert size(job.file("hubble_deep_field-400w.webp")) == (400, 349)
    assert [size(job.file(one["file"])) for one in result["pictures"]] == [
        (one["width"], one["height"]) for one in result["pictures"]
    ]


async def test_a_corrupt_photo_fails_until_it_is_replaced(run, samples, tmp_path):
    job, upload = run("thumbnail"), tmp_path / "upload.jpg"
    upload.write_bytes(b"<html>413 Request Entity Too Large</html>")
    for _ in range(2):
        with pytest.raises(ValueError, match="expected an image, got a file with '<html>413"):
            await job.attempt(photo=str(upload))

    upload.write_bytes((samples / "rocket.jpg").read_bytes())
    result = await job.attempt(photo=str(upload))

    assert (result["width"], result["height"]) == (200, 200)
