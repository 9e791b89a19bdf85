"""What a trained model finds in one image: the model found, its network, its boxes, its export."""

from lowlight.core.tensorflow import prepare_tensorflow

prepare_tensorflow()  # before a module of this package imports it
