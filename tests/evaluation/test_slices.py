"""Slices are scored as if they were the whole, with intervals that a seed repeats."""

import numpy as np
import pytest
from PIL import Image
from scored import random_case, score_by_pycocotools, small_case

from lowlight.core.errors import DataError
from lowlight.dataset.tables import ImageRow, format_table
from lowlight.evaluation.matching import match_areas, rank_detections
from lowlight.evaluation.slices import draw_weights, make_families, score_slices
from lowlight.evaluation.truth import TrueBox, make_truth
from lowlight.evaluation.truth_source import Facts, measure_brightness, read_columns

BOX = (50, 50, 60, 60)


def score(truth, found, columns=None, samples=0, seed=0, **measured):
    ranked = rank_detections(truth, found)
    facts = Facts(columns or {}, **measured)
    families, notes = make_families(ranked, match_areas(ranked), facts)
    weights = draw_weights(len(truth.filenames), samples, seed)
    slices = score_slices(ranked, families, weights)
    return {(part.family, part.name): part for part in slices}, notes


def part_of(truth, found, chosen):
    """The images for which `chosen` holds, as ground truth and detections of their own."""
    places = np.flatnonzero(chosen)
    images = [(int(truth.image_ids[n]), truth.filenames[n], 640, 480) for n in places]
    boxes = [
        TrueBox(truth.image_ids[truth.images[b]], truth.class_ids[truth.labels[b]], truth.ltwh[b])
        for b in np.flatnonzero(chosen[truth.images])
    ]
    names = dict(zip(truth.class_ids, truth.names, strict=True))
    found = found.at(chosen[found.images])
    moved = found._replace(images=np.searchsorted(places, found.images))
    return make_truth(names, images, boxes), moved


def test_a_slice_of_images_scores_as_these_images_alone():
    truth, found = random_case(21, images=40)
    dark = np.arange(40) % 3 == 0
    slices, _ = score(truth, found, {"lighting": tuple(np.where(dark, "Low", "Strong"))})
    for name, chosen in (("Low", dark), ("Strong", ~dark)):
        theirs = score_by_pycocotools(*part_of(truth, found, chosen))
        scores = slices["Lighting", name].scores
        assert scores.tolist() == pytest.approx([theirs[n] for n in (0, 1, 2, 8)], abs=1e-9)


def test_all_classes_and_cocos_sizes_score_as_pycocotools():
    truth, found = random_case(22, images=40, crowds=0.1)
    theirs = score_by_pycocotools(truth, found)
    slices, _ = score(truth, found)
    assert slices["All", "all images"].scores[0] == pytest.approx(theirs[0], abs=1e-9)
    for place, name in enumerate(("small", "medium", "large")):
        scores = slices["Box size, COCO's", name].scores
        assert scores[[0, 3]].tolist() == pytest.approx(theirs[[3 + place, 9 + place]], abs=1e-9)
    means = [slices["Class", name].scores[0] for name in truth.names[:-1]]
    assert np.mean(means) == pytest.approx(theirs[0], abs=1e-9)


def test_a_slice_counts_its_images_and_boxes():
    truth, found = small_case([(0, 0, *BOX), (0, 1, *BOX), (2, 0, *BOX)], [], images=4)
    slices, _ = score(truth, found, {"weather": ("rain", "rain", "fog", "fog")})
    counts = {key: (part.images, part.boxes) for key, part in slices.items()}
    assert counts["All", "all images"] == (2, 3)
    assert counts["Weather", "rain"] == (1, 2)
    assert counts["Weather", "fog"] == (1, 1)
    assert counts["Class", "Cat"] == (2, 2)
    assert counts["Crowding", "0 or 1 box"] == (1, 1)
    assert counts["Crowding", "2 or 3 boxes"] == (1, 2)


def test_a_slice_with_too_little_data_says_so_and_gives_no_interval():
    truth, found = small_case([(0, 0, *BOX)], [(0, 0, *BOX, 0.9)], images=12)
    slices, _ = score(truth, found, samples=50)
    assert slices["All", "all images"].remark == "too little data: 1 image with 1 box"
    assert np.isnan(slices["All", "all images"].intervals()).all()
    assert slices["Class", "Dog"].remark == "no boxes"
    assert slices["Class", "Dog"].scores.tolist() == pytest.approx([np.nan] * 4, nan_ok=True)


def test_the_same_seed_gives_the_same_intervals_and_another_others():
    truth, found = random_case(23, images=40)
    first, again, other = (
        score(truth, found, samples=200, seed=seed)[0]["All", "all images"].intervals()
        for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert np.allclose(first, other, atol=0.05)


def test_19_of_20_intervals_hold_the_mean_score_of_such_sets_of_images():
    parts = [
        score(*random_case(200 + seed, images=30), samples=100)[0]["All", "all images"]
        for seed in range(40)
    ]
    mean = np.mean([part.scores[0] for part in parts])
    hits = sum(low <= mean <= high for low, high in (part.intervals()[0] for part in parts))
    assert 36 <= hits <= 40


def test_brightness_parts_images_and_boxes_into_quartiles():
    boxes = [(n, 0, *BOX) for n in range(40)]
    truth, found = small_case(boxes, [(n, 0, *BOX, 0.9) for n in range(20)], images=40)
    found = found._replace(brightness=np.arange(20.0))
    bright = np.arange(40.0)
    slices, notes = score(truth, found, brightness=bright, box_brightness=bright)
    assert notes == []
    recalls = [part.scores[3] for key, part in slices.items() if key[0] == "Image brightness"]
    assert recalls == pytest.approx([1, 1, 0, 0])
    recalls = [part.scores[3] for key, part in slices.items() if key[0] == "Box brightness"]
    assert recalls == pytest.approx([1, 1, 0, 0])


def test_a_column_of_many_numbers_is_parted_into_quartiles_and_one_of_many_texts_left_out():
    truth, found = small_case([(n, 0, *BOX) for n in range(40)], [], images=40)
    columns = {"iso": tuple(str(n) for n in range(40)), "place": tuple(f"p{n}" for n in range(40))}
    slices, notes = score(truth, found, columns)
    assert [key[1] for key in slices if key[0] == "Iso"] == [
        "under 9.8",
        "9.8 to 19.5",
        "19.5 to 29.2",
        "29.2 and more",
    ]
    assert "The column place has too many different values for slices." in notes


def test_a_column_called_as_another_family_keeps_apart_from_it():
    truth, found = small_case([(0, 0, *BOX)], [], images=2)
    slices, _ = score(truth, found, {"class": ("Cat", "other")})
    assert slices["Class (column)", "Cat"].boxes == slices["Class", "Cat"].boxes == 1
    assert len(slices) == len(set(slices))


def table(folder, names, extra=""):
    rows = [ImageRow(n, n, 9, 9, "Cat", "Low" if n != "c" else "", "", "", 0) for n in names]
    lines = format_table(rows, ImageRow).splitlines()
    if extra:
        lines = [f"{line},{extra if n == 0 else n % 2}" for n, line in enumerate(lines)]
    path = folder / "images.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_facts_come_from_images_csv_with_the_users_own_columns(tmp_path):
    facts = read_columns(table(tmp_path, "abc", "camera"), ("c", "a"))
    assert facts.columns == {"lighting": ("", "Low"), "camera": ("1", "1")}
    assert len(facts.notes) == 2
    assert facts.notes[0].endswith(
        "has no lighting for 1 of the images, which are left out of its slices."
    )


def test_an_images_csv_that_lacks_images_is_named(tmp_path):
    with pytest.raises(DataError, match=r"images.csv: lacks 2 of the 3 scored images \(x, y\)"):
        read_columns(table(tmp_path, "ab"), ("a", "x", "y"))


def test_brightness_is_the_mean_luma_of_the_image_and_of_each_box():
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[:, 200:] = 100
    boxes = np.array([[0, 0, 100, 100], [300, 10, 50, 50], [150, 0, 100, 300], [500, 0, 9, 9]])
    mean, means = measure_brightness(Image.fromarray(pixels), boxes, (400, 300))
    assert mean == pytest.approx(50)
    assert means.tolist() == pytest.approx([0, 100, 50, np.nan], nan_ok=True)
