"""Folders of label files, one an image, as YOLO and Pascal VOC have them: read and written."""

import os
import posixpath
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NamedTuple

from lowlight.core.errors import DataError, kept_in, name_some, raise_any
from lowlight.core.files import locked, output_dir
from lowlight.core.sources import SourceFile, is_stray
from lowlight.dataset.coco import Coco, CocoBox, CocoImage
from lowlight.dataset.coco_import import fit_labels
from lowlight.dataset.labels import Fitting, Labels, image_stem, images_by_stem
from lowlight.dataset.tables import AnnotationRow, ImageRow
from lowlight.images.reading import is_image_name, open_image, orientation_of, read_image


class LabelFile(NamedTuple):
    """The labels of one image."""

    file: SourceFile
    image: str  # where its image is in the same folder or archive, or would be

    @property
    def image_id(self) -> str:
        """The image's path without extension."""
        return posixpath.splitext(self.image)[0]


class LabelFolder(NamedTuple):
    """What is in a folder or archive with labels of one form."""

    source: object  # the folder or archive, for messages
    files: list  # of SourceFile, all that are there
    labels: list  # of LabelFile
    ending: str  # of the labels' names


def find_labels(
    source: object,
    files: list[SourceFile],
    ending: str,
    folders: tuple[str, str],
    apart: Collection[str] = (),
) -> LabelFolder:
    """Finds the label files among those of a folder or archive.

    Args:
        source: the folder or archive, for messages.
        ending: of the labels' names, in lower case.
        folders: the names of the folder of labels and of that of images which takes its place in an
            image's path. Where no folder of labels is in any path, images lie beside their labels.
        apart: names of files that hold no labels whatever their ending.

    Raises:
        DataError: there are none.
    """
    kept = [file for file in files if not is_stray(file.name)]
    images = {posixpath.splitext(f.name)[0]: f.name for f in kept if is_image_name(f.name)}
    found = [f for f in kept if f.name.lower().endswith(ending) and f.name not in apart]
    below = [file for file in found if folders[0] in file.name.split("/")[:-1]]
    labels = []
    for file in below or found:
        *parents, name = posixpath.splitext(file.name)[0].split("/")
        if folders[0] in parents:
            parents[len(parents) - 1 - parents[::-1].index(folders[0])] = folders[1]
        stem = posixpath.join(*parents, name)
        labels.append(LabelFile(file, images.get(stem, f"{stem}.jpg")))
    if not labels:
        raise DataError(
            f"{source}: holds no label file ({ending}).\n  Check --labels and --format."
        )
    return LabelFolder(source, files, labels, ending)


def import_folder(
    folder: LabelFolder,
    fitting: Fitting,
    read: Callable[[LabelFile, Path | None], tuple[CocoImage, list[CocoBox]]],
    names: dict | None,
) -> Labels:
    """Reads label files and fits them to converted images.

    Args:
        read: reads one file; it is given its converted image's path, None where that is missing.
        names: {category id: class}; None where a category's id is the class itself, and the classes
            are those of the boxes.

    Raises:
        DataError: files that can't be read (all of them are named), images without labels, a second
            form beside this one, and as `coco_import.fit_labels`.
    """
    paths = images_by_stem(fitting.images_dir)
    stems = [image_stem(label.image, fitting.flatten) for label in folder.labels]
    _refuse_other_form(folder, paths)
    lacking = sorted(paths[stem].name for stem in paths.keys() - set(stems))
    if lacking and not fitting.allow_missing and len(lacking) < len(paths):
        raise DataError(
            f"{folder.source}: no label file ({folder.ending}) for {name_some(lacking)}.\n"
            "  Add one, without boxes where nothing is to be found, or give --allow_missing to "
            "leave these images alone."
        )
    images, boxes, errors = {}, [], []
    for label, stem in zip(folder.labels, stems, strict=True):
        with kept_in(errors):
            image, its_boxes = read(label, paths.get(stem))
            images[label.file.name] = image
            boxes += its_boxes
    raise_any(errors)
    if names is None:
        names = {box.category_id: box.category_id for box in boxes}
    coco = Coco(images, names, boxes, frozenset())
    return fit_labels(coco, folder.source, fitting)


def _refuse_other_form(folder, paths):
    """Raises DataError where labels of the other form lie beside these, for images there are."""
    other = {".txt": ".xml", ".xml": ".txt"}[folder.ending]
    folders = {posixpath.dirname(label.file.name): label.file for label in folder.labels}
    for file in folder.files:
        here = folders.get(posixpath.dirname(file.name))
        stem, ending = posixpath.splitext(file.name)
        if here and ending.lower() == other and image_stem(f"{stem}.jpg") in paths:
            raise DataError(
                f"{file.place}: a label of another form beside {posixpath.basename(here.name)}.\n"
                "  Which one counts isn't known: move the labels of one form to another folder."
            )


def split_entries(entries: list[tuple[ImageRow, list]], split_of: dict[str, str]) -> dict:
    """Returns {split: [(ImageRow, [AnnotationRow])]}; all are for training where none is split."""
    parts = {}
    for image, rows in entries:
        parts.setdefault(split_of.get(image.filename, "train"), []).append((image, rows))
    return parts


def write_folder(
    output: str | Path,
    texts: dict[str, str],
    images: dict[str, ImageRow],
    images_dir: str | Path,
    how: str,
) -> list[str]:
    """Writes a new folder of labels and images, whole or not at all.

    Returns:
        The names of the images whose EXIF rotation the boxes ignore, and other tools may not.

    Args:
        output: the folder, which isn't there yet or is empty.
        texts: {path in the folder: text}.
        images: {path in the folder: the image's row}.
        how: "link", which makes symbolic links to the images, or "copy".

    Raises:
        DataError: the folder isn't empty; an image that is missing or has another size.
    """
    target = Path(output).resolve()
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise DataError(f"{output}: is there already.\n  Remove it, or choose another --output.")
    turned = []
    partial = output_dir(target.parent) / f".{target.name}.partial"
    with locked(target.parent, "written", "output"):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            for name, text in texts.items():
                _with_parents(partial / name).write_text(text, encoding="utf-8", newline="\n")
            for name, image in images.items():
                source = Path(images_dir).resolve() / image.filename
                data = read_image(source, image.width, image.height)
                if orientation_of(open_image(data, source, whole=False)) > 1:
                    turned.append(image.filename)
                if how == "copy":
                    _with_parents(partial / name).write_bytes(data)
                else:
                    os.symlink(source, _with_parents(partial / name))
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return turned


def _with_parents(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def without_crowds(rows: list[AnnotationRow]) -> list[AnnotationRow]:
    """Returns the boxes of single objects, all that YOLO and Pascal VOC know."""
    return [row for row in rows if not row.is_crowd]
