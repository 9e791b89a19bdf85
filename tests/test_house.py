"""The house: which package may import which, and how large its rooms may be."""

import ast
from pathlib import Path

import pytest

LOWLIGHT = Path(__file__).parents[1] / "scripts" / "lowlight"

# Each package may import itself and those named behind it.
MAY_IMPORT = {
    "core": "",
    "images": "core",
    "pages": "core",
    "dataset": "core images pages",
    "tfod": "core dataset.classes",
    "detector": "core images tfod",
    "inference": "core images pages detector dataset.classes",
    "evaluation": "core images pages dataset tfod detector",
    "training": "core images dataset tfod detector evaluation",
}
MODULES = sorted(LOWLIGHT.rglob("*.py"))


def _name(path):
    return ".".join(path.relative_to(LOWLIGHT).with_suffix("").parts)


def _imported(path):
    """Yields the full names of what a module imports, at its top or where it is needed."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from names


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_imports_only_what_its_package_may_and_object_detection_only_in_tfod(path):
    package = path.relative_to(LOWLIGHT).parts[0].removesuffix(".py")
    allowed = [package, *MAY_IMPORT.get(package, "core").split()]
    names = list(_imported(path))
    ours = [name.removeprefix("lowlight.") for name in names if "lowlight." in name]
    assert [n for n in ours if not any(f"{n}.".startswith(f"{a}.") for a in allowed)] == []
    if package != "tfod":
        assert [name for name in names if name.split(".")[0] == "object_detection"] == []


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_a_module_has_at_most_300_lines_and_a_function_40_beside_its_docstring(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1:2] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - first[0].lineno + 1 if first else 0
            assert lines <= 40, f"{path}:{node.lineno}"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_public_functions_have_type_hints(path):
    tree = ast.parse(path.read_text())
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    owners = [tree] + [node for node in classes if not node.name.startswith("_")]
    for node in (node for owner in owners for node in owner.body):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
            lacking = {one.arg for one in given if one.annotation is None}
            assert node.returns is not None, f"{path}:{node.lineno} {node.name}"
            assert lacking <= {"self", "cls"}, f"{path}:{node.lineno} {node.name}"


def test_the_packages_are_the_nine_of_the_table():
    assert {path.parent.name for path in LOWLIGHT.glob("*/__init__.py")} == set(MAY_IMPORT)
