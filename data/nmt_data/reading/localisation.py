"""Reads files of computer-aided translation: TMX, and XLIFF 1.2 and 2.

Units are read one by one and forgotten, so a translation memory of any size needs the memory of one unit. Nothing outside of
the file is loaded. Entities that a file defines are refused, as they can be made to expand without end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from nmt.corpus.lines import visible_line
from nmt.corpus.opening import explained, open_bytes
from nmt.errors import DataError
from nmt_data.reading.languages import best, is_reversed
from nmt_data.reading.pairs import Direction, Pair, Unreadable

_CODES = frozenset({"bpt", "ept", "ph", "it", "ut", "x", "bx", "ex", "sc", "ec", "sm", "em", "cp"})
"""Inline elements that hold codes of the original format, or characters that XML cannot hold, and no text of the sentence."""
_SINGLE = frozenset({"ph", "ut", "x"})
"""Those that stand for something between two words, such as a line break or a picture."""
_MARK = "\0"  # which no XML contains
_BETWEEN_WORDS = re.compile(rf"(?<=\w){_MARK}+(?=\w)")
_DRAFTS = {
    "state": {"new", "needs-translation", "initial"},
    "conf": {"Draft", "RejectedTranslation", "RejectedSignOff"},
    "status": {"NotStarted", "Pretranslated", "AssembledFromFragments", "PartiallyEdited", "Rejected"},
    "confirmed": {"0", "false"},
}
"""What says that nobody has translated a segment, though it may hold text: the standard, then Trados, memoQ and Phrase."""


def read_tmx(path: Path, direction: Direction, unreadable: Unreadable) -> Iterator[Pair]:
    """Yields the pairs of a translation memory (TMX 1.1 to 1.4b), as plain text.

    Raises:
        DataError: the file is damaged, or no unit has both languages.
    """
    seen, empty = dict[str, None](), True
    for _, unit in _elements(path, ends=["tu"]):
        variants = dict[str, Any]()
        for variant in unit.iterchildren("{*}tuv"):
            variants.setdefault(_language(variant), variant)
        seen |= dict.fromkeys(variants)
        tags = [best(name, variants) for name in direction.names]
        texts = [_plain(segment, path) for tag in tags if tag for segment in variants[tag].iterchildren("{*}seg")]
        if len(texts) == 2:
            empty = False
            yield texts[0], texts[1]
        else:
            unreadable.untranslated += 1
    if empty and seen:
        there = visible_line(", ".join(sorted(seen)))
        raise DataError(f"{path}: no unit has both {' and '.join(direction.names)}; there are {there}")


def read_xliff(path: Path, direction: Direction, unreadable: Unreadable) -> Iterator[Pair]:
    """Yields the pairs of an XLIFF file (1.2 or 2), segment by segment, as plain text.

    Raises:
        DataError: the file is damaged, or of other languages.
    """
    backwards: bool | None = None
    for event, element in _elements(path, ends=["trans-unit", "unit"], starts=["xliff", "file"]):
        if event == "start":
            given = [element.get(key) for key in _LANGUAGES[_name(element)]]
            if any(given):
                backwards = is_reversed(path, direction, given[0], given[1], ("source", "target"))
            continue
        if backwards is None:
            backwards = is_reversed(path, direction, None, None, ("source", "target"))
        for source, target in _segments(element):
            pair = _plain(source, path), "" if target is None else _plain(target, path)
            if not pair[1].strip():
                unreadable.untranslated += 1
            else:
                yield (pair[1], pair[0]) if backwards else pair


def languages_of(path: Path, units: int = 100) -> list[str]:
    """Returns the languages that a file names, in its order: those of the first units of a TMX, the two of an XLIFF.

    Raises:
        DataError: the file is damaged.
    """
    found = dict[str, None]()
    for event, element in islice(_elements(path, ends=["tu"], starts=["xliff", "file", "header"]), units):
        if event == "start":
            keys = _LANGUAGES.get(_name(element), ("srclang",))
            found |= dict.fromkeys(element.get(key) for key in keys if element.get(key))
        else:
            found |= dict.fromkeys(_language(variant) for variant in element.iterchildren("{*}tuv"))
    # A header names one of many by `*all*`, or by another variant than the units do.
    return [
        one for one in found if one != "*all*" and not any(two.lower().startswith(f"{one.lower()}-") for two in found)
    ]


_LANGUAGES = {"xliff": ("srcLang", "trgLang"), "file": ("source-language", "target-language")}


def _segments(unit: Any) -> Iterator[tuple[Any, Any | None]]:
    """Yields source and target of each segment; the target is None where it is missing, or nobody has translated it."""
    for place in unit.iterchildren("{*}segment") if _name(unit) == "unit" else [unit]:
        split, source, target = (_child(place, name) for name in ("seg-source", "source", "target"))
        if unit.get("translate") == "no" or (target is not None and (_is_draft(target) or _is_draft(place))):
            target = None
        drafts = {part.get("id") for part in unit.iterfind("{*}seg-defs/{*}seg") if _is_draft(part)}
        parts, translated = _marked(split), _marked(target)
        if parts and translated:  # the sentences of a paragraph
            yield from ((part, None if number in drafts else translated.get(number)) for number, part in parts.items())
        elif source is not None:
            yield source, target


def _marked(element: Any | None) -> dict[str, Any]:
    marks: Iterable[Any] = () if element is None else element.iter("{*}mrk")
    return {mark.get("mid", ""): mark for mark in marks if mark.get("mtype") == "seg"}


def _is_draft(element: Any) -> bool:
    """Whether an attribute says so, in whatever namespace."""
    told = ((key.rpartition("}")[2], value) for key, value in element.items())
    return any(value in _DRAFTS.get(key, ()) for key, value in told)


def _child(element: Any, name: str) -> Any | None:
    return next(element.iterchildren(f"{{*}}{name}"), None)


def _elements(path: Path, ends: list[str], starts: list[str] | None = None) -> Iterator[tuple[str, Any]]:
    """Yields elements of these names when they end, whole, and others when they start; what came before is forgotten."""
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]  # compiled, and without types

    names = [f"{{*}}{name}" for name in [*ends, *(starts or [])]]
    events = ("start", "end") if starts else ("end",)
    secure = {"resolve_entities": False, "no_network": True}
    with open_bytes(path) as opening, open_bytes(path) as stream, explained(path):
        try:
            # A document packed into its own translation is a text of any length; entities are held within bounds.
            _, root = next(iter(etree.iterparse(opening, events=("start",), **secure)))
            bounded = root.getroottree().docinfo.doctype != ""
            found = etree.iterparse(stream, events=events, tag=names, huge_tree=not bounded, **secure)
            for event, element in found:
                if (event == "end") == (_name(element) in ends):
                    yield event, element
                if event == "end":
                    element.clear()
                    while (parent := element.getparent()) is not None and element.getprevious() is not None:
                        del parent[0]
        except etree.XMLSyntaxError as error:
            reason = " ".join(str(error.msg).split())
            raise DataError(f"{path}: no sound XML ({reason})") from None


def _plain(element: Any, path: Path) -> str:
    """Returns the text of a segment without its inline codes.

    Raises:
        DataError: it has an entity that the file itself defines.
    """
    text = "".join(_texts(element, path))
    return _BETWEEN_WORDS.sub(" ", text).replace(_MARK, "") if _MARK in text else text


def _texts(element: Any, path: Path) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        name = _name(child)
        if name in _SINGLE:
            yield _MARK
        elif name and name not in _CODES and child.get("mtype") != "x-sdl-deleted":  # a change that Trados tracks
            yield from _texts(child, path)
        elif not name and str(child.text).startswith("&"):
            raise DataError(f"{path}: line {child.sourceline}: {child.text} is an entity of the file's own; replace it")
        yield child.tail or ""


def _name(element: Any) -> str:
    """Returns the name of an element without its namespace; none for comments and the like."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _language(variant: Any) -> str:
    return variant.get("{http://www.w3.org/XML/1998/namespace}lang") or variant.get("lang") or ""
