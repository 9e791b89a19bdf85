"""The page of a data set: what it counts, what it measures, and that it can be trusted to open."""

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lowlight.core.sources import list_files
from lowlight.dataset import overview_page
from lowlight.dataset.annotations import parse_bbgt, parse_image_list
from lowlight.dataset.classes import CLASSES
from lowlight.dataset.overview import (
    DataSet,
    Entry,
    count_against,
    count_boxes_by_split,
    count_classes,
    count_values,
    measure_boxes,
    read_anchors,
    read_data_set,
)
from lowlight.dataset.overview_page import choose_pictures, format_page, make_thumbnails
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

CONFIGS = Path(__file__).parents[2] / "configs"
D1 = CONFIGS / "ssd_efficientdet_d1_640x640_coco17_tpu-8.config"
EMPTY_ELEMENTS = {"meta", "link", "img"}
SVG_ELEMENTS = {"path", "use", "g", "defs"}


class Page(HTMLParser):
    """A page's tables, texts and addresses; reading one that isn't well formed fails."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.texts, self.addresses, self._open = [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href")]
        if tag not in EMPTY_ELEMENTS:
            self._open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attributes):
        assert tag in SVG_ELEMENTS

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open and data.strip():
            self.texts.append(data.strip().replace("\u00a0", " "))
        if {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data.replace("\u00a0", " ")

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


def rename_classes(folder, names, classes):
    """Writes classes.txt, and gives the boxes of a data set these names in turn."""
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    path = folder / "annotations.csv"
    rows = rows_of(read_table(path, AnnotationRow, ""), AnnotationRow)
    rows = [row._replace(class_name=names[n % len(names)]) for n, row in enumerate(rows)]
    path.write_text(format_table(rows, AnnotationRow))


@pytest.fixture
def describe(run_script, data_dir):
    """Runs describe_data.py on data_dir; arguments given come last and win."""

    def run(*arguments):
        output = data_dir / "describe.html"
        return run_script(
            "describe_data.py", f"--data_dir={data_dir}", f"--output={output}", *arguments
        )

    return run


@pytest.fixture
def page_of(describe, data_dir):
    """Runs describe_data.py and returns the Page."""

    def read(*arguments):
        run = describe(*arguments)
        assert run.returncode == 0, run.stderr
        return Page((data_dir / "describe.html").read_text("utf-8"))

    return read


def message_of(run):
    """Returns the error that a script ended with, after the log lines of its work."""
    assert run.returncode == 1, run.stderr
    assert "Traceback" not in run.stderr
    return run.stderr[run.stderr.index("error: ") :]


def entry(name, classes=(), brightness=50.0, split="train", lighting="Low", size=(100, 50)):
    """Returns an Entry of an image with a box of 20x10 pixels of each class."""
    image = ImageRow(name, name, *size, "Cat", lighting, "Indoor", "train", len(classes))
    boxes = [AnnotationRow(name, *size, class_name, 5, 5, 25, 15) for class_name in classes]
    return Entry(image, boxes, split, brightness)


def data_set_of(entries, classes=CLASSES):
    """Returns a DataSet of these entries, without problems."""
    return DataSet(classes, entries, {}, 0, [])


# The page. ----------------------------------------------------------------------------------------


def test_the_script_says_what_it_wrote_and_needs_no_tensorflow(
    describe, data_dir, tmp_path, monkeypatch
):
    (tmp_path / "tensorflow.py").write_text("raise ImportError('TensorFlow was imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = describe()
    assert (run.returncode, run.stdout) == (
        0,
        f"{data_dir}/describe.html: 8 images with 8 boxes\n",
    )


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
    images = [image._replace(lighting="", location="") for image in images]
    (data_dir / "images.csv").write_text(format_table(images, ImageRow))
    (data_dir / "split.csv").unlink()
    page = page_of()
    names = {table[0][0] for table in page.tables}
    assert names == {"Class"}
    for start in (
        "There is no split.csv, ",
        "images.csv has no lighting, ",
        "images.csv has no location, ",
    ):
        assert sum(text.startswith(start) for text in page.texts) == 1


def test_a_data_set_without_boxes_has_a_page(page_of, data_dir):
    (data_dir / "annotations.csv").write_text(format_table([], AnnotationRow))
    page = page_of()
    assert "No image has a box, so sizes and shapes are left out." in page.texts
    assert "Boxes by size" not in page.texts
    assert "Images by brightness" in page.texts


def test_names_are_text_whatever_they_hold(page_of, data_dir):
    name = "<b>&amp; 'a' \"b\".jpg"
    (data_dir / "images" / "2015_00001.jpg").rename(data_dir / "images" / name)
    quoted = '"' + name.replace('"', '""') + '"'
    for table in ("images.csv", "annotations.csv", "split.csv"):
        text = (data_dir / table).read_text()
        text = re.sub("^2015_00001.jpg", quoted, text, flags=re.MULTILINE)
        (data_dir / table).write_text(text.replace("Twilight", "<script>alert(1)</script>"))
    page = page_of()
    assert name in page.texts
    assert "<script>alert(1)</script>" in page.table("Lighting")
    assert "<script" not in (data_dir / "describe.html").read_text()


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
    text = (data_dir / "describe.html").read_text()
    assert f'<i style="background:rgb{colour_of(3)}"></i>Fox 1</span>' in text


def test_a_class_name_is_text_whatever_it_holds(page_of, data_dir):
    names = ["<b>", "&lt;", "</title><script>alert(1)</script>", "'Tom' & Jerry"]
    rename_classes(data_dir, names, names)
    page = page_of()
    for table in (table for table in page.tables if table[0][0] == "Class"):
        assert [row[0] for row in table if row[0] not in ("Class", "All")] == names
    # In three tables and over the gallery's pictures; then with a number under each picture.
    assert [page.texts.count(name) for name in names] == [4] * 4
    assert {f"{name} 1" for name in names} <= set(page.texts)
    assert "<script" not in (data_dir / "describe.html").read_text()


def test_the_same_data_gives_the_same_bytes(page_of, data_dir):
    page_of()
    first = (data_dir / "describe.html").read_bytes()
    page_of()
    assert (data_dir / "describe.html").read_bytes() == first


def test_nothing_is_loaded_from_elsewhere(page_of, data_dir):
    addresses = page_of().addresses
    assert {re.match(r"#part\d|data:(image/jpeg;base64)?,", a)[0][:5] for a in addresses} == {
        "#part",
        "data:",
    }
    assert not re.search("https?://|@import|url\\(", (data_dir / "describe.html").read_text())


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


def test_the_config_gives_the_anchors(page_of):
    texts = page_of(f"--config={CONFIGS}/sample.config").texts
    assert "Compared with the anchors of sample.config." in texts
    (caption,) = (text for text in texts if text.startswith("Square root of a box's area"))
    assert (
        "resized to 192 pixels. The anchors, marked under the axis, go from 32 to 406:" in caption
    )


# Bad input. ---------------------------------------------------------------------------------------


def write(name, text):
    """Returns what writes a file of a data set again."""
    return lambda data: (data / name).write_text(text)


def remove(name):
    return lambda data: (data / name).unlink()


def empty_tables(data):
    for name, row_type in (("images", ImageRow), ("annotations", AnnotationRow)):
        (data / f"{name}.csv").write_text(format_table([], row_type))


IMAGE = "images/2015_00003.jpg"
# What is spoilt, or the flag that is given; what the message begins with after the folder.
BAD = {
    "folder": ("--data_dir=/missing", "/missing: no such folder"),
    "images": ("--images_dir=/missing", "/missing: no such folder"),
    "config": ("--config=/missing.config", "/missing.config: no such"),
    "no table": (remove("annotations.csv"), "{data}/annotations.csv: no such file"),
    "columns": (
        write("images.csv", "filename\na.jpg\n"),
        "{data}/images.csv:1: no column source, ",
    ),
    "split": (
        write("split.csv", "filename,split\nx.jpg,train\n"),
        "{data}/split.csv:2: 'x.jpg' isn't in images.csv",
    ),
    "classes": (
        write("classes.txt", "Cat\nCat\n"),
        "{data}/classes.txt:2: class 'Cat' stands here twice.",
    ),
    "not one of its classes": (
        write("classes.txt", "Fox\nOwl\n"),
        "{data}/annotations.csv:2: unknown class 'Bicycle'.\n  Known classes: Fox, Owl.",
    ),
    "problems": (
        write("problems.csv", "file,problem\n"),
        "{data}/problems.csv:1: no column detail.",
    ),
    "an image missing": (remove(IMAGE), f"{{data}}/{IMAGE}: no such file"),
    "no image": (write(IMAGE, "no"), f"{{data}}/{IMAGE}: not an image"),
    "another size": (
        lambda data: Image.new("RGB", (9, 9)).save(data / IMAGE),
        f"{{data}}/{IMAGE}: 9x9 pixels, but images.csv has 24x36.",
    ),
    "no images": (empty_tables, "{data}/images.csv: holds no image"),
}


@pytest.mark.parametrize(("bad", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_named_with_a_remedy(describe, data_dir, bad, message):
    page = data_dir / "describe.html"
    page.write_text("the page of last time")
    arguments = [bad] if isinstance(bad, str) else []
    if not arguments:
        bad(data_dir)
    told = message_of(describe(*arguments))
    assert told.startswith(f"error: {message.format(data=data_dir)}")
    assert "\n  " in told
    assert page.read_text() == "the page of last time"


def test_every_bad_image_is_named_at_once(describe, data_dir):
    for number in (2, 5):
        (data_dir / "images" / f"2015_0000{number}.jpg").unlink()
    told = message_of(describe())
    assert [name in told for name in ("2015_00002.jpg", "2015_00005.jpg")] == [True, True]


# Counting and measuring. --------------------------------------------------------------------------


def test_an_image_counts_once_for_each_class_that_it_holds():
    entries = [entry("a.jpg", ["Cat", "Cat", "Dog"], 10.0), entry("b.jpg", ["Cat"], 30.0)]
    counts = {count.name: count[1:] for count in count_classes(data_set_of(entries))}
    assert counts["Cat"] == (2, 3, 20.0)
    assert counts["Dog"] == (1, 1, 10.0)
    assert counts["Bus"][:2] == (0, 0)


def test_classes_are_counted_in_the_order_of_the_data_set():
    data_set = data_set_of([entry("a.jpg", ["Fox"])], classes=("Street lamp", "Fox"))
    assert [(c.name, c.boxes) for c in count_classes(data_set)] == [("Street lamp", 0), ("Fox", 1)]
    assert count_boxes_by_split(data_set) == {"Fox": {"train": 1}}


def test_values_stand_in_exdarks_order_then_others_then_the_unknown():
    entries = [entry(f"{n}.jpg", lighting=n) for n in ("", "Zebra", "Twilight", "Low", "Low")]
    assert [(c.name, c.images) for c in count_values(entries, "lighting")] == [
        ("Low", 2),
        ("Twilight", 1),
        ("Zebra", 1),
        ("", 1),
    ]


def test_boxes_are_counted_by_class_and_split():
    entries = [entry("a.jpg", ["Cat", "Dog"], split="test"), entry("b.jpg", ["Cat"])]
    assert count_boxes_by_split(data_set_of(entries)) == {
        "Cat": {"train": 1, "test": 1},
        "Dog": {"train": 0, "test": 1},
    }


def test_a_box_is_measured_in_pixels_of_the_resized_image():
    image = entry("a.jpg", ["Cat"], size=(320, 200))
    image.boxes[0] = image.boxes[0]._replace(xmin=0, ymin=0, xmax=64, ymax=16)
    boxes = measure_boxes([image], read_anchors(D1))
    assert boxes.to_dict("records") == [{"class_name": "Cat", "size": 64.0, "ratio": 4.0}]


def test_the_ends_of_a_range_are_in_it():
    assert count_against(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), (2.0, 4.0)) == (1, 3, 1)


def test_brightness_is_the_mean_luma(data_dir):
    for path in (data_dir / "images").glob("*.jpg"):
        with Image.open(path) as image:
            size = image.size
        Image.new("RGB", size, (40, 40, 40)).save(path)
    entries = read_data_set(data_dir, data_dir / "images").entries
    assert [e.brightness for e in entries] == [40.0] * 8


# Pictures. ----------------------------------------------------------------------------------------


def test_the_gallery_shows_some_of_each_class_the_darkest_and_the_most_crowded():
    entries = [entry(f"{n:02d}.jpg", ["Cat"] * (n % 5), 99.0 - n) for n in range(20)]
    groups = choose_pictures(data_set_of(entries), seed=0)
    names = {g.heading: [e.image.filename for e in g.entries] for g in groups}
    assert list(names) == ["Cat", "The darkest", "The most crowded"]
    assert len(names["Cat"]) == 6
    assert names["Cat"] == sorted(names["Cat"])
    assert names["The darkest"] == [f"{n:02d}.jpg" for n in range(19, 7, -1)]
    assert names["The most crowded"][:5] == ["04.jpg", "09.jpg", "14.jpg", "19.jpg", "03.jpg"]


def test_a_seed_always_chooses_the_same_pictures():
    entries = [entry(f"{n:02d}.jpg", ["Cat"]) for n in range(20)]
    chosen = [choose_pictures(data_set_of(entries), seed)[0] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1]
    assert chosen[0] != chosen[2]


def test_the_gallery_follows_the_classes_of_the_data_set():
    entries = [entry("a.jpg", ["Fox", "Street lamp"])]
    groups = choose_pictures(data_set_of(entries, ("Street lamp", "Owl", "Fox")), seed=0)
    assert [group.heading for group in groups][:2] == ["Street lamp", "Fox"]


def test_a_thumbnails_boxes_are_coloured_by_the_place_of_their_class(tmp_path):
    Image.new("RGB", (240, 120)).save(tmp_path / "a.jpg")
    image = entry("a.jpg", ["Fox"], size=(240, 120))
    image.boxes[0] = image.boxes[0]._replace(xmin=40, ymin=20, xmax=200, ymax=100)
    for classes in (("Fox", "Owl"), ("Owl", "Fox")):
        plain = Image.open(io.BytesIO(make_thumbnails(tmp_path, image, classes)["as it is"]))
        found, wanted = plain.getpixel((120, 21)), colour_of(classes.index("Fox") + 1)
        assert max(abs(a - b) for a, b in zip(found, wanted, strict=True)) < 60


def test_thumbnails_are_small_with_boxes_and_one_is_brighter(tmp_path):
    Image.new("RGB", (960, 480), (20, 20, 20)).save(tmp_path / "a.jpg", quality=95)
    image = entry("a.jpg", ["Cat"], brightness=20.0, size=(960, 480))
    image.boxes[0] = image.boxes[0]._replace(xmin=400, ymin=80, xmax=800, ymax=400)
    plain, bright = (
        Image.open(io.BytesIO(jpeg)) for jpeg in make_thumbnails(tmp_path, image, CLASSES).values()
    )
    assert (plain.size, bright.size) == ((240, 120), (240, 120))
    assert abs(plain.getpixel((20, 60))[1] - 20) < 6
    assert abs(bright.getpixel((20, 60))[1] - 110) < 6
    assert min(plain.getpixel((150, 21))) > 60


# The real set. ------------------------------------------------------------------------------------


def test_the_whole_exdark_has_its_known_counts_on_the_page(exdark_root, monkeypatch):
    monkeypatch.setattr(overview_page, "choose_pictures", lambda *_: [])  # there are none here
    files = list_files(exdark_root / "ExDark_Annno.zip", "annotations")
    path = exdark_root / "imageclasslist.txt"
    facts = {n.lower(): f for n, f in parse_image_list(path.read_bytes(), path).items()}
    entries = []
    for file in files:
        name = Path(file.name).stem
        boxes = [
            AnnotationRow(name, 9999, 9999, box.name, 0, 0, *box.pixel_ltwh[2:])
            for box in parse_bbgt(file.read(), file.place)
        ]
        fact = facts[name.lower()]
        image = ImageRow(name, name, 9999, 9999, *fact, len(boxes))
        entries.append(Entry(image, boxes, fact.official_split, 30.0))
    page = Page(format_page("ExDark", data_set_of(entries), read_anchors(D1), ""))
    classes, by_split, _ = (table for table in page.tables if table[0][0] == "Class")
    assert {row[0]: row[2] for row in classes}["People"] == "7,460"
    assert by_split[-1] == ["All", "23,710", "43.8 %", "26.2 %", "30.0 %", ""]
    assert page.table("Lighting")["Strong"][0] == "2,059"
    assert page.table("Location")["Indoor"][:2] == ["2,822", "38.3 %"]
