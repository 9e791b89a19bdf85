import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from checks import message_of

ROOT = Path(__file__).parents[2]
TAKES_ARGUMENTS = "compare_runs.py"
SHARES_FLAGS = "run_inference.py", "evaluate.py"  # with other scripts
TFODS_OWN = "exporter_main_v2.py", "model_main_tf2.py"  # whose flags and messages are TFOD's
SCRIPTS = [path.name for path in sorted((ROOT / "scripts").glob("*.py"))] + ["run_inference.py"]
MOVED = "export_coco.py", "import_coco.py"  # which only say the new command
SCRIPTS = [name for name in SCRIPTS if name not in TFODS_OWN + MOVED]


def docstring_of(name):
    path = ROOT / name if name == "run_inference.py" else ROOT / "scripts" / name
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def command_of(name):
    """Returns the words of the first command in a script's docstring."""
    text = docstring_of(name).replace("\\\n", " ")
    return shlex.split(next(line for line in text.splitlines() if line.startswith("  python ")))


@pytest.fixture(scope="module", autouse=True)
def no_tensorflow(tmp_path_factory):
    """Makes the import of TensorFlow an error: nothing that is asked of a script here needs it."""
    folder = tmp_path_factory.mktemp("no_tensorflow")
    (folder / "tensorflow.py").write_text("raise ImportError('TensorFlow was imported')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        yield


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_the_docstring_and_then_the_scripts_own_flags_alone(name, run_script):
    run = run_script(name, "--help")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.startswith(docstring_of(name).splitlines()[0])
    assert re.findall(r"^(\S+):$", run.stdout, re.MULTILINE) == ["flags", command_of(name)[1]]
    flags = re.findall(r"^  --(?:\[no\])?(\w+): \S", run.stdout, re.MULTILINE)
    assert flags
    assert "engine" in flags or name not in SHARES_FLAGS
    # A command stands in lines as it is typed.
    assert [line for line in run.stdout.splitlines() if len(line) > 100] == []


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name != TAKES_ARGUMENTS])
def test_every_flag_of_the_docstrings_command_is_known_and_a_stray_argument_is_not(
    name, run_script, tmp_path
):
    python, script, *arguments = command_of(name)
    assert python == "python"
    assert script == (name if name == "run_inference.py" else f"scripts/{name}")
    message = message_of(run_script(name, *arguments, "stray", cwd=tmp_path))
    assert message.startswith("error: unexpected argument 'stray'; every input is a flag.\n  See: ")
    assert message.endswith(f"{script} --help\n")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_missing_flag_is_named(name, run_script):
    message = message_of(run_script(name))
    missing = r"missing flag --\w+|nothing to draw\.|two evaluations at least are needed"
    assert re.match(rf"error: ({missing}).*\n  \S", message)


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("convert_images.py", "--jobs=0"),
        ("convert_images.py", "--jobs=two"),
        ("make_sample_data.py", "--images=0"),
        ("make_sample_data.py", "--width=63"),
        ("make_tfrecords.py", "--shards=0"),
    ],
)
def test_a_flags_value_out_of_range_is_named(name, flag, run_script, tmp_path):
    assert message_of(run_script(name, flag)).startswith(f"error: flag {flag}: ")


@pytest.mark.parametrize(
    ("name", "given", "new"),
    [
        ("import_coco.py", "--coco='my a.json' --coco x", "--labels='my a.json' --labels x"),
        ("export_coco.py", "--output=coco", "--output=coco"),
    ],
)
def test_a_script_that_has_another_name_now_says_the_command_to_type(name, given, new, run_script):
    run, now = run_script(name, *shlex.split(given)), name.replace("coco", "labels")
    message, typed = run.stderr.splitlines()
    assert (run.returncode, run.stdout, message) == (1, "", f"error: {name} is {now} now.")
    words = ["python", f"scripts/{now}", "--format=coco", *shlex.split(new)]
    assert shlex.split(typed)[1:] == words


# How the run of a main ends. ----------------------------------------------------------------------


@pytest.fixture
def run_main(tmp_path):
    """Runs a script with this main and returns the CompletedProcess."""

    def run(statement, *arguments, **options):
        script = tmp_path / "script.py"
        script.write_text(
            "import sys\n"
            f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
            "from absl import flags\n"
            "from lowlight.core import command\n"
            "from lowlight.core.errors import DataError\n"
            "flags.DEFINE_integer('steps', 1, 'Steps.', 1)\n"
            "flags.DEFINE_list('names', None, 'Names.')\n"
            "flags.DEFINE_list('others', [], 'More names.')\n"
            f"def main():\n    {statement}\n"
            "command.run(main)\n"
        )
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        return subprocess.run([sys.executable, script, *arguments], **given, check=False)

    return run


def kill(name):
    return f"import os, signal; os.kill(os.getpid(), signal.{name}); print('on')"


def keep(name):
    imports = "import signal; from lowlight.core.errors import Interrupted"
    return f"{imports}; raise Interrupted(signal.{name}, 'Kept: ckpt-2.')"


KEPT = "\ninterrupted by {}. Kept: ckpt-2. Run the same command again to continue.\n"
AGAIN = "\ninterrupted by {}. Run the same command again.\n"
SPACE = "No space left on device"
FULL = "Make room and run the same command again."
CHECK = "Check the path and its permissions, or choose another."
READ_ONLY = "Read-only file system"
# What main does, the run's status, and what it prints to standard error.
ENDS = {
    "success": ("pass", 0, ""),
    "a decoder's warning": (
        "import warnings; warnings.warn_explicit('odd', UserWarning, 'a.py', 1, 'PIL.Image')",
        0,
        "",
    ),
    "bad input": ("raise DataError('a.txt:2: odd.')", 1, "error: a.txt:2: odd.\n"),
    "a full disk": (
        f"raise OSError(28, '{SPACE}', 'a.csv')",
        1,
        f"error: a.csv: {SPACE}.\n  {FULL}\n",
    ),
    "a full disk, as TensorFlow says it": (
        f"raise RuntimeError('a.tfrecord; {SPACE}\\n\\t [[trace]]')",
        1,
        f"error: a.tfrecord; {SPACE}.\n  {FULL}\n",
    ),
    "no folder": (
        "open('/missing/a.csv', 'w')",
        1,
        f"error: /missing/a.csv: No such file or directory.\n  {CHECK}\n",
    ),
    "a read-only disk": (
        f"raise OSError(30, '{READ_ONLY}', 'a.csv')",
        1,
        f"error: a.csv: {READ_ONLY}.\n  {CHECK}\n",
    ),
    "Ctrl-C": (kill("SIGINT"), 130, AGAIN.format("SIGINT")),
    "SIGTERM": (kill("SIGTERM"), 143, AGAIN.format("SIGTERM")),
    "SIGHUP": (kill("SIGHUP"), 129, AGAIN.format("SIGHUP")),
    "Ctrl-C while it imports": ("pass\nraise KeyboardInterrupt", 130, AGAIN.format("SIGINT")),
    "Ctrl-C, something kept": (keep("SIGINT"), 130, KEPT.format("SIGINT")),
    "SIGTERM, something kept": (keep("SIGTERM"), 143, KEPT.format("SIGTERM")),
}


@pytest.mark.parametrize(("statement", "status", "stderr"), ENDS.values(), ids=ENDS)
def test_a_run_ends_with_a_status_and_a_plain_message(run_main, statement, status, stderr):
    run = run_main(statement)
    assert (run.returncode, run.stdout, run.stderr) == (status, "", stderr)


HANGS = """
    import os, signal, threading, time
    from lowlight.core.parallel import map_in_threads
    said, say, command._PATIENCE = threading.Event(), command.say, 1
    command.say = lambda text: (say(text), said.set())
    def hang(number):
        os.kill(os.getpid(), number)
        said.wait()
        time.sleep(0.5)  # Python puts off a signal that comes before the other's handler has ended
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    list(map_in_threads(hang, [signal.SIGINT]))
"""


def test_each_line_is_in_a_log_as_soon_as_it_is_printed(run_main):
    run = run_main("import os; print('begun'); os._exit(3)")  # which writes nothing more
    assert (run.returncode, run.stdout) == (3, "begun\n")


def test_a_run_that_hangs_says_so_and_a_second_ctrl_c_ends_it_at_once(run_main):
    run = run_main(HANGS)
    waits = "waits for what is being read, written or computed; Ctrl-C now ends it at once"
    assert run.returncode == 130
    assert run.stderr.endswith(f"\n{waits}\n\ninterrupted by SIGINT. Run the same command again.\n")


def test_a_signal_that_a_fork_gets_before_it_begins_ends_it_in_silence(run_main):
    fork = "os.fork() or os.kill(os.getpid(), signal.SIGTERM)"
    run = run_main(f"import os, signal; {fork}; print(os.waitstatus_to_exitcode(os.wait()[1]))")
    assert (run.returncode, run.stdout, run.stderr) == (0, "143\n", "")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_a_terminal_would_obey_is_printed_as_escapes_and_long_names_are_cut(run_main, stream):
    shown = "print('\\x1b]0;t\\7 \\u202e \\r \\x9b\\t\\n' + 60000 * 'a' + '.jpg', file=sys."
    lines = getattr(run_main(f"{shown}{stream})"), stream).split("\n")
    assert lines == [r"\x1b]0;t\x07 \u202e \r \x9b" + "\t", f"{800 * 'a'} ... {196 * 'a'}.jpg", ""]


@pytest.mark.parametrize(("lines", "flags"), [(1, []), (100_000, []), (0, ["--help"])])
def test_output_that_nobody_reads_any_more_ends_a_run_in_silence(run_main, lines, flags):
    reading, writing = os.pipe()
    os.close(reading)
    run = run_main(f"for i in range({lines}): print(i)", *flags, stdout=writing)
    os.close(writing)
    assert (run.returncode, run.stderr) == (141, "")


@pytest.mark.parametrize("statement", ["1 / 0", "raise OSError('of a decoder')"])
def test_a_bug_keeps_its_traceback(run_main, statement):
    run = run_main(statement)
    assert run.returncode == 1
    assert "Traceback" in run.stderr
    assert statement in run.stderr


WRONG_FLAGS = {
    "--steps=0": "flag --steps=0: ",
    "--steps=many": "flag --steps=many: ",
    "--names=": "missing flag --names: its value is empty.\n",
    "--unheard_of=1": "Unknown command line flag 'unheard_of'",
}


@pytest.mark.parametrize(("flag", "message"), WRONG_FLAGS.items())
def test_a_wrong_flag_is_named(run_main, flag, message):
    assert message_of(run_main("pass", flag)).startswith(f"error: {message}")


@pytest.mark.parametrize("status", [0, 3])
def test_a_step_ends_before_python_takes_itself_down(run_main, status):
    told = "print, 'what was registered is done'"
    late = "type('', (), {'__del__': lambda self: print('too late')})()"
    run = run_main(
        f"import atexit; globals()['late'] = {late}; atexit.register({told}); return {status}"
    )
    assert (run.returncode, run.stderr) == (status, "")
    assert run.stdout == "what was registered is done\n"
