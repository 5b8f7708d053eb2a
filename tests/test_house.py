"""The house stays as it was designed: layers point one way, functions are short, the way to the attention is short too."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from command import run

ROOT = Path(__file__).parents[1]
PACKAGES = {"nmt": ROOT / "nmt", "nmt_data": ROOT / "data/nmt_data", "nmt_cli": ROOT / "cli/nmt_cli"}
# The wings of the library, the lowest first.
WINGS = (
    *("config", "runtime", "corpus", "models", "fast", "decoding", "scoring", "storage", "translation", "inspection"),
    *("training", "experiments", "report", "serving", "export", "bench"),
)
LONGER = ("nmt_data.synthetic.grammar", "nmt.fast.triton.attention")
MAY_IMPORT = {"nmt": {"nmt"}, "nmt_data": {"nmt", "nmt_data"}, "nmt_cli": {"nmt", "nmt_data", "nmt_cli"}}


@cache
def _sources() -> list[tuple[str, str, ast.Module]]:
    """Package, module name and syntax tree of every source file."""
    return [
        (package, ".".join(part for part in parts if part != "__init__"), ast.parse(path.read_text()))
        for package, folder in PACKAGES.items()
        for path in sorted(folder.rglob("*.py"))
        for parts in [[package, *path.relative_to(folder).with_suffix("").parts]]
    ]


def _imports(tree: ast.AST) -> Iterator[str]:
    """Imported modules, inside functions too; those under TYPE_CHECKING, which never run, are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        yield from _imports(node)


def _room(module: str) -> str:
    """The wing of the library that a module stands in; the other packages are one each."""
    parts = module.split(".")
    return parts[1] if parts[0] == "nmt" and len(parts) > 1 else parts[0]


def test_layers_point_one_way() -> None:
    """nmt_cli may import nmt_data and nmt, nmt_data may import nmt, nmt neither; `nmt.prepare` is looked up when it is used."""
    for package, module, tree in _sources():
        used = {name.split(".")[0] for name in _imports(tree)} & PACKAGES.keys()
        assert used <= MAY_IMPORT[package], module


def test_wings_point_down() -> None:
    """Each wing of the library imports none but those that stand before it."""
    for package, module, tree in _sources():
        if package == "nmt" and _room(module) in WINGS:
            rank = WINGS.index(_room(module))
            used = {_room(name) for name in _imports(tree) if name.startswith("nmt.")} & set(WINGS)
            assert all(WINGS.index(room) <= rank for room in used), module
    assert {path.parent.name for path in (ROOT / "nmt").glob("*/__init__.py")} == set(WINGS)


def test_there_is_no_import_cycle() -> None:
    """Also none of imports inside functions."""
    sources = {module: tree for _, module, tree in _sources()}
    edges = {module: set(_imports(tree)) & sources.keys() - {module} for module, tree in sources.items()}
    done: set[str] = {"nmt"}  # which imports what it exports when it is asked for it

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for name in edges[module]:
                visit(name, (*path, module))
            done.add(module)

    for module in edges:
        visit(module, ())


def test_functions_classes_and_files_are_short() -> None:
    """No function over 60 lines, no class over 200, no file over 300; one phrasebook of grammar and one kernel are longer."""
    for _, module, tree in _sources():
        for node in ast.walk(tree):
            lines = (getattr(node, "end_lineno", 0) or 0) - getattr(node, "lineno", 0) + 1
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert lines <= 60, f"{module}.{node.name}"
            if isinstance(node, ast.ClassDef):
                assert lines <= 200 or node.name == "Grammar", f"{module}.{node.name}"
        length = max((getattr(node, "end_lineno", 0) for node in ast.walk(tree)), default=0)
        assert length <= 300 or module in LONGER, module


def test_every_test_says_what_holds() -> None:
    """Each test function under tests/ has a docstring that states its property."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert ast.get_docstring(node), f"{path.relative_to(ROOT)}::{node.name}"


def test_nothing_is_loaded_by_pickle() -> None:
    """No source file imports pickle or calls torch.load, which could execute foreign code."""
    for _, module, tree in _sources():
        text = ast.unparse(tree)
        assert "import pickle" not in text, module
        assert "torch.load" not in text, module


def test_circular_links_are_no_bug() -> None:
    """`Path.resolve` raises RuntimeError at them, so `real_path` is called instead."""
    for _, module, tree in _sources():
        names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert "resolve" not in names, module


def test_typer_brings_its_own_click() -> None:
    """No module imports click directly, so Typer may choose its version."""
    for _, module, tree in _sources():
        assert "click" not in {name.split(".")[0] for name in _imports(tree)}, module


def test_from_the_command_to_the_attention_in_seven_calls(trained: Path, tmp_path: Path) -> None:
    """Counted on the real call stack: functions of ours from `nmt translate` to attention, in torch and in the kernels."""
    import torch

    from nmt.fast.kernels import kernels
    from nmt.fast.kernels.transformer import TransformerKernels
    from nmt.fast.kernels.transformer_search import TransformerSearch
    from nmt.models.transformer.attention import MultiHeadAttention
    from nmt.training.trainer import Trainer
    from nmt_data.prepare import prepare
    from tiny import make_recipe

    for heads in (2, 4):  # of 16, which the kernels take, and of 8, which they do not
        recipe = make_recipe({"heads": heads}, training={"updates": 1})
        Trainer(recipe, prepare(recipe), tmp_path / str(heads), torch.device("cpu")).run()
    (tmp_path / "text").write_text("a b c\n")
    stacks: list[list[str]] = []

    def watched(place: type, name: str) -> None:
        inner = getattr(place, name)

        def outer(*arguments: Any, **keywords: Any) -> torch.Tensor:
            frame: FrameType | None = sys._getframe(1)
            names = [f"{place.__name__}.{name}"]
            while frame and names[-1] != "translate.translate":
                path = Path(frame.f_code.co_filename)
                if ROOT in path.parents and ".venv" not in path.parts and "tests" not in path.parts:
                    names.append(f"{path.stem}.{frame.f_code.co_name}")
                frame = frame.f_back
            stacks.append(names)
            found: torch.Tensor = inner(*arguments, **keywords)
            return found

        patch.setattr(place, name, outer)

    with pytest.MonkeyPatch.context() as patch:
        watched(MultiHeadAttention, "forward")
        watched(TransformerKernels, "step")
        watched(TransformerSearch, "__call__")  # where the logits are the kernels' too, a whole search is one call
        for heads in (2, 4):
            model = tmp_path / str(heads) / "model"
            assert run("translate", model, tmp_path / "text", "--device", "cpu").exit_code == 0
    reached = {names[0] for names in stacks}
    by_kernels = {"TransformerKernels.step", "TransformerSearch.__call__"}
    assert "MultiHeadAttention.forward" in reached
    assert len(reached & by_kernels) == (kernels() is not None)
    assert max(len(names) - 1 for names in stacks) <= 7, max(stacks, key=len)


def test_the_project_speaks_only_of_itself() -> None:
    """No path of a machine and no registry host in what is tracked."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in listed:
        text = (ROOT / name).read_text(encoding="utf-8", errors="ignore")
        assert not re.search(r"(?<!\w)/(home|work|root)/\w+", text), name


def test_names_in_the_words_exist() -> None:
    """A module, class or function that a docstring or a document names by its whole path is there."""
    defined = {module: set(re.findall(r"^(?:class |def |)(\w+)", source, re.M)) for module, source in _texts()}
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("recipes/*/README.md")]
    for place, text in [*_texts(), *((path.name, path.read_text("utf-8")) for path in documents)]:
        for name in re.findall(r"`(nmt(?:_cli|_data)?(?:\.\w+)+)`", text):
            module = max((known for known in defined if f"{name}.".startswith(f"{known}.")), key=len)
            part = name.removeprefix(module).strip(".").partition(".")[0]
            assert not part or part in defined[module] or module == "nmt", f"{place}: {name}"


def _texts() -> Iterator[tuple[str, str]]:
    """Module name and source of every source file."""
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            yield ".".join(part for part in parts if part != "__init__"), path.read_text(encoding="utf-8")
