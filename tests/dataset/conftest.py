"""What the tests of labels that come in and go out share."""

import pytest
from PIL import Image

from lowlight.dataset.conversion import convert_images
from lowlight.dataset.tables import ImageRow, SplitRow, format_table, read_table


@pytest.fixture
def converted(tiny_exdark):
    """tiny_exdark with its images converted to images/."""
    convert_images(tiny_exdark / "ExDark", tiny_exdark / "images")
    return tiny_exdark


@pytest.fixture
def data_dir(tiny_data):
    """tiny_data with a split.csv: the first six images are for training, the others to test."""
    images = read_table(tiny_data / "images.csv", ImageRow, "")
    rows = zip(images.filename, ["train"] * 6 + ["test"] * 2, strict=True)
    (tiny_data / "split.csv").write_text(format_table([SplitRow(*row) for row in rows], SplitRow))
    return tiny_data


@pytest.fixture
def images_dir(tmp_path):
    """A folder with a.jpg and b.jpg, 40x20."""
    (tmp_path / "images").mkdir()
    for name in "ab":
        Image.new("RGB", (40, 20)).save(tmp_path / f"images/{name}.jpg")
    return tmp_path / "images"
