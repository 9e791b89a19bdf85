"""What TFOD needs and gives: its repairs, models, configs and start checkpoints.

Importing the package repairs TFOD, so that its modules, and tests, import `object_detection` like
any other package. That loads TensorFlow: entry points import it in `main`, after the flags.
"""

import importlib

from lowlight.core.errors import DataError
from lowlight.core.tensorflow import prepare_tensorflow
from lowlight.tfod import repairs

prepare_tensorflow()
for _name in ("object_detection", "official"):
    try:
        importlib.import_module(_name)
    except ModuleNotFoundError as error:
        raise DataError(
            f"TFOD isn't installed ({error}).\n  pip install --no-deps -r requirements/tfod.txt"
        ) from error
repairs.apply()
