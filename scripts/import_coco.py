"""Is import_labels.py now, and says the command to type instead of its own."""

import re
import shlex
import sys

rest = [re.sub("^--?coco(?==|$)", "--labels", argument) for argument in sys.argv[1:]]
command = shlex.join(["python", "scripts/import_labels.py", "--format=coco", *rest])
sys.exit(f"error: import_coco.py is import_labels.py now.\n  Type: {command}")
