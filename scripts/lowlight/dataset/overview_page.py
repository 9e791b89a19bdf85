"""Writes what a data set holds as one HTML page that loads nothing from elsewhere."""

from collections import Counter

import numpy as np

from lowlight.dataset import overview as describe
from lowlight.dataset.figures import draw_brightness, draw_crowding, draw_shapes, draw_sizes
from lowlight.images.drawing import colour_of
from lowlight.pages.charts import draw_bar, draw_legend, draw_stack, percent, to_html
from lowlight.pages.document import format_document, format_table, show_jpeg

_SIZE_PARTS = "below", "within", "above"
_SIZE_COLOURS = 1, 0, 2


def format_page(title, data_set, anchors, groups):
    """Returns the page.

    Args:
        title: the data set's name.
        data_set: describe.DataSet.
        anchors: anchors.Anchors of the config that the boxes are held against.
        groups: [(gallery.Group, [the two thumbnails of each of its pictures, JPEG bytes])].
    """
    entries = data_set.entries
    sections = {
        "Classes": _class_table(data_set),
        "Splits": _split_tables(data_set) if entries[0].split else "",
        "Lighting and location": _condition_tables(entries),
        "Boxes and anchors": _box_figures(data_set, anchors) if data_set.boxes else "",
        "Brightness and crowding": _image_figures(entries),
        "Pictures": _gallery(groups, data_set.classes),
    }
    return format_document(f"Data set: {title}", _facts(data_set), data_set.missing, sections)


def _facts(data_set):
    entries = data_set.entries
    sizes = {(e.image.width, e.image.height) for e in entries}
    occurring = sum(count.boxes > 0 for count in describe.count_classes(data_set))
    small, large = (pick(sizes, key=lambda s: (s[0] * s[1], s)) for pick in (min, max))
    return {
        "Images": len(entries),
        "Boxes": data_set.boxes,
        "Boxes an image": f"{data_set.boxes / len(entries):.2f}",
        "Classes": f"{occurring} of {len(data_set.classes)}",
        "Images without boxes": sum(not e.boxes for e in entries),
        "Smallest image": f"{small[0]}\u2009\u00d7\u2009{small[1]}",
        "Largest image": f"{large[0]}\u2009\u00d7\u2009{large[1]}",
        "Different sizes": len(sizes),
    }


def _class_table(data_set):
    counts = describe.count_classes(data_set)
    most, whole = max(c.boxes for c in counts), sum(c.boxes for c in counts)
    rows = [
        (c.name, c.images, c.boxes, percent(c.boxes, whole), draw_bar(c.boxes, most))
        for c in counts
    ]
    note = "<p>An image counts for every class of which it holds a box.</p>\n"
    return note + format_table(("Class", "Images", "Boxes", "Of all boxes", ""), rows)


def _count_table(name, counts):
    """Returns a table of Counts with a bar for the images of each."""
    images, most = sum(c.images for c in counts), max(c.images for c in counts)
    rows = [
        (
            c.name or "not known",
            c.images,
            percent(c.images, images),
            draw_bar(c.images, most),
            c.boxes,
            f"{c.brightness:.0f}",
        )
        for c in counts
    ]
    return format_table((name, "Images", "Of all", "", "Boxes", "Median luma"), rows)


def _split_tables(data_set):
    counts = describe.count_splits(data_set.entries)
    splits = [c.name for c in counts]
    whole = {c.name: c.boxes for c in counts}
    rows = [_split_row(*item) for item in describe.count_boxes_by_split(data_set).items()]
    return (
        _count_table("Split", counts)
        + "<h3>Where the boxes of each class are</h3>\n"
        + "<p>A class whose bar differs from the last one is unevenly split.</p>\n"
        + draw_legend(splits)
        + format_table(("Class", "Boxes", *splits, ""), rows, _split_row("All", whole))
    )


def _split_row(name, boxes):
    whole = sum(boxes.values())
    return (name, whole, *(percent(part, whole) for part in boxes.values()), draw_stack(boxes))


def _condition_tables(entries):
    tables = (
        ("Lighting", describe.count_lightings(entries)),
        ("Location", describe.count_locations(entries)),
    )
    known = [(name, counts) for name, counts in tables if any(c.name for c in counts)]
    body = "".join(f"<div>{_count_table(*item)}</div>\n" for item in known)
    return f'<div class="columns">{body}</div>\n' if known else ""


def _box_figures(data_set, anchors):
    classes, sizes, ratios = describe.measure_boxes(data_set.entries, anchors)
    small, large = anchors.sizes[0], anchors.sizes[-1]
    rows = []
    for name in (n for n in data_set.classes if n in classes):
        of_class = sizes[classes == name]
        parts = describe.count_against(of_class, small, large)
        rows.append(_size_row(name, of_class, parts))
    total = _size_row("All", sizes, describe.count_against(sizes, small, large))
    head = "Class", "Median size", *_SIZE_PARTS, ""
    return (
        f"<p>Held against the anchors of {to_html(anchors.config)}.</p>\n"
        + '<div class="columns">\n'
        + draw_sizes(sizes, anchors)
        + draw_shapes(ratios, anchors)
        + "</div>\n<h3>Sizes against the range of the anchors</h3>\n"
        + draw_legend(_SIZE_PARTS, _SIZE_COLOURS)
        + format_table(head, rows, total)
    )


def _size_row(name, sizes, counts):
    shares = (percent(count, len(sizes)) for count in counts)
    parts = dict(zip(_SIZE_PARTS, counts, strict=True))
    return (name, f"{np.median(sizes):.0f}\u00a0px", *shares, draw_stack(parts, _SIZE_COLOURS))


def _image_figures(entries):
    return f'<div class="columns">\n{draw_brightness(entries)}{draw_crowding(entries)}</div>\n'


def _gallery(groups, classes):
    parts = ["<p>Each image as it is, and beside it brightened.</p>\n"]
    for group, thumbnails in groups:
        pairs = zip(group.pictures, thumbnails, strict=True)
        figures = (_pair(picture, jpegs, classes) for picture, jpegs in pairs)
        note = f"<p>{to_html(group.note)}</p>\n" if group.note else ""
        parts.append(
            f'<h3>{to_html(group.heading)}</h3>\n{note}<div class="gallery">\n'
            f"{''.join(figures)}</div>\n"
        )
    return "".join(parts)


def _pair(picture, jpegs, classes):
    image, boxes, _, brightness = picture.entry
    name = to_html(image.filename)
    images = "".join(
        show_jpeg(jpeg, f"{image.filename}, {how}")
        for jpeg, how in zip(jpegs, ("as it is", "brightened"), strict=True)
    )
    facts = [fact for fact in (image.lighting, image.location) if fact]
    facts += [picture.entry.split] if picture.entry.split else []
    remark = f'<div class="remark">{to_html(picture.remark)}</div>' if picture.remark else ""
    return (
        f'<figure><div class="pair">{images}</div><figcaption><b>{name}</b>'
        f"<div>{to_html(', '.join([*facts, f'brightness {brightness:.0f}']))}</div>{remark}"
        f'<div class="classes">{_class_list(boxes, classes)}</div></figcaption></figure>\n'
    )


def _class_list(boxes, classes):
    counts = Counter(box.class_name for box in boxes)
    if not counts:
        return "no boxes"
    return "".join(
        f'<span><i style="background:rgb{colour_of(n)}"></i>{to_html(name)} {counts[name]}</span>'
        for n, name in enumerate(classes, 1)
        if name in counts
    )
