"""The notebook runs from top to bottom, and the repository holds it without outputs."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from command import environment
from nmt.scoring.metrics import score

NOTEBOOK = Path(__file__).parents[1] / "examples/first-model.ipynb"


def _read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_the_notebook_is_kept_without_outputs() -> None:
    """They belong to one machine and one day, and would make every change of a cell hard to read."""
    for cell in _read().cells:
        assert not cell.get("outputs"), cell.id
        assert cell.get("execution_count") is None, cell.id


def test_each_step_is_explained() -> None:
    """Words stand before each code cell, in a few sentences; the public interface and the command both occur."""
    cells = _read().cells
    assert all(cell.cell_type == "code" or cell.source.strip() for cell in cells)
    for before, cell in pairwise(cells):
        assert cell.cell_type == "markdown" or before.cell_type == "markdown", cell.id
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for name in ("load_recipe", "train", "load", "attend", "evaluate"):
        assert f"nmt.{name}(" in code
    assert {"prepare", "train", "compare"} <= set(re.findall(r"^!nmt (\w+)", code, re.M))


@pytest.mark.thorough
@pytest.mark.filterwarnings("default")
def test_the_notebook_runs(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few updates: no cell fails, the pictures are drawn, and both models have a score with its signature."""
    notebook = _read()
    settings = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    settings.source = (
        f"runs = Path({str(tmp_path)!r})\nchanges = ['training.updates=150', 'training.validate_every=150']"
    )
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    NotebookClient(notebook, timeout=900, kernel_name="python3").execute(cwd=str(NOTEBOOK.parent))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    signature = re.escape(score(["a b c d"], ["a b c d"], metrics=("bleu",))[0].signature)
    assert len(re.findall(rf"^(?:fixed vector|attention) +BLEU [\d.]+ \[[\d., ]+\]  {signature}$", printed, re.M)) == 2
    assert "\x1b" not in re.sub(r"\x1b\[[\d;]*m", "", printed)  # colours are shown, and what moves the cursor is not
    assert "found in train" in printed
    assert "paired bootstrap resampling against bottleneck" in printed
    assert (tmp_path / "attention/model").is_dir()
