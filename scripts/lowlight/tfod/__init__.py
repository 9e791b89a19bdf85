"""What TFOD needs and gives: its repairs, models, configs and start checkpoints.

Importing the package repairs TFOD, so that its modules, and tests, import `object_detection` like
any other package. That loads TensorFlow: entry points import it in `main`, after the flags.
"""

from lowlight.tfod import repairs

repairs.apply()
