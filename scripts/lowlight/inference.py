"""Finds objects in the images of a folder and keeps them as pictures and as JSON."""

import json

import numpy as np
from PIL import Image, ImageOps

from lowlight.drawing import draw_detections
from lowlight.errors import DataError, join_errors
from lowlight.files import existing_dir, output_dir, whole_file, write_text
from lowlight.images import is_image_name, open_image, to_rgb
from lowlight.progress import Progress
from lowlight.sources import is_stray


def list_images(folder):
    """Returns the paths of a folder's images, sorted.

    Raises:
        DataError: no such folder, or no image in it.
    """
    folder = existing_dir(folder, "images_folder_dir")
    named = (path for path in folder.iterdir() if is_image_name(path.name))
    paths = sorted(path for path in named if not is_stray(path.name) and not path.is_dir())
    if not paths:
        raise DataError(
            f"{folder}: holds no image (jpg, png, ...); its subfolders aren't searched.\n"
            "  Check --images_folder_dir."
        )
    return paths


def prepare_save_path(save_path, paths):
    """Makes the output folder; raises DataError where pictures would be drawn over the inputs."""
    folder = output_dir(save_path)
    if folder.resolve() == paths[0].parent.resolve():
        raise DataError(
            f"{folder}: the pictures would be drawn over the images.\n  Choose another --save_path."
        )
    return folder


def detect_images(paths, detector, names, score_threshold, save_dir=None, facts=None):
    """Detects on each image, in its upright form (an EXIF rotation is applied).

    With `save_dir`, a copy of each image with its detections drawn is written there under the same
    name, and at the end detections.json. Without, what was found is printed.

    Args:
        paths: images.
        detector: Detector.
        names: {class id: name}.
        score_threshold: leave out detections with a lower score.
        save_dir: an existing folder, or None.
        facts: {name: JSON value} that detections.json begins with.

    Returns:
        How many detections there were.

    Raises:
        DataError: images that can't be read, all of them named, after the others are done.
    """
    entries, errors = [], []
    with Progress(len(paths), "image") as progress:
        for path in paths:
            try:
                image, found = _detect_file(path, detector)
            except DataError as error:
                errors.append(error)
                progress.update()
                continue
            found = found.over(score_threshold)
            entries.append(_entry(path.name, image, found, names))
            if save_dir:
                draw_detections(image, found, names)
                _save(image, save_dir / path.name)
            progress.update()
    if save_dir:
        write_text(save_dir / "detections.json", _format_json(facts or {}, entries))
    else:
        _print_entries(entries)
    if errors:
        raise join_errors(errors, f"The other {len(entries)} images are done.")
    return sum(len(entry["detections"]) for entry in entries)


def _detect_file(path, detector):
    """Returns an image, upright and RGB, and its Detections; raises DataError where it can't."""
    try:
        image = to_rgb(ImageOps.exif_transpose(open_image(path, path)))
        return image, detector.detect(np.asarray(image))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}.\n  Check the file.") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}.\n  Crop or remove it.") from error


def _entry(filename, image, found, names):
    """Returns what detections.json says of one image."""
    detections = [
        {
            "class": names.get(int(number), f"class {int(number)}"),
            "class_id": int(number),
            "score": round(float(score), 4),
            "box": [round(float(edge), 1) for edge in box],
        }
        for box, number, score in zip(*found, strict=True)
    ]
    width, height = image.size
    return {"file": filename, "width": width, "height": height, "detections": detections}


def _format_json(facts, entries):
    """Returns detections.json's text, an image a line."""
    head = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in facts.items())
    lines = ",\n".join(json.dumps(entry) for entry in entries)
    return f'{{{head}"images": [\n{lines}\n]}}\n'


def _print_entries(entries):
    for entry in entries:
        print(f"{entry['file']} ({entry['width']}x{entry['height']}):")
        for one in entry["detections"]:
            xmin, ymin, xmax, ymax = one["box"]
            place = f"x {xmin:.0f} to {xmax:.0f}, y {ymin:.0f} to {ymax:.0f}"
            print(f"  {one['class']:<10} {one['score']:.2f}  {place}")
        if not entry["detections"]:
            print("  nothing")


def _save(image, path):
    """Saves a picture in the format that its name says, JPEG with little loss."""
    file_format = Image.registered_extensions()[path.suffix.lower()]
    options = {"quality": 90} if file_format == "JPEG" else {}
    with whole_file(path) as partial:
        image.save(partial, file_format, **options)
