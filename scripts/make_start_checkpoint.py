r"""Makes a detector for your classes of one that is trained, class by class, without training.

  python scripts/make_start_checkpoint.py \
    --base=checkpoint/efficientdet_d1_coco17_tpu-32.tar.gz --output_dir=checkpoint/d1_start

--base is an archive of the model zoo, packed, unpacked or by its name in checkpoint/, or a run.
Classes meet by name (Motorbike is COCO's motorcycle); --classes says it for others. Writes a run's
folder: a checkpoint, the pipeline.config for these classes, label_map.txt, and start.json with what
came from where. evaluate.py scores it, run_inference.py draws with it, and make_config.py --start
makes a config that trains from it.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command
from lowlight.core.errors import DataError
from lowlight.dataset.classes import CLASSES, read_label_map

FLAGS = flags.FLAGS
flags.DEFINE_string("base", None, "The trained detector: a zoo archive or a run.", required=True)
flags.DEFINE_string(
    "label_map_path",
    None,
    "The label map of your classes; by default ExDark's. Records that lie beside it become the "
    "run's.",
)
flags.DEFINE_string("output_dir", None, "The run's folder to write; a new one.", required=True)
flags.DEFINE_list(
    "classes",
    [],
    "What your classes are called by the detector, as Lorry=truck,Lantern=; one without a name "
    "begins untrained.",
)
flags.DEFINE_string(
    "base_label_map_path", None, "The detector's label map; by default COCO's, or its run's."
)
flags.DEFINE_boolean("allow_no_match", False, "Go ahead where no class is one of the detector's.")
flags.DEFINE_boolean("raw_weights", False, "Not the averages that the detector's config asks for.")


def main() -> None:
    """Adapts the detector, writes the run and prints what each class came from."""
    label_map = FLAGS.label_map_path
    names = read_label_map(label_map) if label_map else dict(enumerate(CLASSES, 1))
    given = {}
    for pair in FLAGS.classes:
        name, equals, base = pair.partition("=")
        if not equals:
            raise DataError(f"--classes: {pair!r} isn't NAME=BASE.\n  Write Lorry=truck,Lantern=.")
        given[name.strip()] = base.strip()
    from lowlight.tfod.start_checkpoint import make_start

    lines = make_start(
        Path(FLAGS.base),
        names,
        Path(FLAGS.output_dir),
        given=given,
        base_label_map=FLAGS.base_label_map_path,
        allow_no_match=FLAGS.allow_no_match,
        data_dir=Path(label_map).parent if label_map else None,
        raw_weights=FLAGS.raw_weights,
    )
    print("\n".join(lines))


if __name__ == "__main__":
    command.run(main)
