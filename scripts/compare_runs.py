r"""Compares evaluated detectors: where one is better than another, and whether it may be chance.

  python scripts/compare_runs.py checkpoint/before checkpoint/after --output=comparison.html

Takes runs, or folders that evaluate.py wrote, all scored on the same ground truth; each is compared
with the first. Prints the difference in AP in every slice with its 95% interval from paired
bootstrap samples and a p value corrected by Holm's method, and writes a page that shows as well
the images that changed most.
"""

from pathlib import Path

from absl import flags

from lowlight.core import command
from lowlight.core.files import output_dir
from lowlight.evaluation.comparison import (
    compare,
    format_differences,
    read_evaluations,
    write_comparison,
)

FLAGS = flags.FLAGS
flags.DEFINE_string("output", "comparison.html", "The HTML page to write.")
flags.DEFINE_integer(
    "bootstrap", 2000, "Samples; with fewer, p can't fall low enough for many slices.", 1
)
flags.DEFINE_integer("seed", 0, "What the samples come from.", 0)


def main(folders: list[str]) -> None:
    """Compares, prints a table for each pair and writes the page."""
    first, *others = read_evaluations(folders, FLAGS.bootstrap, FLAGS.seed)
    differences = [compare(first.score, other.score) for other in others]
    for other, found in zip(others, differences, strict=True):
        print(format_differences(first.name, other.name, found))
    output = Path(FLAGS.output)
    output_dir(output.parent)
    write_comparison(output, [first, *others], differences)
    print(f"* more than chance, all slices considered\nwrote {output}")


if __name__ == "__main__":
    command.run(main, takes_arguments=True)
