"""Is export_labels.py now, and says the command to type instead of its own."""

import shlex
import sys

command = shlex.join(["python", "scripts/export_labels.py", "--format=coco", *sys.argv[1:]])
sys.exit(f"error: export_coco.py is export_labels.py now.\n  Type: {command}")
