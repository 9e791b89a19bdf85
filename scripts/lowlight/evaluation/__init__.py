"""How good a detector is, and where not: truth, matching, slices, errors, report, comparison."""

from lowlight.core.tensorflow import prepare_tensorflow

prepare_tensorflow()  # before a module of this package imports it
