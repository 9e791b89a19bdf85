"""Small pictures as the bytes of files, for tests of what reads and writes images."""

import io

from PIL import ExifTags, Image

from lowlight.core.errors import DataError


def encode(image: Image.Image, form: str, **options) -> bytes:
    """Returns an image as a file's bytes; the options are those of Pillow's writer."""
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def rotation(orientation: int = 6) -> Image.Exif:
    """Returns EXIF data that say how a viewer should turn the image, 1 to 8; 6 is by a quarter."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def gradient(mode: str = "RGB", size: tuple = (24, 16)) -> Image.Image:
    """Returns an image whose pixels differ, so that a turn or a loss is noticed."""
    return Image.radial_gradient("L").resize(size).convert(mode)


def outcome(function, *arguments) -> tuple:
    """Returns (result, "") or (None, the message of a DataError)."""
    try:
        return function(*arguments), ""
    except DataError as error:
        return None, str(error)
