"""The names of served models."""

from __future__ import annotations

from pathlib import Path

from nmt.serving.work import model_names


def test_models_are_told_apart_by_name() -> None:
    """A model has the name of its recipe; models of one recipe have those of their folders, and numbers if those agree too."""
    paths = [Path("runs/one"), Path("runs/two/model"), Path("runs/three"), Path("other/three")]
    assert model_names(paths[:2], ["a b", "c"]) == ["a-b", "c"]
    assert model_names(paths, ["x", "x", "x", "x"]) == ["one", "two", "three", "three-2"]
