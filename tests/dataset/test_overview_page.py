"""The page of a data set: what it counts and shows, and that it can be trusted to open."""

import re
from xml.etree import ElementTree

import pytest

from lowlight.core.files import CONFIGS
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.overview import read_anchors, read_data_set
from lowlight.dataset.overview_page import format_page
from lowlight.dataset.split import split_officially
from lowlight.dataset.tables import (
    AnnotationRow,
    ImageRow,
    SplitRow,
    format_table,
    read_table,
    rows_of,
)
from lowlight.images.drawing import colour_of

D1 = CONFIGS / "ssd_efficientdet_d1_640x640_coco17_tpu-8.config"
FACTS = "lighting", "location"


class Page:
    """A page's tables, texts and addresses; reading one that isn't well formed fails."""

    def __init__(self, html):
        self.html = html
        # What HTML doesn't close is closed, and then it must be XML.
        xml = re.sub("(<(?:meta|link|img)[^>]*)>", r"\1/>", html.replace("<!DOCTYPE html>", ""))
        root = ElementTree.fromstring(xml.replace("\u00a0", " "))
        self.addresses = [
            value for one in root.iter() for key, value in one.items() if key in ("src", "href")
        ]
        self.tables = [
            [["".join(cell.itertext()) for cell in row] for row in table.iter("tr")]
            for table in root.iter("table")
        ]
        root[0].remove(root.find("head/style"))
        self.texts = [text.strip() for text in root.itertext() if text.strip()]

    def table(self, name):
        """Returns {first cell: other cells} of the rows of the table with this first heading."""
        (table,) = (table for table in self.tables if table[0][0] == name)
        return {row[0]: row[1:] for row in table[1:]}


@pytest.fixture
def data_dir(tiny_data):
    """tiny_exdark as far as make_tfrecords.py brings it, with the official split."""
    images = rows_of(read_table(tiny_data / "images.csv", ImageRow, ""), ImageRow)
    (tiny_data / "split.csv").write_text(format_table(split_officially(images, ""), SplitRow))
    return tiny_data


@pytest.fixture
def page_of(data_dir):
    """Returns the Page of data_dir as it is by then."""

    def read():
        data_set = read_data_set(data_dir, data_dir / "images")
        return Page(format_page("data", data_set, read_anchors(D1), data_dir / "images"))

    return read


def rename_classes(folder, names, classes):
    """Writes classes.txt, and gives the boxes of a data set these names in turn."""
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    path = folder / "annotations.csv"
    rows = rows_of(read_table(path, AnnotationRow, ""), AnnotationRow)
    rows = [row._replace(class_name=names[n % len(names)]) for n, row in enumerate(rows)]
    path.write_text(format_table(rows, AnnotationRow))


def test_the_script_writes_the_same_bytes_and_needs_no_tensorflow(
    run_script, page_of, data_dir, tmp_path, monkeypatch
):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('TensorFlow was imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = run_script("describe_data.py", f"--data_dir={data_dir}", f"--output={tmp_path}/a.html")
    assert (run.returncode, run.stdout) == (0, f"{tmp_path}/a.html: 8 images with 8 boxes\n")
    assert (tmp_path / "a.html").read_text("utf-8") == page_of().html


def test_the_config_gives_the_anchors_and_nothing_is_loaded_from_elsewhere(data_dir):
    data_set = read_data_set(data_dir, data_dir / "images")
    anchors = read_anchors(CONFIGS / "sample.config")
    page = Page(format_page("data", data_set, anchors, data_dir / "images"))
    assert "Compared with the anchors of sample.config." in page.texts
    (caption,) = (text for text in page.texts if text.startswith("Square root of a box's area"))
    assert (
        "resized to 192 pixels. The anchors, marked under the axis, go from 32 to 406:" in caption
    )
    forms = {re.match(r"#|data:(image/jpeg;base64)?,", address)[0] for address in page.addresses}
    assert forms == {"#", "data:,", "data:image/jpeg;base64,"}
    assert not re.search(r"https?://|@import|url\(", page.html)


def test_the_facts_at_the_head_are_counted(page_of):
    texts = page_of().texts
    facts = texts[texts.index("Images") : texts.index("Classes", texts.index("Classes") + 1)]
    assert dict(zip(facts[::2], facts[1::2], strict=True)) == {
        "Images": "8",
        "Boxes": "8",
        "Boxes an image": "1.00",
        "Classes": "8 of 12",
        "Images without boxes": "1",
        "Smallest image": "32\u2009×\u200924",
        "Largest image": "48\u2009×\u200932",
        "Different sizes": "7",
    }


def test_the_tables_count_classes_splits_and_conditions(page_of):
    page = page_of()
    assert {name: row[:4] for name, row in page.table("Split").items()} == {
        "train": ["4", "50.0 %", "", "4"],
        "val": ["2", "25.0 %", "", "2"],
        "test": ["2", "25.0 %", "", "2"],
    }
    lightings = {name: row[0] for name, row in page.table("Lighting").items()}
    assert list(lightings.values()) == ["1"] * 8
    assert list(lightings)[:3] == ["Low", "Ambient", "Object"]
    locations = {name: (row[0], row[3]) for name, row in page.table("Location").items()}
    assert locations == {"Indoor": ("3", "3"), "Outdoor": ("5", "5")}
    classes, by_split, _ = (table for table in page.tables if table[0][0] == "Class")
    assert classes[1] == ["Bicycle", "1", "1", "12.5 %", ""]
    assert classes[10] == ["Motorbike", "0", "0", "0.0 %", ""]
    assert len(classes) == 13
    assert by_split[0] == ["Class", "Boxes", "train", "val", "test", ""]
    assert by_split[1] == ["Bicycle", "1", "100.0 %", "0.0 %", "0.0 %", ""]
    assert by_split[-1] == ["All", "8", "50.0 %", "25.0 %", "25.0 %", ""]


def test_what_a_data_set_lacks_is_said_and_left_out(page_of, data_dir):
    images = rows_of(read_table(data_dir / "images.csv", ImageRow, ""), ImageRow)
    images = [image._replace(**dict.fromkeys(FACTS, "")) for image in images]
    (data_dir / "images.csv").write_text(format_table(images, ImageRow))
    (data_dir / "split.csv").unlink()
    page = page_of()
    assert {table[0][0] for table in page.tables} == {"Class"}
    for start in ("There is no split.csv, ", *(f"images.csv has no {x}, " for x in FACTS)):
        assert sum(text.startswith(start) for text in page.texts) == 1


def test_a_data_set_without_boxes_has_a_page(page_of, data_dir):
    (data_dir / "annotations.csv").write_text(format_table([], AnnotationRow))
    page = page_of()
    assert "No image has a box, so sizes and shapes are left out." in page.texts
    assert "Boxes by size" not in page.texts
    assert "Images by brightness" in page.texts


def test_a_data_set_with_its_own_classes_is_described_by_them(page_of, data_dir):
    rename_classes(data_dir, ["Fox", "Street lamp"], ["Street lamp", "Owl", "Fox"])
    page = page_of()
    classes, by_split, sizes = (table for table in page.tables if table[0][0] == "Class")
    assert [row[:4] for row in classes[1:]] == [
        ["Street lamp", "4", "4", "50.0 %"],
        ["Owl", "0", "0", "0.0 %"],
        ["Fox", "4", "4", "50.0 %"],
    ]
    assert [row[:2] for row in by_split[1:]] == [["Street lamp", "4"], ["Fox", "4"], ["All", "8"]]
    assert [row[0] for row in sizes[1:]] == ["Street lamp", "Fox", "All"]
    assert "2 of 3" in page.texts
    assert set(CLASSES).isdisjoint(page.texts)
    assert f'<i style="background:rgb{colour_of(3)}"></i>Fox 1</span>' in page.html


def test_names_are_text_whatever_they_hold(page_of, data_dir):
    image, light = "<b>&amp; 'a' \"b\".jpg", "<script>alert(1)</script>"
    (data_dir / "images/2015_00001.jpg").rename(data_dir / "images" / image)
    quoted = '"' + image.replace('"', '""') + '"'
    for table in ("images.csv", "annotations.csv", "split.csv"):
        text = (data_dir / table).read_text().replace("Twilight", light)
        text = re.sub("^2015_00001.jpg", quoted, text, flags=re.MULTILINE)
        (data_dir / table).write_text(text)
    classes = ["<b>", "&lt;", f"</title>{light}", "'Tom' & Jerry"]
    rename_classes(data_dir, classes, classes)
    page = page_of()
    assert image in page.texts
    assert light in page.table("Lighting")
    for table in (table for table in page.tables if table[0][0] == "Class"):
        assert [row[0] for row in table if row[0] not in ("Class", "All")] == classes
    # In three tables and over the gallery's pictures; then with a number under each picture.
    assert [page.texts.count(name) for name in classes] == [4] * 4
    assert {f"{name} 1" for name in classes} <= set(page.texts)
    assert "<script" not in page.html


def test_images_with_a_problem_are_shown_with_it(page_of, data_dir):
    (data_dir / "problems.csv").write_text(
        "file,problem,detail\nBoat/2015_00002.png,encoded,was RGBA\nCat/2015_00005.jpg.txt,odd,\n"
        "2015_99999.jpg,lost,\n"
    )
    texts = page_of().texts
    start = texts.index("With a problem")
    assert (
        texts[start + 1] == "problems.csv names 2 of the images; 1 of its lines name no image here."
    )
    assert "encoded: was RGBA" in texts[start:]
    assert "odd" in texts[start:]
    assert "lost" not in texts
