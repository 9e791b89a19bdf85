"""Copies of a photograph are found, and different dark photographs are not taken for copies."""

import io
import itertools

import numpy as np
import pytest
from pictures import encode
from PIL import Image

from lowlight.core.errors import DataError
from lowlight.dataset import split
from lowlight.dataset.conversion import convert_images, hash_image
from lowlight.dataset.sample import write_sample
from lowlight.dataset.split import close_pairs, describe_duplicates, find_duplicates
from lowlight.dataset.tables import SplitRow


def photograph(seed, brightest=60):
    """Returns a dark image, 160x120: soft forms with some grain."""
    rng = np.random.default_rng(seed)
    forms = Image.fromarray(rng.integers(0, brightest, (15, 20, 3), np.uint8))
    pixels = np.asarray(forms.resize((160, 120), Image.Resampling.BICUBIC), np.int16)
    return Image.fromarray((pixels + rng.integers(0, 4, pixels.shape)).astype(np.uint8))


def encoded_again(image):
    return Image.open(io.BytesIO(encode(image, "JPEG", quality=20)))


def save(folder, **images):
    for name, image in images.items():
        image.save(folder / f"{name}.jpg", quality=95)
    return [f"{name}.jpg" for name in images]


COPIES = {
    "the same": lambda image: image,
    "encoded at quality 20": encoded_again,
    "half as large": lambda image: image.resize((80, 60)),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "brightened": lambda image: image.point(lambda v: v * 1.3),
    "darkened": lambda image: image.point(lambda v: v * 0.6),
    "cropped by a hundredth": lambda image: image.crop((2, 1, 160, 120)),
}


def test_copies_of_a_photograph_are_one_group_whatever_was_done_to_them(tmp_path):
    copies = {name.replace(" ", "_"): copy(photograph(0)) for name, copy in COPIES.items()}
    names = save(tmp_path, a=photograph(1), **copies, z0=photograph(2), z1=photograph(2))
    groups = [sorted(f"{name}.jpg" for name in copies), ["z0.jpg", "z1.jpg"]]
    assert find_duplicates(reversed(names), tmp_path) == groups


@pytest.mark.parametrize("brightest", [255, 60, 12])
def test_different_photographs_are_not_taken_for_copies_however_dark(tmp_path, brightest):
    names = save(tmp_path, **{f"n{seed}": photograph(seed, brightest) for seed in range(40)})
    assert find_duplicates(names, tmp_path) == []


def test_images_without_anything_to_see_belong_to_no_group(tmp_path):
    flat = {f"flat{level}": Image.new("RGB", (40, 30), (level,) * 3) for level in range(4)}
    assert find_duplicates(save(tmp_path, **flat), tmp_path) == []
    assert find_duplicates([], tmp_path) == []


def test_drawn_night_scenes_are_not_taken_for_copies(tmp_path):
    write_sample(tmp_path / "sample", 60, 0, 160, 120)
    convert_images(tmp_path / "sample/ExDark", tmp_path / "images")
    names = [path.name for path in (tmp_path / "images").glob("*.jpg")]
    assert (len(names), find_duplicates(names, tmp_path / "images")) == (60, [])


def test_pairs_are_those_that_differ_in_few_bits_in_any_block():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, (600, 4), np.uint64)
    hashes[599] = hashes[3] ^ np.array([0xFFFF, 0, 0, 0], np.uint64)
    hashes[301] = hashes[300]
    assert list(close_pairs(hashes, 16)) == [(3, 599), (300, 301)]
    assert list(close_pairs(hashes, 15)) == [(300, 301)]


def test_all_pairs_of_equal_hashes_are_given():
    pairs = list(close_pairs(np.zeros((5, 4), np.uint64)))
    assert pairs == list(itertools.combinations(range(5), 2))


@pytest.mark.parametrize(
    ("data", "message"),
    [(None, r"a\.jpg: no such file\.\n  Run convert_images\.py"), (b"x", r"a\.jpg: not an image")],
)
def test_an_image_that_cannot_be_read_is_named(tmp_path, data, message):
    if data:
        (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(DataError, match=message):
        find_duplicates(["a.jpg"], tmp_path)


def spoil_hashes(text):
    """Returns what puts a text where converted.csv has the images' hashes."""

    def spoil(folder):
        header, *table = (folder / "converted.csv").read_text().splitlines()
        lines = [line.rpartition(",")[0] + f",{text}" for line in table]
        (folder / "converted.csv").write_text("\n".join([header, *lines]) + "\n")

    return spoil


NAMES, GROUP = ["a.jpg", "b.jpg", "c.jpg"], ["a.jpg", "c.jpg"]
# What is done after the conversion; which images are hashed then, and the groups.
AFTERWARDS = {
    "nothing": (lambda _: None, [], [GROUP]),
    "an image changed": (lambda f: photograph(2).save(f / "c.jpg", quality=95), ["c.jpg"], []),
    "the table is gone": (lambda f: (f / "converted.csv").unlink(), NAMES, [GROUP]),
    **{
        f"hashes of another form, {text[:9]!r}": (spoil_hashes(text), NAMES, [GROUP])
        for text in ("", "flatter", "0" * 63, "G" * 64)
    },
}


@pytest.mark.parametrize(("do", "expected", "groups"), AFTERWARDS.values(), ids=AFTERWARDS)
def test_hashes_of_the_conversion_are_used_where_they_are_the_images(
    tmp_path, monkeypatch, do, expected, groups
):
    hashed, folder = [], tmp_path / "images"
    (tmp_path / "in").mkdir()
    save(tmp_path / "in", a=photograph(0), b=photograph(1), c=photograph(0))
    convert_images(tmp_path / "in", folder)
    do(folder)
    monkeypatch.setattr(
        split,
        "hash_image",
        lambda data, place: hashed.append(place.name) or hash_image(data, place),
    )
    assert find_duplicates(NAMES, folder) == groups
    assert sorted(hashed) == expected


ROWS = [
    SplitRow(f"{name}.jpg", part)
    for name, part in zip("abcd", ("train", "val", "test", "test"), strict=True)
]


def test_a_summary_counts_groups_and_names_the_first_that_lie_in_several_parts():
    groups = [["a.jpg", "b.jpg"], ["c.jpg", "d.jpg"]]
    assert describe_duplicates([], ROWS) == ["near-duplicates: none"]
    assert describe_duplicates(groups[1:], ROWS) == [
        "near-duplicates: 1 group of 2 images, each in one part"
    ]
    assert describe_duplicates([groups[0], *groups], ROWS, most=1) == [
        "near-duplicates: 3 groups of 6 images, 2 of them in several parts",
        "  a.jpg (train), b.jpg (val)",
        "  and 1 more in several parts",
    ]
