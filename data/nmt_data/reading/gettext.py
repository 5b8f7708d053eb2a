"""Reads the messages of programs: PO files of GNU gettext."""

from __future__ import annotations

import gettext
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nmt.corpus.languages import is_code
from nmt.corpus.lines import decode_strict
from nmt.corpus.opening import explained, open_text
from nmt.errors import DataError
from nmt_data.reading.languages import is_reversed, is_same
from nmt_data.reading.pairs import Direction, Pair, Unreadable

_CHARSET = re.compile(rb"charset=([\w.-]+)")
_PLURAL = re.compile(r"plural\s*=\s*([^;]+)")
_LINE = re.compile(r"\(line (\d+)\)")
_HEADER = 4096  # bytes in which the character set is looked for


def read_po(path: Path, direction: Direction, unreadable: Unreadable) -> Iterator[Pair]:
    """Yields message and translation of each entry of a PO file; its plural forms too. Obsolete entries are no part of it.

    The language is that of the file's header, or of its name: `de.po`, `app.de.po`, `de/LC_MESSAGES/app.po`.

    Raises:
        DataError: the file is damaged, or of other languages.
    """
    entries = _parsed(path)
    language = _header(entries) or language_by_name(path, direction)
    backwards = is_reversed(path, direction, None, language, ("msgid", "msgstr"))
    form_of = _plural_forms(entries)
    for entry in entries:
        if entry.obsolete:
            continue
        for message, translation in _forms(entry, form_of):
            if "fuzzy" in entry.flags or not translation:
                unreadable.untranslated += 1
            else:
                yield (translation, message) if backwards else (message, translation)


def header_language(path: Path) -> str | None:
    """Returns the language that the header of a file names, if it names one.

    Raises:
        DataError: the file is damaged.
    """
    return _header(_parsed(path))


def _header(entries: Any) -> str | None:
    return entries.metadata.get("Language", "").strip() or None


def _parsed(path: Path) -> Any:
    """Parses a file; the library takes text, or the name of a file, which no text that begins with a line break is."""
    try:
        import polib
    except ImportError:
        raise DataError(f"{path}: PO files need polib: pip install 'nmt[localisation]'") from None
    text = _decoded(path)
    try:
        return polib.pofile(_Text("\n" + text))
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        line = _LINE.search(str(error))
        where = f", line {int(line[1]) - 1}" if line else ""
        raise DataError(f"{path}{where}: is no PO file, or a damaged one") from None


class _Text(str):
    """A text whose lines end at line breaks alone: a message may contain what Python takes for one, such as U+2028."""

    __slots__ = ()

    def splitlines(self, keepends: bool = False) -> list[str]:  # noqa: ARG002  # as the library calls it
        """Returns the lines, of files of Windows too."""
        return self.replace("\r\n", "\n").split("\n")


def _decoded(path: Path) -> str:
    with open_text(path) as stream, explained(path):
        content = stream.read()
    charset = _CHARSET.search(content[:_HEADER])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            return content.decode(charset[1].decode() if charset else "utf-8")
        except (UnicodeDecodeError, LookupError):
            return decode_strict(content, str(path))


def _plural_forms(entries: Any) -> Callable[[int], int] | None:
    """Returns the number of the form that a count takes, as the header says; None: it does not."""
    formula = _PLURAL.search(entries.metadata.get("Plural-Forms", ""))
    try:
        return gettext.c2py(formula[1]) if formula else None
    except (ValueError, RecursionError):
        return None


def _forms(entry: Any, form_of: Callable[[int], int] | None) -> list[Pair]:
    """Returns the message and its translation; of a message with plurals, the form of 1 and that of most other numbers."""
    if not entry.msgid_plural:
        return [(entry.msgid, entry.msgstr)]
    forms = {number: entry.msgstr_plural[number] for number in sorted(entry.msgstr_plural)}
    one, many = min(forms, default=0), max(forms, default=0)
    if form_of and len(forms) > 1:
        one, many = form_of(1), Counter(map(form_of, range(2, 101))).most_common(1)[0][0]
    singular = [(entry.msgid, forms.get(one, ""))] if one != many else []
    return [*singular, (entry.msgid_plural, forms.get(many, ""))]


def telling_names(path: Path) -> list[str]:
    """Returns what may tell the language of a file without a header: its name, the ends of that, and two folders."""
    stem, folders = path.name.split(".po")[0], [folder.name for folder in path.parents][:2]
    return [stem, stem.rpartition(".")[2], stem.rpartition("-")[2], *folders]


def language_by_name(path: Path, direction: Direction) -> str | None:
    """Returns which of two languages the name of a file or of its folder tells; else any that it tells without doubt."""
    languages, names = (direction.source, direction.target), telling_names(path)
    if told := next((name for name in names if any(is_same(language, name) for language in languages)), None):
        return told
    sure = [names[0], path.parents[1].name] if path.parent.name == "LC_MESSAGES" else [names[0]]
    return next((name for name in sure if is_code(name)), None)
