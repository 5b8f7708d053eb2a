"""Text is drawn the same way every time, wherever a word stands, in any script, whatever the line holds."""

from __future__ import annotations

import hashlib
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import features

from nmt.config.model import VisualConfig
from nmt.corpus.rendering import MARGIN, Renderer, renderer_of, same_font, save_font
from nmt.errors import ConfigError

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
LINE = "Ein Mann läuft über die große Straße."


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    """The default font, 12 pixels high."""
    return renderer_of(None, 12)


def test_a_line_is_drawn_the_same_everywhere(renderer: Renderer) -> None:
    """Also by a renderer of its own; and, with the FreeType of Pillow 13, as when this test was written."""
    line = renderer.line(LINE)
    assert np.array_equal(line, Renderer(renderer.content, 12, "copy").line(LINE))
    assert line.dtype == np.uint8
    assert line.shape[1] == 12
    if features.version("freetype2") == "2.14.3":
        assert hashlib.sha256(line.tobytes()).hexdigest()[:16] == "40f5c75fb5fa9608"


def test_a_word_looks_the_same_wherever_it_stands(renderer: Renderer) -> None:
    """And a line has as many columns as its words, the spaces between them and the margin."""
    word, line = renderer.line("Straße")[MARGIN:], renderer.line(LINE)
    edges = renderer.edges(LINE)
    place = edges[LINE.index("Straße")]
    assert np.array_equal(
        line[place : place + len(word) - 3], word[:-3]
    )  # the full stop may come closer than a letter ends
    assert edges[0] == MARGIN
    assert edges[-1] == len(line)
    assert (np.diff(edges) >= 0).all()


def test_words_may_begin_with_a_slice(renderer: Renderer) -> None:
    """With a grid each word begins at a multiple of it, after a space at least as wide as the font's."""
    aligned = renderer_of(None, 12, 16)
    line, edges = aligned.line(LINE), aligned.edges(LINE)
    assert edges[-1] == len(line)
    begins = [place for place in range(len(LINE)) if place == 0 or LINE[place - 1] == " "]
    assert all((edges[place] - MARGIN) % 16 == 0 for place in begins)
    space = len(renderer.line("a b")) - len(renderer.line("ab"))
    assert all(edges[place] - edges[place - 1] >= space - 1 for place in begins[1:])
    word = renderer.line("Mann")[MARGIN:]
    assert np.array_equal(line[edges[4] : edges[4] + len(word)], word)


def test_ink_is_where_letters_are(renderer: Renderer) -> None:
    """Every word has ink, spaces and the margin have none, and no letter is cut off above or below."""
    line, edges = renderer.line("Äg jq"), renderer.edges("Äg jq")
    assert line[:MARGIN].sum() == 0
    assert line[edges[2] : edges[3]].sum() == 0
    assert all(line[start:end].any() for start, end in zip(edges[[0, 1, 3, 4]], edges[[1, 2, 4, 5]], strict=True))
    large = renderer_of(None, 48).line("Äg jq")
    assert large[:, -1].max() <= large.max()
    assert large[:, :3].sum() + large[:, -1:].sum() < large.sum() / 10


@pytest.mark.skipif(not features.check("raqm"), reason="this Pillow draws letters one by one")
def test_scripts_are_shaped(renderer: Renderer) -> None:
    """Arabic letters join and run to the left, and an accent stands over its letter: neither is drawn letter by letter."""
    word = "\u0628\u0628\u0628"
    assert len(renderer.line(word)) != MARGIN + 3 * (len(renderer.line("\u0628")) - MARGIN)
    edges = renderer.edges(word)
    assert edges[0] > edges[2]
    accented = renderer.line("e\u0301")
    assert len(accented) == len(renderer.line("e"))
    assert accented.sum() > renderer.line("e").sum()


def test_a_computer_without_raqm_draws_the_same(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only scripts that it cannot lay out are missing there: those that join or stack, and that run to the left."""
    with monkeypatch.context() as patch:
        patch.setattr(features, "check", lambda _: False)
        bare = Renderer(renderer.content, 12, "bare")
        text = "Ein Mann läuft. \u0395\u03bd\u03b1\u03c2 \u0434\u043e\u043c \u10d0\u10d1"
        assert np.array_equal(bare.line(text), renderer.line(text))
        assert bare.fingerprint == renderer.fingerprint
        assert bare.missing(f"{text}\u0628e\u0301") == {"\u0628", "\u0301"}
        assert len(bare.line("\u0628e\u0301")) > MARGIN


def test_what_the_font_lacks_is_named(renderer: Renderer) -> None:
    """Characters without a glyph are found; spaces, invisible characters and, where they can be stacked, marks do not count."""
    stacked = set[str]() if features.check("raqm") else {"\u0301"}
    assert renderer.missing("aß\u0301\u200d\u00a0 \u65e5本") == {"\u65e5", "本"} | stacked


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(), max_size=4))
def test_any_text_is_drawn(renderer: Renderer, lines: list[str]) -> None:
    """Whatever the characters, there is a picture, and a place for each of them."""
    strips = renderer.strips(lines)
    assert (strips.widths >= MARGIN).all()
    for number, line in enumerate(lines):
        edges = renderer.edges(line)
        assert len(edges) == len(line) + 1
        assert edges[-1] == strips.widths[number]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(2, 20), st.data())
def test_slices_cover_every_column(widths: list[int], window: int, data: st.DataObject) -> None:
    """Slices begin a stride apart, the last one reaches the end, and beyond the line there is paper."""
    from nmt.corpus.rendering import Strips

    stride = data.draw(st.integers(1, window))
    firsts = np.cumsum([0, *widths])
    pixels = np.arange(1, firsts[-1] + 1, dtype=np.uint8)[:, None] % 250 + 1
    strips = Strips(pixels, firsts)
    cut, counts = strips.cut(window, stride), strips.slices(window, stride)
    begin = 0
    for number, width in enumerate(widths):
        own = cut[begin : begin + counts[number], :, 0]
        begin += counts[number]
        padded = np.concatenate([pixels[firsts[number] : firsts[number + 1], 0], np.zeros(window + stride, np.uint8)])
        for place, piece in enumerate(own):
            assert np.array_equal(piece, padded[place * stride : place * stride + window])
        assert (counts[number] - 1) * stride + window >= width
        assert counts[number] == 1 or (counts[number] - 2) * stride + window < width
    assert np.array_equal(strips.padded(60)[0, : widths[0]], pixels[: widths[0]])


def test_a_font_is_a_file_that_goes_with_the_model(tmp_path: Path) -> None:
    """Another font draws otherwise; its file is copied, and two files are one font if their content is."""
    serif = FONTS / "DejaVuSerif.ttf"
    assert not np.array_equal(renderer_of(str(serif), 12).line(LINE), renderer_of(None, 12).line(LINE))
    save_font(VisualConfig(font=str(serif)), tmp_path)
    assert same_font(str(serif), str(tmp_path / "font"))
    assert not same_font(str(serif), None)
    assert not same_font(str(serif), str(FONTS / "DejaVuSans.ttf"))


def test_no_font_is_one_line(tmp_path: Path) -> None:
    """A missing file, a file that is no font and too little height each have an error that names the key."""
    (tmp_path / "text.ttf").write_text("no font")
    with pytest.raises(ConfigError, match=r"model.font: .*missing.ttf: No such file"):
        renderer_of(str(tmp_path / "missing.ttf"), 12)
    with pytest.raises(ConfigError, match=r"model.font: text.ttf is no font"):
        renderer_of(str(tmp_path / "text.ttf"), 12)
    with pytest.raises(ConfigError, match=r"model.height = 1 is too small"):
        renderer_of(None, 1)
