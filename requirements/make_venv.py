"""Makes the folder .venv and installs the lists of packages in it; `make venv` runs this.

    python3 requirements/make_venv.py                       # requirements.txt and tfod.txt
    python3 requirements/make_venv.py requirements/dev.txt  # what the tests need, into the same

The lists are installed with their hashes: pip takes these very files and no others. An interrupted
install begins again. This needs Python's own modules only, and runs on older Pythons, too, to say
which one is needed.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

PYTHONS = (3, 11), (3, 12), (3, 13)  # for which every package of the lists has a wheel
ROOT = Path(__file__).resolve().parent.parent
TFOD = "requirements/tfod.txt"
MARK = "installing"  # in .venv while something is being installed, and after an interruption
OLD = "tensorflow_text"  # came with the lists of TensorFlow 2.20, and with no later one


def main():
    """Makes the environment, or ends with a message that says what to do."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lists", nargs="*", default=["requirements.txt", TFOD])
    parser.add_argument("--venv", default=".venv", help="the environment's folder (.venv)")
    parser.add_argument(
        "--check", action="store_true", help="only look whether it is of this Python"
    )
    arguments = parser.parse_args()
    os.chdir(ROOT)
    venv = Path(arguments.venv)
    check_python(sys.version_info[:2])
    check_venv(venv, [sys.version_info[:2]] if arguments.check else PYTHONS)
    if arguments.check:
        return
    venv.mkdir(parents=True, exist_ok=True)
    (venv / MARK).touch()
    if not (venv / "pyvenv.cfg").exists():
        make_venv(venv)
    for path in arguments.lists:
        install(venv, path)
    (venv / MARK).unlink()


def check_python(version):
    """Ends the program on a Python that some package has no wheel for."""
    if version not in PYTHONS:
        fail(
            f"this is Python {_dotted(version)}; Python 3.11, 3.12 or 3.13 is needed. "
            "Install one of them, or name it: make PYTHON=/path/to/python3.13"
        )


def check_venv(venv, pythons):
    """Ends the program on a folder that can't be used; removes one that was never finished."""
    if not venv.is_dir() or not any(venv.iterdir()):
        return
    version = version_of(venv)
    if (venv / MARK).exists() or (version is None and (venv / "pyvenv.cfg").exists()):
        print(f"{venv}: its install was interrupted, or its Python is gone. It is made again.")
        shutil.rmtree(venv)
    elif version is None:
        fail(f"{venv} is no environment of Python. Move it away, or choose another: make VENV=name")
    elif version not in pythons:
        fail(
            f"{venv} is of Python {_dotted(version)}, not {' or '.join(map(_dotted, pythons))}. "
            f"Remove it and run the same command again: rm -rf {venv}"
        )
    elif any(venv.glob(f"lib/*/site-packages/{OLD}")):
        fail(
            f"{venv} holds the packages of an older version of this project. "
            f"Remove it and run the same command again: rm -rf {venv}"
        )


def _dotted(version):
    return ".".join(map(str, version[:2]))


def version_of(venv):
    """Returns (major, minor) of an environment's Python, None where it doesn't run or lacks pip."""
    code = "import sys, pip; print(*sys.version_info[:2])"
    command = [str(venv / "bin" / "python"), "-c", code]
    try:
        printed = subprocess.check_output(command, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(int(number) for number in printed.split())


def make_venv(venv):
    """Makes an environment of this Python."""
    if subprocess.run([sys.executable, "-m", "venv", str(venv)], check=False).returncode != 0:
        shutil.rmtree(venv)
        fail(f"{sys.executable} -m venv failed. On Debian and Ubuntu: apt install python3-venv")


def install(venv, path):
    """Installs a list; TFOD's without what its packages ask for, which is of another time."""
    command = [str(venv / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", "--require-hashes", "-r", path]
    if path == TFOD:
        # TFOD comes as a source without a pyproject.toml, which pip wants told how to build.
        command += ["--no-deps", "--use-pep517"]
    if subprocess.run(command, check=False).returncode != 0:
        fail(
            f"pip couldn't install {path}; its reason is above. Where there is no network, run the "
            "same command again when there is one."
        )


def fail(message):
    """Ends the program with a message."""
    sys.exit(f"error: {message}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; run the same command again.")
