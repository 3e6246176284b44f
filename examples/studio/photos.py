"""Make the sizes and filtered versions of a photo that a gallery shows."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from outlast import SyncJob

if TYPE_CHECKING:
    # A worker that never touches a photo should not carry the image library.
    from PIL.Image import Image

WIDTHS = (1600, 800, 400)
THUMBNAIL = (200, 200)
HEAD_BYTES = 24


@dataclass(frozen=True, slots=True)
class Picture:
    """One file made from a photo."""

    file: str
    width: int
    height: int
    size: int


@dataclass(frozen=True, slots=True)
class Gallery:
    """All files made from a photo."""

    photo: str
    pictures: list[Picture]


def photo_gallery(job: SyncJob, photo: Path) -> Gallery:
    """Make every size and filter of one photo, each an artifact."""
    original = open_photo(photo)
    variants = plan(original)
    pictures = []
    for name, make in job.track(list(variants.items()), photo.stem):
        image = make(original)
        artifact = job.save(f"{photo.stem}-{name}.webp", encode(image))
        pictures.append(Picture(artifact.name, image.width, image.height, artifact.size))
    job.log(f"made {len(pictures)} pictures of {photo.name}")
    return Gallery(photo.name, pictures)


def thumbnail(job: SyncJob, photo: Path) -> Picture:
    """Make one square thumbnail; a file that is no image fails until it is replaced."""
    image = square(open_photo(photo))
    artifact = job.save(f"{photo.stem}-thumbnail.webp", encode(image))
    return Picture(artifact.name, image.width, image.height, artifact.size)


def open_photo(photo: Path) -> "Image":
    """Read a photo upright; raise ValueError that shows what a file is when it is no image."""
    from PIL import Image, ImageOps, UnidentifiedImageError  # noqa: PLC0415 - see TYPE_CHECKING

    try:
        with Image.open(photo) as file:
            # Cameras store how they were held in a tag that the web's viewers need not heed.
            return ImageOps.exif_transpose(file).convert("RGB")
    except UnidentifiedImageError as error:
        with photo.open("rb") as unknown:
            head = unknown.read(HEAD_BYTES).decode(errors="replace")
        raise ValueError(f"{photo.name}: expected an image, got a file with {head!r}") from error


def plan(original: "Image") -> dict[str, Callable[["Image"], "Image"]]:
    """Return the versions to make of a photo: never larger than it is, plus the filters."""
    widths = [width for width in WIDTHS if width < original.width]
    sizes = {f"{width}w": partial(resize, width=width) for width in widths}
    return {**sizes, "thumbnail": square, **FILTERS}


def resize(image: "Image", width: int) -> "Image":
    """Scale to a width, keeping the proportions."""
    from PIL.Image import Resampling  # noqa: PLC0415

    height = max(1, round(image.height * width / image.width))
    return image.resize((width, height), Resampling.LANCZOS)


def square(image: "Image") -> "Image":
    """Cut a square thumbnail out of the middle."""
    from PIL import ImageOps  # noqa: PLC0415

    return ImageOps.fit(image, THUMBNAIL)


def noir(image: "Image") -> "Image":
    """Turn black and white, with strong contrast."""
    from PIL import ImageEnhance, ImageOps  # noqa: PLC0415

    grey = ImageOps.autocontrast(ImageOps.grayscale(image), cutoff=1)
    return ImageEnhance.Contrast(grey).enhance(1.25).convert("RGB")


def sepia(image: "Image") -> "Image":
    """Tone like an old print."""
    from PIL import ImageOps  # noqa: PLC0415

    grey = ImageOps.autocontrast(ImageOps.grayscale(image), cutoff=0.5)
    return ImageOps.colorize(grey, black="#22150b", mid="#9a7650", white="#fbf1dc")


def duotone(image: "Image") -> "Image":
    """Print in two inks, deep blue and warm rose."""
    from PIL import ImageOps  # noqa: PLC0415

    grey = ImageOps.autocontrast(ImageOps.grayscale(image), cutoff=1)
    return ImageOps.colorize(grey, black="#14213d", mid="#b5446e", white="#ffe8c2")


def vivid(image: "Image") -> "Image":
    """Strengthen colour, contrast and edges."""
    from PIL import ImageEnhance, ImageFilter  # noqa: PLC0415

    strong = ImageEnhance.Color(image).enhance(1.45)
    contrast = ImageEnhance.Contrast(strong).enhance(1.12)
    return contrast.filter(ImageFilter.UnsharpMask(radius=2, percent=90, threshold=2))


def dreamy(image: "Image") -> "Image":
    """Glow softly: the photo screened with a blurred copy of itself."""
    from PIL import Image, ImageChops, ImageFilter  # noqa: PLC0415

    glow = image.filter(ImageFilter.GaussianBlur(image.width / 70))
    return Image.blend(image, ImageChops.screen(image, glow), 0.55)


def sketch(image: "Image") -> "Image":
    """Draw in pencil: each pixel of the grey photo divided by its blurred surroundings."""
    from PIL import ImageFilter, ImageMath, ImageOps  # noqa: PLC0415

    grey = ImageOps.grayscale(image)
    around = grey.filter(ImageFilter.GaussianBlur(max(2, image.width / 90)))
    lines = ImageMath.lambda_eval(
        lambda given: given["convert"](
            given["min"](given["grey"] * 255 / (given["around"] + 1), 255), "L"
        ),
        grey=grey,
        around=around,
    )
    darker: Image = lines.point(lambda level: 255 * (level / 255) ** 2)
    return darker.convert("RGB")


FILTERS: dict[str, Callable[["Image"], "Image"]] = {
    "noir": noir,
    "sepia": sepia,
    "duotone": duotone,
    "vivid": vivid,
    "dreamy": dreamy,
    "sketch": sketch,
}


def encode(image: "Image") -> bytes:
    """Write as WebP, which every browser shows and which is a third smaller than JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=82, method=4)
    return buffer.getvalue()
