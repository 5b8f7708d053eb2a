"""Test sets of a person's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from nmt.corpus.testset import TestSet
from nmt.errors import DataError


@pytest.mark.parametrize("head", ['<?xml version="1.0"?>', '<refset setid="x">', "<!DOCTYPE mteval>", " <SRCSET>"])
@pytest.mark.parametrize("side", ["source", "reference"])
def test_markup_is_no_test_set(tmp_path: Path, head: str, side: str) -> None:
    """The files of WMT hold one segment a line too, between lines that are none."""
    for name in ("source", "reference"):
        (tmp_path / name).write_text(f"{head if name == side else 'Ja'}\nNein\n")
    with pytest.raises(DataError, match=rf"{side}: is XML or SGML; a test set is plain text"):
        TestSet.read("mine", tmp_path / "source", tmp_path / "reference")


def test_a_prepared_one_may_begin_so(tmp_path: Path) -> None:
    """Its lines are segments already, as of a manual about XML."""
    prepared = TestSet("mine", ["<dataset> ist ein Element"], ["<dataset> is an element"])
    prepared.write(tmp_path)
    assert TestSet.load(tmp_path, "mine") == prepared


def test_text_with_signs_of_markup_is_one(tmp_path: Path) -> None:
    """A sentence may begin with such a sign."""
    (tmp_path / "text").write_text("<b>Ja</b>\n<3\n")
    assert TestSet.read("mine", tmp_path / "text", tmp_path / "text").source == ["<b>Ja</b>", "<3"]
