"""Images are split by chance, by the official list or by a file; groups and labels are kept."""

from collections import Counter

import pytest
from checks import refused

from lowlight.core.errors import DataError
from lowlight.dataset.split import (
    describe_fraction,
    labels_of,
    split_by_file,
    split_officially,
    split_randomly,
)
from lowlight.dataset.tables import AnnotationRow, ImageRow, SplitRow, format_table

NAMES = [f"{number:03d}.jpg" for number in range(100)]


def numbered(start, count):
    return [f"{number:04d}.jpg" for number in range(start, start + count)]


def trained(rows):
    return sum(row.split == "train" for row in rows)


def test_an_image_never_appears_in_both_splits_and_none_is_lost():
    assert [row.filename for row in split_randomly(NAMES, 0.75, seed=0)] == NAMES


@pytest.mark.parametrize(
    ("count", "fraction", "train"),
    # At least one image is for each part.
    [
        (100, 0.75, 75),
        (55, 0.75, 41),
        (7363, 0.75, 5522),
        (2, 0.01, 1),
        (2, 0.99, 1),
        (3, 0.999, 2),
    ],
)
def test_the_fraction_is_the_share_of_images_for_training(count, fraction, train):
    rows = split_randomly(numbered(0, count), fraction, seed=0)
    assert (len(rows), trained(rows)) == (count, train)


def test_a_seed_always_splits_names_the_same_way_and_another_another_way():
    rows = split_randomly(["a", "b", "c", "d"], 0.5, seed=0)
    assert rows == [("a", "test"), ("b", "train"), ("c", "test"), ("d", "train")]
    assert split_randomly(["d", "b", "a", "c"], 0.5, seed=0) == rows
    assert split_randomly(NAMES, 0.5, seed=0) != split_randomly(NAMES, 0.5, seed=1)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 75.0, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(DataError, match="--train_fraction=.*: must lie between 0 and 1"):
        split_randomly(NAMES, fraction, seed=0)


@pytest.mark.parametrize(
    ("names", "groups", "message"),
    [
        (["a"], [], "one image can't be split into two parts"),
        (["a", "b"], [["a", "b"]], "all 2 images are near-duplicates"),
    ],
)
def test_what_leaves_a_part_empty_is_refused(names, groups, message):
    with refused(message):
        split_randomly(names, 0.5, 0, groups)


# Groups of near-duplicates. -----------------------------------------------------------------------


def assert_together(rows, groups):
    split_of = dict(rows)
    assert all(len({split_of[name] for name in group}) == 1 for group in groups)


@pytest.mark.parametrize(
    ("sizes", "count", "fraction", "train"),
    [
        ([600, 300], 1000, 0.75, 700),
        ([600, 300], 1000, 0.5, 400),
        ([600, 300], 1000, 0.25, 300),
        ([50, 50, 40, 30, 30], 200, 0.5, 100),
        ([90], 100, 0.75, 90),
        ([2] * 300, 1000, 0.75, 750),
    ],
)
def test_large_groups_leave_the_share_as_near_to_the_fraction_as_they_allow(
    sizes, count, fraction, train
):
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    groups = [numbered(start, size) for start, size in zip(starts, sizes, strict=True)]
    for seed in range(20):
        rows = split_randomly(numbered(0, count), fraction, seed, groups)
        assert trained(rows) == train
        assert_together(rows, groups)
    told = [f"warning: train has {train / count:.1%} of the images, not {fraction:.1%}: no groups"]
    expected = told if abs(train / count - fraction) > 0.01 else []
    assert [line.partition(" of near")[0] for line in describe_fraction(rows, fraction)] == expected


def test_small_groups_come_into_both_parts_by_the_fraction():
    groups = [numbered(2 * number, 2) for number in range(100)]
    assert trained(split_randomly(numbered(0, 1000), 0.75, 0, groups)[:200]) == 150


@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_groups_larger_than_a_part_still_leave_an_image_in_each(fraction):
    rows = split_randomly(["a", "b", "c", "d", "e"], fraction, 0, [["a", "b"], ["c", "d", "e"]])
    assert {row.split for row in rows} == {"train", "test"}
    assert rows[0].split == rows[1].split != rows[2].split == rows[3].split == rows[4].split


# Labels. ------------------------------------------------------------------------------------------


def labelled(name):
    """Labels of an image among NAMES: 60 dogs and 40 cats, 8 of all by twilight."""
    number = int(name[:3])
    return ["dog" if number % 5 < 3 else "cat"] + ["twilight"] * (number >= 92)


LABELS = {name: labelled(name) for name in NAMES}


def train_counts(rows, labels=LABELS):
    return Counter(label for row in rows if row.split == "train" for label in labels[row.filename])


@pytest.mark.parametrize("seed", range(5))
def test_each_label_is_shared_out_as_the_whole_is(seed):
    rows = split_randomly(NAMES, 0.75, seed, labels=LABELS)
    assert train_counts(rows) == {"dog": 45, "cat": 30, "twilight": 6}
    assert trained(rows) == 75


def test_a_label_that_an_image_bears_more_than_once_counts_as_often():
    labels = {name: ["cup"] * (9 if name < "004" else 1) for name in NAMES}  # 132 cups
    rows = split_randomly(NAMES, 0.5, 0, labels=labels)
    assert train_counts(rows, labels)["cup"] == 66


def test_labels_are_shared_out_among_groups_as_well():
    groups = [[f"{n:03d}.jpg", f"{n + 1:03d}.jpg"] for n in range(0, 100, 2)]
    rows = split_randomly(NAMES, 0.5, 0, groups, LABELS)
    assert_together(rows, groups)
    assert train_counts(rows) == {"dog": 30, "cat": 20, "twilight": 4}


def test_a_balanced_split_is_the_same_whatever_the_order():
    groups = [["001.jpg", "050.jpg"], ["002.jpg", "003.jpg"]]
    rows = split_randomly(NAMES, 0.75, 1, groups, LABELS)
    backwards = [group[::-1] for group in groups[::-1]]
    labels = dict(reversed(LABELS.items()))
    assert split_randomly(NAMES[::-1], 0.75, 1, backwards, labels) == rows


def test_what_is_balanced_of_an_image_are_its_facts_and_the_classes_of_its_boxes():
    boxes = [AnnotationRow("a.jpg", 9, 9, name, 0, 0, 9, 9) for name in ("Cat", "Cat", "Cup")]
    image = ImageRow("a.jpg", "", 9, 9, "Cat", "Low", "", "", 3)
    expected = [("folder", "Cat"), ("light", "Low"), ("box", "Cat"), ("box", "Cat"), ("box", "Cup")]
    assert labels_of(image, boxes) == expected


# Splits that are given. ---------------------------------------------------------------------------


def images(*official_splits):
    pairs = zip(NAMES, official_splits, strict=False)
    return [ImageRow(name, "", 1, 1, official_split=split) for name, split in pairs]


def test_the_official_split_is_that_of_the_image_list():
    rows = split_officially(images("train", "val", "test"), "images.csv")
    assert rows == [("000.jpg", "train"), ("001.jpg", "val"), ("002.jpg", "test")]


def test_an_image_without_an_official_split_is_refused():
    with refused(
        "data/images.csv: no official split for 001.jpg.\n"
        "  Run make_annotations_csv.py with --image_list, or use --split=random."
    ):
        split_officially(images("train", ""), "data/images.csv")


def test_a_split_that_was_written_is_taken_back(tmp_path):
    rows = split_randomly(NAMES, 0.75, seed=3)
    (tmp_path / "split.csv").write_text(format_table(rows, SplitRow))
    assert split_by_file(reversed(NAMES), tmp_path / "split.csv") == rows


BAD_SPLITS = {
    "an image missing": ("a.jpg,train\n", ": doesn't name b.jpg.\n"),
    "twice": ("a.jpg,train\na.jpg,test\n", ":3: 'a.jpg' stands here twice"),
    "unknown": ("a.jpg,train\nc.jpg,test\n", ":3: 'c.jpg' isn't in images.csv"),
    "a split": ("a.jpg,Train\n", ":2: split 'Train' isn't train, val or test"),
    "no split": ("a.jpg\n", ":2: no field for column split"),
}


@pytest.mark.parametrize(("lines", "message"), BAD_SPLITS.values(), ids=BAD_SPLITS)
def test_a_split_that_does_not_fit_the_images_is_refused(tmp_path, lines, message):
    path = tmp_path / "split.csv"
    path.write_text("filename,split\n" + lines)
    with refused(f"{path}{message}"):
        split_by_file(["a.jpg", "b.jpg"], path)


def test_a_split_file_that_is_missing_is_refused(tmp_path):
    with refused(f"{tmp_path}/split.csv: no such file.\n  make_tfrecords.py"):
        split_by_file(["a.jpg"], tmp_path / "split.csv")
