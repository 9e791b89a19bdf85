"""How a run is begun, continued and recorded."""

from lowlight.core.tensorflow import prepare_tensorflow

prepare_tensorflow()  # before a module of this package imports it
