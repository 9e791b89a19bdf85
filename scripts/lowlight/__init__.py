"""The shared code of the low-light detection pipeline; the scripts beside it are its commands."""

from lowlight.core.tensorflow import prepare_tensorflow

# Here, so that it holds whichever module imports TensorFlow first.
prepare_tensorflow()
