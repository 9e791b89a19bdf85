"""What a step met out of the ordinary: a printed line of each kind, and rows of problems.csv."""

from dataclasses import dataclass, field
from typing import NamedTuple

from lowlight.dataset.tables import ProblemRow


class Kind(NamedTuple):
    """A kind of what is out of the ordinary."""

    summary: str  # how the printed line begins
    problem: str = ""  # how problems.csv calls it; "" for what isn't named there
    detail: str = "{count}"  # what problems.csv says of it; a format of `Notes.add`'s values


BOXES_CLIPPED = Kind(
    "boxes clipped to the image", "boxes clipped", "{count}, by {pixels} px at most"
)
BOXES_REPEATED = Kind("boxes that repeat another", "boxes repeated", "{count}, kept")
WITHOUT_BOXES = Kind("images without boxes", "no boxes", "kept as an image of background")


@dataclass
class Notes:
    """What was found of each kind, in the order in which it is printed."""

    kinds: tuple
    _found: dict = field(default_factory=dict)  # {kind: {name: values}}

    def add(self, kind: Kind, name: str, count: int = 1, **values) -> None:
        """Notes that something was met `count` times in what has this name; nothing of 0 times."""
        if count:
            self._found.setdefault(kind, {})[name] = {"count": count, **values}

    def __getitem__(self, kind: Kind) -> dict:
        """Returns {name: count} of what was found of a kind."""
        return {name: values["count"] for name, values in self._found.get(kind, {}).items()}

    def summaries(self) -> list:
        """Returns what `command.print_notes` prints."""
        return [(kind.summary, sum(self[kind].values()), list(self[kind])) for kind in self.kinds]

    def problems(self) -> list:
        """Returns the ProblemRows, sorted."""
        return sorted(
            ProblemRow(name, kind.problem, kind.detail.format(**values))
            for kind, found in self._found.items()
            if kind.problem
            for name, values in found.items()
        )


def count_repeats(boxes: list) -> int:
    """Returns how many of an image's AnnotationRows are the same as one before them."""
    return len(boxes) - len(set(boxes))
