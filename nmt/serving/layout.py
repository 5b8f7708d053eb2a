"""Text as lines to translate and what stands between them, so that layout and markup come back as they were."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_TAG = re.compile(r"""<[a-zA-Z](?:"[^"]*"|'[^']*'|[^"'>])*+>""")
_KEPT = re.compile(r"<(script|style|code|pre|textarea)[\s/>]", re.IGNORECASE)  # elements whose text is not translated


@dataclass
class Layout:
    """Lines, and what stands before, between and after them."""

    lines: list[str] = field(default_factory=list[str])
    between: list[list[str]] = field(default_factory=lambda: [[]])
    """Texts before, between and after the lines, in parts."""
    markup: bool = False
    """Whether the text is HTML, so that `<`, `>` and `&` of a line are written as entities."""

    def keep(self, text: str) -> None:
        """Adds text that is not translated."""
        self.between[-1].append(text)

    def add(self, text: str, line: str) -> None:
        """Adds a line as `text` has it; white space around it is kept apart."""
        inner = text.strip()
        if not inner or not line:
            self.keep(text)
            return
        before, _, after = text.partition(inner)
        self.keep(before)
        self.lines.append(line)
        self.between.append([after])

    def filled(self, lines: Sequence[str]) -> str:
        """Returns the text with other lines in place of its own."""
        written = [html.escape(line, quote=False) if self.markup else line for line in lines]
        return "".join(part for kept, line in zip(self.between, [*written, ""], strict=True) for part in (*kept, line))


def layout_of(text: str, form: str) -> Layout:
    """Returns the layout of text or, if `form` is `html`, of HTML."""
    return _of_markup(text) if form == "html" else _of_text(text)


def _of_text(text: str) -> Layout:
    """Splits text into lines; blank lines and line ends stay as they are."""
    layout = Layout()
    for number, line in enumerate(text.split("\n")):
        layout.keep("\n" if number else "")
        layout.add(line, line.strip())
    return layout


def _of_markup(text: str) -> Layout:
    """Splits HTML into the texts between tags. Tags, comments and scripts stay as they are, letter by letter."""
    layout, start = Layout(markup=True), 0
    for first, last in _markup(text):
        run = text[start:first]
        layout.add(run, " ".join(html.unescape(run).split()))
        layout.keep(text[first:last])
        start = last
    return layout


def _markup(text: str) -> Iterator[tuple[int, int]]:
    """Yields where tags and the like begin and end, and the end of the text. What is not closed reaches to the end.

    Each letter is read once. Python's parser takes hours for a megabyte of `<a `.
    """
    place = text.find("<")
    while place >= 0:
        end = _end_of_markup(text, place)
        if end is None:  # a bare sign
            place = text.find("<", place + 1)
            continue
        yield place, end
        place = text.find("<", end)
    yield len(text), len(text)


def _end_of_markup(text: str, place: int) -> int | None:
    """Returns the end of what begins with `<` at a place; None: nothing does."""
    if text.startswith("<!--", place):
        return _after(text, "-->", place + 4)
    if text.startswith(("<!", "<?"), place) or re.match("</[a-zA-Z]", text[place : place + 3]):
        return _after(text, ">", place)
    if not text[place + 1 : place + 2].isalpha():
        return None
    tag = _TAG.match(text, place)
    if tag is None:
        return len(text) if text[place + 1].isascii() else None
    kept = _KEPT.match(text, place)
    if kept is None or tag[0].endswith("/>"):
        return tag.end()
    close = re.compile(f"</{kept[1]}", re.IGNORECASE).search(text, tag.end())
    return _after(text, ">", close.end()) if close else len(text)


def _after(text: str, sign: str, place: int) -> int:
    end = text.find(sign, place)
    return len(text) if end < 0 else end + len(sign)
