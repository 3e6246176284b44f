import io

from PIL import Image


def size(data):
    return Image.open(io.BytesIO(data)).size


async def test_a_photo_gets_smaller_sizes_a_thumbnail_and_filters(run, samples):
    job = await run("photo_gallery", photo=str(samples / "hubble_deep_field.jpg"))

    made = {name.removeprefix("hubble_deep_field-").removesuffix(".webp") for name in job.files}
    filters = {"noir", "sepia", "duotone", "vivid", "dreamy", "sketch"}
    assert made == {"800w", "400w", "thumbnail"} | filters
    assert size(job.file("hubble_deep_field-400w.webp")) == (400, 349)
    assert [size(job.file(one["file"])) for one in job.result["pictures"]] == [
        (one["width"], one["height"]) for one in job.result["pictures"]
    ]


async def test_a_corrupt_photo_fails_until_it_is_replaced(t, run, samples, tmp_path):
    upload = tmp_path / "upload.jpg"
    upload.write_bytes(b"<html>413 Request Entity Too Large</html>")

    job = await run("thumbnail", photo=str(upload))
    assert "expected an image, got a file with '<html>413" in job.error["message"]
    assert job.status == "scheduled"

    upload.write_bytes((samples / "rocket.jpg").read_bytes())
    await t.advance("1s")

    result = t.job(job).result
    assert (result["width"], result["height"]) == (200, 200)
