"""Layout and markup come back as they were; only text is translated."""

from __future__ import annotations

import html
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.serving.layout import layout_of

MARKUP = st.lists(
    st.sampled_from(["<p>", "</p>", "<b a='>'>", "<!--x-->", "<", ">", "&amp;", "&", "Wort", " ", "\n", "'"])
)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_text_with_its_own_lines_is_the_text(text: str) -> None:
    """Line ends, blank lines and indents stay, and no line is blank or holds a line break."""
    layout = layout_of(text, "text")
    assert layout.filled(layout.lines) == text
    assert all(line.strip() == line != "" and "\n" not in line for line in layout.lines)


@settings(max_examples=300, deadline=None)
@given(MARKUP)
def test_markup_is_never_translated(parts: list[str]) -> None:
    """All tags and comments of HTML are in what is kept, and the lines hold the other letters."""
    text = "".join(parts)
    layout = layout_of(text, "html")
    assert layout.filled(["x"] * len(layout.lines)).count("<p>") == layout_of(text, "html").filled(layout.lines).count(
        "<p>"
    )
    assert not any("<p>" in line or "<!--" in line for line in layout.lines)


def test_entities_are_characters_and_go_back_as_entities() -> None:
    """The model reads `&`; what it says cannot become markup."""
    layout = layout_of("<p>A &amp; B</p><script>var a='<b>c</b>';</script><br/>Ende", "html")
    assert layout.lines == ["A & B", "Ende"]
    assert layout.filled(["<img src=x>", "&"]) == (
        f"<p>{html.escape('<img src=x>')}</p><script>var a='<b>c</b>';</script><br/>&amp;"
    )


@pytest.mark.parametrize("part", ["<", "<a ", "<!--", "&#", "<a b='", "</a", "<b>", "<script>", "</script", "<?", "a "])
def test_hostile_markup_takes_linear_time(part: str) -> None:
    """What is never closed is read in seconds, where Python's parser takes hours."""
    begun = time.process_time()
    layout_of("<script></script>" + part * (200_000 // len(part)), "html")
    assert time.process_time() - begun < 5
