"""COCO's JSON of object detection is written so that others read it, and read with its faults."""

import json

import pytest
from checks import BOXES, IMAGE, refused
from pycocotools.coco import COCO

from lowlight.core.errors import DataError
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.coco import parse_coco
from lowlight.dataset.label_export import tables_to_coco
from lowlight.dataset.labels import CocoBox, CocoImage
from lowlight.dataset.tables import AnnotationRow, ImageRow

ENTRIES = [
    (IMAGE, BOXES),
    (ImageRow("b.jpg", "Cat/b.jpg", 40, 30), []),
    (ImageRow("c.jpg", "Dog/c.jpg", 40, 30), [AnnotationRow("c.jpg", 40, 30, "Dog", 1, 2, 4, 6)]),
]
ALL = {"a.jpg", "b.jpg", "c.jpg"}


def test_a_box_is_left_top_width_height_with_its_area():
    whole = json.loads(tables_to_coco(ENTRIES, CLASSES, {"a.jpg"}))
    assert whole["images"] == [{"id": 1, "file_name": "a.jpg", "width": 80, "height": 40}]
    more = {"image_id": 1, "iscrowd": 0}
    assert whole["annotations"] == [
        {**more, "id": 1, "category_id": 6, "bbox": [8, 10, 32, 10], "area": 320},
        {**more, "id": 2, "category_id": 12, "bbox": [0, 0, 80, 40], "area": 3200},
    ]
    assert whole["categories"][5] == {"id": 6, "name": "Cat"}
    assert len(whole["categories"]) == 12


def test_ids_are_the_same_in_each_part():
    whole = json.loads(tables_to_coco(ENTRIES, CLASSES, {"b.jpg", "c.jpg"}))
    images = [(image["id"], image["file_name"]) for image in whole["images"]]
    assert images == [(2, "b.jpg"), (3, "c.jpg")]
    assert [(box["id"], box["image_id"]) for box in whole["annotations"]] == [(3, 3)]


def test_pycocotools_reads_what_is_written(tmp_path):
    path = tmp_path / "all.json"
    path.write_text(tables_to_coco(ENTRIES, CLASSES, ALL))
    coco = COCO(path)
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == sorted(ALL)
    assert [box["category_id"] for box in coco.loadAnns(coco.getAnnIds())] == [6, 12, 9]
    assert coco.loadCats(coco.getCatIds(catNms=["Dog"])) == [{"id": 9, "name": "Dog"}]
    assert coco.getAnnIds(imgIds=[2]) == []


def test_what_is_written_reads_back():
    coco = parse_coco(tables_to_coco(ENTRIES, CLASSES, ALL).encode(), "a.json")
    assert coco.images[1] == CocoImage("a.json: images[0], id 1", "a.jpg", 80, 40)
    assert coco.categories == dict(enumerate(CLASSES, 1))
    assert coco.boxes[2] == CocoBox("a.json: annotations[2], id 3", 3, 9, (1, 2, 3, 4), False, 12)


IMAGE_ITEM = {"id": 7, "file_name": "a.jpg", "width": 80, "height": 40, "license": 1}
BOX_ITEM = {"id": 5, "image_id": 7, "category_id": 90, "bbox": [8.5, 10, 32.25, 10]}
BOX_ITEM["segmentation"] = []
CATEGORY = {"id": 90, "name": "lamp", "supercategory": "light"}


def document(**changes):
    """Returns a COCO file with one image, category and box; changes are "list__key" or "list"."""
    whole = {"images": [IMAGE_ITEM], "annotations": [BOX_ITEM], "categories": [CATEGORY]}
    whole = {"info": {"year": 2020}, **whole}
    for name, value in changes.items():
        key, _, field = name.partition("__")
        if not field:
            whole[key] = value
        else:
            item = {**whole[key][0], field: value}
            whole[key] = [{name: value for name, value in item.items() if value is not None}]
    return whole


def parse(whole):
    return parse_coco(json.dumps(whole).encode(), "a.json")


def test_a_file_by_another_hand_is_read():
    coco = parse(document(annotations__iscrowd=1, images__id=0, annotations__image_id=0))
    assert coco.images == {0: CocoImage("a.json: images[0], id 0", "a.jpg", 80, 40)}
    assert coco.categories == {90: "lamp"}
    place = "a.json: annotations[0], id 5"
    assert coco.boxes == [CocoBox(place, 0, 90, (8.5, 10, 32.25, 10), True)]


IDS = {
    "PyLabel's": {"annotations__category_id": "90", "images__width": 80.0},
    "floats": {"images__id": "7", "annotations__image_id": 7.0, "annotations__iscrowd": 0.0},
    "text ids": {"categories__id": "a7", "annotations__category_id": "a7"},
    "odd values beside": {"annotations__segmentation": None, "categories__supercategory": []},
}


@pytest.mark.parametrize("changes", IDS.values(), ids=IDS)
def test_numbers_may_be_floats_and_ids_texts(changes):
    coco = parse(document(**changes))
    assert coco.images == {7: CocoImage("a.json: images[0], id 7", "a.jpg", 80, 40)}
    assert coco.boxes[0].category_id in coco.categories
    assert not coco.boxes[0].crowd


def test_an_image_may_be_without_size_and_a_box_follows_from_its_polygons():
    polygons = [[5, 6.5, 25, 6.5, 25, 26], [30, 8, 31, 9, 2, 9]]
    unsized = {"images__width": None, "images__height": None, "annotations__bbox": None}
    coco = parse(document(annotations__segmentation=polygons, **unsized))
    assert coco.images[7][1:4] == ("a.jpg", None, None)
    assert coco.boxes[0].pixel_ltwh == (2, 6.5, 29, 19.5)


FIRST = "annotations[0], id 5: "
BAD_FILES = {
    "a list at the top": ([], "no object at the top"),
    "no images": ({"annotations": [], "categories": []}, "'images' is missing"),
    "images of another type": (document(images={}), "'images' isn't a list"),
    "no object": (document(annotations=[3]), "annotations[0]: not an object"),
    "no id": (document(annotations__id=None), "annotations[0]: no 'id'"),
    "an id twice": (document(annotations=[BOX_ITEM] * 2), "annotations[1], id 5: another of the"),
    "an image id twice": (document(images=[IMAGE_ITEM] * 2), "images[1], id 7: another of the"),
    "a category id twice": (document(categories=[CATEGORY] * 2), "categories[1], id 90: another"),
    "a category name twice": (
        document(categories=[CATEGORY, {**CATEGORY, "id": 91}]),
        "two categories are called 'lamp'",
    ),
    "an id with a fraction": (document(images__id=7.5), "images[0]: id is 7.5, not a whole number"),
    "an id of 25 digits": (document(images__id=10**25), "images[0]: id is 1e+25, not a whole"),
    "an id that is a truth": (document(images__id=True), "images[0]: id is True, not a whole"),
    "a text that is another's id": (
        document(images=[IMAGE_ITEM, {**IMAGE_ITEM, "id": "7"}]),
        "images[1], id 7",
    ),
    "no file name": (document(images__file_name=None), "images[0], id 7: no 'file_name'"),
    "half a character": (document(images__file_name="\ud800"), "images[0], id 7: file_name is"),
    "no width": (document(images__width=None), "images[0], id 7: no 'width'"),
    "a width of 0": (document(images__width=0), "images[0], id 7: an image 0 wide and 40 high"),
    "no category name": (document(categories__name=None), "categories[0], id 90: no 'name'"),
    "a bad category name": (document(categories__name="a\nb"), "categories[0], id 90: 'a\\nb' can"),
    "an unknown image": (document(annotations__image_id=8), FIRST + "image_id 8 isn't among"),
    "an unknown category": (
        document(annotations__category_id=1),
        FIRST + "category_id 1 isn't among the categories",
    ),
    "no bbox": (document(annotations__bbox=None), FIRST + "no 'bbox', and no polygon"),
    "a polygon of half a point": (
        document(annotations__bbox=None, annotations__segmentation=[[1, 2, 3, 4, 5]]),
        FIRST + "no 'bbox', and no polygon",
    ),
    "three numbers": (document(annotations__bbox=[1, 2, 3]), FIRST + "bbox [1, 2, 3] isn't left"),
    "a text in it": (document(annotations__bbox=[1, 2, 3, "4"]), FIRST + "bbox [1, 2, 3, '4']"),
    "nan": (document(annotations__bbox=[1, 2, 3, float("nan")]), FIRST + "bbox [1, 2, 3, nan]"),
    "infinity": (document(annotations__bbox=[1, 2, 3, float("inf")]), FIRST + "bbox [1, 2, 3, inf"),
    "too far out": (document(annotations__bbox=[10**400, 2, 3, 4]), FIRST + "bbox [inf, 2"),
    "below 0": (
        document(annotations__bbox=[1, 2, 3.5, -4]),
        FIRST + "bbox [1, 2, 3.5, -4] isn't left",
    ),
    "another crowd": (document(annotations__iscrowd=2), FIRST + "iscrowd is 2, not 0 or 1"),
}


@pytest.mark.parametrize(("whole", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_fault_is_told_with_its_place_and_a_remedy(whole, message):
    with refused(f"a.json: {message}"):
        parse(whole)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_refused(data):
    with pytest.raises(DataError, match=r"^a\.json: not JSON, or cut short \(.*\n  A COCO file"):
        parse_coco(data, "a.json")


def test_all_faults_of_a_list_are_told_together():
    with pytest.raises(DataError) as caught:
        parse(document(images=[{**IMAGE_ITEM, "id": n, "width": 0} for n in range(30)]))
    assert str(caught.value).count("an image 0 wide") == 20
    assert str(caught.value).endswith("... and 10 more like these.")
