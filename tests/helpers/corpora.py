"""Corpora in the formats that people have: the text of files, and the pairs that a card reads from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from nmt_data.cards import load_card
from nmt_data.reading import Pair, Split, Unreadable


def pairs_of(
    folder: Path,
    name: str,
    columns: str = "",
    unreadable: Unreadable | None = None,
    languages: tuple[str, str] = ("de", "en"),
) -> list[Pair]:
    """Returns the pairs that a card reads from a file; `columns` is a table of the card."""
    path = folder / "card.toml"
    head = f'name = "mine"\ntitle = "t"\nlicence = "mine"\nlanguages = ["{languages[0]}", "{languages[1]}"]\n'
    path.write_text(f'{head}{columns}[splits]\ntrain = "{name}"\n')
    return list(Split(load_card(str(path), languages), "train", *languages).read(unreadable or Unreadable()))


def tmx(pairs: Sequence[Pair], languages: tuple[str, str] = ("de-DE", "en-US")) -> str:
    """Returns a translation memory as tools for translators export it."""
    units = "\n".join(
        "<tu>"
        + "".join(f'<tuv xml:lang="{tag}"><seg>{text}</seg></tuv>' for tag, text in zip(languages, pair, strict=True))
        + "</tu>"
        for pair in ((escape(one), escape(other)) for one, other in pairs)
    )
    header = '<header srclang="de-DE" segtype="sentence" datatype="xml" adminlang="en" o-tmf="x" creationtool="x"/>'
    doctype = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">'
    return f'{doctype}\n<tmx version="1.4">{header}<body>\n{units}\n</body></tmx>\n'


def xliff1(pairs: Sequence[Pair], languages: tuple[str, str] = ("de-DE", "en-US")) -> str:
    """Returns an XLIFF 1.2 file."""
    units = "".join(
        f'<trans-unit id="{number}"><source>{escape(one)}</source><target>{escape(other)}</target></trans-unit>\n'
        for number, (one, other) in enumerate(pairs)
    )
    file = f'<file original="a.docx" source-language="{languages[0]}" target-language="{languages[1]}" datatype="x">'
    return (
        f'<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">{file}<body>{units}</body></file></xliff>'
    )


def xliff2(pairs: Sequence[Pair], languages: tuple[str, str] = ("de-DE", "en-US")) -> str:
    """Returns an XLIFF 2.0 file."""
    units = "".join(
        f'<unit id="u{number}"><segment><source>{escape(one)}</source><target>{escape(other)}</target></segment></unit>\n'
        for number, (one, other) in enumerate(pairs)
    )
    both = f'srcLang="{languages[0]}" trgLang="{languages[1]}"'
    head = f'<xliff version="2.0" xmlns="urn:oasis:names:tc:xliff:document:2.0" {both}>'
    return f'{head}<file id="f">{units}</file></xliff>'


def po(pairs: Sequence[Pair], language: str = "de") -> str:
    """Returns a PO file; the messages are the first of each pair."""
    head = f'msgid ""\nmsgstr ""\n"Language: {language}\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n'
    quoted = (
        (one.replace("\\", "\\\\").replace('"', '\\"'), other.replace("\\", "\\\\").replace('"', '\\"'))
        for one, other in pairs
    )
    return head + "".join(f'\n#: a.c:{n}\nmsgid "{one}"\nmsgstr "{other}"\n' for n, (one, other) in enumerate(quoted))
