"""Results in COCO's form are read with every check; a wrong file is an error of one sentence."""

import json

import numpy as np
import pytest
from scored import random_case, small_case

from lowlight.core.errors import DataError
from lowlight.evaluation.results import format_results, keep, make_found, read_results
from lowlight.evaluation.truth import make_truth

TRUTH, _ = small_case([(0, 0, 10, 10, 50, 40)], [], images=2)
GOOD = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 40], "score": 0.5}


def write(folder, value):
    path = folder / "results.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_results_are_read_in_the_files_order(tmp_path):
    items = [GOOD, {**GOOD, "image_id": 2, "category_id": 3, "score": 1}]
    found, left_out = read_results(write(tmp_path, items), TRUTH)
    assert found.images.tolist() == [0, 1]
    assert found.labels.tolist() == [0, 2]
    assert found.ltwh.tolist() == [[10, 10, 50, 40]] * 2
    assert found.scores.tolist() == [0.5, 1]
    assert left_out == 0
    assert read_results(write(tmp_path, []), TRUTH)[0].ltwh.shape == (0, 4)


CAMERAS = make_truth(
    {1: "Car"},
    [(1, "cam1/0007.jpg", 9, 9), (2, "cam2/0007.jpg", 9, 9), (3, "M\u00fcller.jpg", 9, 9)],
    [],
)
NUMBERED = make_truth({1: "Car"}, [(1, "0003.jpg", 9, 9), (3, "0001.jpg", 9, 9)], [])


@pytest.mark.parametrize(
    ("truth", "given", "place"),
    [
        pytest.param(TRUTH, {"image_id": 2}, 1, id="an id"),
        pytest.param(TRUTH, {"image_id": "1.jpg"}, 1, id="a name"),
        pytest.param(TRUTH, {"image_id": "1"}, 1, id="a stem"),
        pytest.param(CAMERAS, {"image_id": "cam2/0007.jpg"}, 1, id="a whole name"),
        pytest.param(CAMERAS, {"image_id": 2, "file_name": "0007.jpg"}, 1, id="an id and a stem"),
        pytest.param(CAMERAS, {"image_id": "2"}, 1, id="an id as text"),
        pytest.param(CAMERAS, {"image_id": 7, "file_name": "cam1/0007.jpg"}, 0, id="a file_name"),
        pytest.param(CAMERAS, {"image_id": "Mu\u0308ller"}, 2, id="decomposed letters"),
        pytest.param(NUMBERED, {"image_id": 3, "file_name": "0003.jpg"}, 0, id="a name's number"),
        pytest.param(NUMBERED, {"image_id": 3, "file_name": "0001.jpg"}, 1, id="its id"),
    ],
)
def test_an_image_is_told_by_its_id_its_name_or_its_stem_and_a_name_decides(
    tmp_path, truth, given, place
):
    item = {**GOOD, "category_id": 1, **given}
    found, _ = read_results(write(tmp_path, [item]), truth)
    assert found.images.tolist() == [place]


@pytest.mark.parametrize(
    ("truth", "given", "message"),
    [
        pytest.param(CAMERAS, {"image_id": "0007"}, "'0007' fits several images", id="a stem"),
        pytest.param(NUMBERED, {"image_id": 3}, "image_id 3 fits several images", id="a number"),
        pytest.param(
            CAMERAS,
            {"image_id": 1, "file_name": "cam2/0007.jpg"},
            "file_name 'cam2/0007.jpg' and image_id 1 are of two images",
            id="an id of another image than the name's",
        ),
    ],
)
def test_what_fits_two_images_is_refused(tmp_path, truth, given, message):
    item = {**GOOD, "category_id": 1, **given}
    with pytest.raises(DataError, match=f"item 0: .*{message}"):
        read_results(write(tmp_path, [item]), truth)


def test_numbers_that_are_not_all_of_names_are_ids(tmp_path):
    truth = make_truth({1: "Car"}, [(1, "0003.jpg", 9, 9), (3, "x.jpg", 9, 9)], [])
    items = [{**GOOD, "category_id": 1, "image_id": number} for number in (3, 1)]
    assert read_results(write(tmp_path, items), truth)[0].images.tolist() == [1, 0]
    found, _ = read_results(write(tmp_path, items[:1]), NUMBERED, ids_only=True)
    assert found.images.tolist() == [1]


def test_detections_on_images_that_are_not_scored_are_left_out_and_counted(tmp_path):
    items = [GOOD, {**GOOD, "image_id": 2}]
    found, left_out = read_results(write(tmp_path, items), TRUTH.limited_to(1))
    assert (found.images.tolist(), left_out) == ([0], 1)


def test_what_is_written_reads_back(tmp_path):
    truth, found = random_case(3)
    back, _ = read_results(write(tmp_path, format_results(found, truth)), truth)
    assert all(np.array_equal(a, b) for a, b in zip(found[:4], back[:4], strict=True))


BAD_ITEMS = {
    "no object": (17, "no 'image_id'"),
    "no score": ({k: v for k, v in GOOD.items() if k != "score"}, "no 'score'"),
    "unknown image": ({**GOOD, "image_id": 9}, "image_id 9 isn't among the 2 images"),
    "endless number": ({**GOOD, "image_id": "9" * 5000}, "image_id '9999.* isn't among the 2"),
    "image of another type": ({**GOOD, "image_id": [1]}, r"image_id \[1\] isn't among"),
    "unknown class": ({**GOOD, "category_id": 0}, r"category_id 0 isn't among .*1 to 3"),
    "three numbers": ({**GOOD, "bbox": [1, 2, 3]}, "isn't four numbers"),
    "a number of 400 digits": ({**GOOD, "bbox": [1, 2, 10**400, 3]}, "isn't four numbers"),
    "an id of 25 digits": ({**GOOD, "image_id": 10**25}, r"image_id 1e\+25 isn't among"),
    "1e308": ({**GOOD, "bbox": [1e308, 2, 1e308, 3]}, "isn't four numbers of pixels"),
    "nan in the box": ({**GOOD, "bbox": [1, 2, 3, float("nan")]}, "isn't four numbers"),
    "x2 under x1": ({**GOOD, "bbox": [60, 10, -50, 40]}, "a box -50 wide and 40 high"),
    "negative score": ({**GOOD, "score": -0.1}, "score -0.1 isn't a number from 0 to 1"),
    "score over 1": ({**GOOD, "score": 87}, "score 87 isn't a number from 0 to 1"),
    "nan score": ({**GOOD, "score": float("nan")}, "score nan isn't a number from 0 to 1"),
    "score as text": ({**GOOD, "score": "0.5"}, "score '0.5' isn't a number"),
}


@pytest.mark.parametrize(("item", "message"), BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_a_wrong_item_is_named_with_its_place_and_remedy(tmp_path, item, message):
    with pytest.raises(DataError, match=message) as caught:
        read_results(write(tmp_path, [GOOD, item]), TRUTH)
    assert f"{tmp_path}/results.json: item 1: " in str(caught.value)
    assert "\n  " in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (json.dumps([GOOD])[:-9], "not JSON, or cut short"),
        ({"annotations": []}, "no list at the top"),
        ({"images": []}, "an object with images, not a list"),  # run_inference.py's
    ],
)
def test_a_wrong_file_is_named(tmp_path, value, message):
    with pytest.raises(DataError, match=message):
        read_results(write(tmp_path, value), TRUTH)


def test_the_first_errors_are_told_together(tmp_path):
    with pytest.raises(DataError) as caught:
        read_results(write(tmp_path, [{}] * 50), TRUTH)
    assert str(caught.value).count("item ") == 20
    assert "and 30 more" in str(caught.value)


def test_low_scores_and_the_rest_of_many_are_left_out():
    scores = [0.9, 0.2, 0.5, 0.7]
    found = make_found([0, 0, 0, 1], [0, 1, 0, 0], [[0, 0, 1, 1]] * 4, scores)
    assert keep(found, 0.5).tolist() == [0, 2, 3]
    assert keep(found, 0, 2).tolist() == [0, 2, 3]
    assert keep(found, 0.6, 1).tolist() == [0, 3]
    assert keep(found).tolist() == [0, 1, 2, 3]
