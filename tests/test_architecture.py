"""The house rules that a program can check, over every file of the package."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import sys
from abc import ABC
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import topogen

ROOT = Path(topogen.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# names with an underscore that other libraries document
DOCUMENTED = {"_replace", "_asdict", "_fields", "_make"}
MOST_PARAMETERS, MOST_LINES, MOST_CONSTANTS = 10, 600, 250


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT.parent)}:{getattr(node, 'lineno', 0)}"


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in FILES:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in DOCUMENTED


def test_class_names_are_unique():
    names = Counter(
        node.name
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, times in names.items() if times > 1] == []


def own_names(module: ast.Module) -> set[str]:
    """The private names that a module itself defines: functions, classes, attributes of self."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
                found.add(node.attr)
    return found


def reaches(path: Path) -> list[str]:
    """Private names of another module that this one imports, or takes from an object."""
    found, own = [], own_names(tree(path))
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and (
            node.level or (node.module or "").startswith("topogen")
        ):
            named = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found += [f"{place(path, node)} {n}" for n in named if private(n) and n != "_version"]
        if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own:
            of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            of_super = (
                isinstance(node.value, ast.Call)
                and isinstance(node.value.func, ast.Name)
                and node.value.func.id == "super"
            )
            if not of_self and not of_super:
                found.append(f"{place(path, node)} {ast.unparse(node)}")
    return found


def test_no_module_reaches_into_the_private_names_of_another():
    assert [line for path in FILES for line in reaches(path)] == []


def test_no_lazy_import_of_our_own_modules():
    lazy = [
        place(path, node)
        for path, function in functions()
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom)
        and (node.level or (node.module or "").split(".")[0] == "topogen")
    ]
    assert lazy == []


def test_no_function_takes_too_many_parameters():
    # the options of a command are its interface on the shell, not an interface in Python
    found = []
    for path, node in functions():
        a = node.args
        names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
        taken = len([n for n in names if n not in ("self", "cls")])
        if taken > MOST_PARAMETERS and path.parent.name != "cli":
            found.append(f"{place(path, node)} {node.name} takes {taken}")
    assert found == []


def test_capabilities_are_declared_and_not_probed():
    probes = [
        f"{place(path, node)} {ast.unparse(node)}"
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "hasattr"
    ]
    assert probes == []


def test_files_hold_one_idea():
    assert [str(p) for p in FILES if len(p.read_text().splitlines()) > MOST_LINES] == []


def test_every_module_says_what_it_is_for():
    silent = [str(p) for p in FILES if len((ast.get_docstring(tree(p)) or "").strip()) < 15]
    assert silent == []


def names_of(target: ast.expr) -> list[str]:
    """The names that an assignment binds, tuples taken apart."""
    if isinstance(target, ast.Tuple):
        return [name for part in target.elts for name in names_of(part)]
    return [target.id] if isinstance(target, ast.Name) else []


def test_constants_are_few():
    constants = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        for node in tree(path).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for name in names_of(target)
        if name.isupper()
    ]
    assert len(constants) < MOST_CONSTANTS, "\n".join(constants)


@pytest.mark.parametrize("package", [p for p in sorted(ROOT.rglob("__init__.py")) if p != ROOT])
def test_no_function_hides_a_module_of_its_name(package):
    modules = {p.stem for p in package.parent.glob("*.py")}
    hidden = [
        alias.asname or alias.name
        for node in tree(package).body
        if isinstance(node, ast.ImportFrom) and node.module is not None
        for alias in node.names
        if (alias.asname or alias.name) in modules
    ]
    assert hidden == []


def test_tests_of_one_file_run_on_one_worker(request):
    # xdist writes the group of a test into its node id, where it knows how to
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert "@" in request.node.nodeid


def test_a_class_is_abstract_or_never_subclassed():
    for module in pkgutil.walk_packages(topogen.__path__, "topogen."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    ours = {n: m for n, m in sys.modules.items() if n == "topogen" or n.startswith("topogen.")}
    classes = {c for m in ours.values() for c in vars(m).values() if inspect.isclass(c)}
    roots = {"TopogenError", "Storable", "Options"}  # kinds, with nothing left to write
    wrong = {
        (base.__name__, c.__name__)
        for c in classes
        for base in c.__bases__
        if c.__module__ in ours and base.__module__ in ours and base.__name__ not in roots
        if not (inspect.isabstract(base) or ABC in base.__bases__)
    }
    assert wrong == set()
