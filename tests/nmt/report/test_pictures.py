"""Pictures of text show letters of any script that a font of the computer has."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text

from nmt.report.pictures import save_picture


def test_another_font_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For letters that the usual one lacks; the letters of none are named once, and nothing warns."""
    unusual = "\u2336"  # of APL, in fonts of one width alone
    figure = Figure()
    figure.text(0.1, 0.5, f"a{unusual}\U0010fffd 犬")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        missing = save_picture(figure, tmp_path / "a.png")
        assert unusual not in missing
        assert "a" not in missing
        families = [text.get_fontfamily() for text in figure.findobj(Text)]
        assert any(len(family) > 1 for family in families)
        monkeypatch.setattr(font_manager.fontManager, "ttflist", [])
        assert save_picture(figure, tmp_path / "b.png") == f"{unusual}犬"
    assert (tmp_path / "b.png").stat().st_size > 0
