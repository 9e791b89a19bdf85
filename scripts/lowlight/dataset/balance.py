"""Finds how often each image is to come so that rare classes do: LVIS's repeat-factor sampling."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lowlight.dataset.records import read_classes

_MOST_SHOWN = 20  # classes


@dataclass(frozen=True)
class Balance:
    """How often the images of some records come, on average, in an epoch."""

    share: float  # classes in a smaller share of the images come more often; LVIS calls it t
    counts: dict[int, int]  # images by class id, of the classes that occur, the rarest first
    factors: np.ndarray  # float64 [N], each image's, 1 or more

    def of_class(self, number: int) -> float:
        """Returns a class's factor."""
        return _factor(self.share, self.counts[number] / len(self.factors))


def _factor(share, frequency):
    return max(1.0, (share / frequency) ** 0.5)


def balance_images(images: Sequence[Collection[int]], share: float | None = None) -> Balance:
    """Returns how often images, each given by the ids of its classes, are to come.

    A class in a share f of the images has the factor max(1, sqrt(share / f)), an image the largest
    of its classes, and 1 without one (Gupta et al., LVIS, https://arxiv.org/abs/1908.03195).

    Args:
        share: by default the median of the classes' own, so that the rarer half comes more often.
    """
    found = Counter(number for classes in images for number in set(classes))
    counts = dict(sorted(found.items(), key=lambda item: (item[1], item[0])))
    if share is None:
        share = float(np.median(list(counts.values()))) / len(images) if counts else 0.0
    of_class = {number: _factor(share, count / len(images)) for number, count in counts.items()}
    factors = [max((of_class[one] for one in classes), default=1.0) for classes in images]
    return Balance(share, counts, np.array(factors))


def balance_records(
    paths: Sequence[Path | str],
    ids: dict[str, int],
    share: float | None = None,
    every_n: int = 1,
) -> Balance:
    """As `balance_images`, of every n-th record of some files; raises as `read_classes`."""
    return balance_images(list(read_classes(paths, ids))[:: max(every_n, 1)], share)


def format_balance(balance: Balance, names: dict[int, str]) -> str:
    """Returns the factors by class as a short table, without those of 1 and those that say less."""
    rare = [number for number in balance.counts if balance.of_class(number) > 1]
    images = len(balance.factors)
    lines = [
        f"classes in fewer than {balance.share:.1%} of the images come more often; "
        f"{images:,} images are {balance.factors.sum():,.0f} an epoch"
    ]
    for number in rare[:_MOST_SHOWN]:
        count = balance.counts[number]
        lines.append(
            f"  {names.get(number, number):<20} {count:>7,} images {count / images:>6.1%}"
            f"  x {balance.of_class(number):.2f}"
        )
    shown = len(rare[:_MOST_SHOWN])
    if others := len(balance.counts) - shown:
        most = balance.of_class(rare[_MOST_SHOWN]) if len(rare) > shown else 1
        upto = "up to " if most > 1 else ""
        lines.append(f"  {f'{others} other classes':<37} {upto:>7}x {most:.2f}")
    return "\n".join(lines)
