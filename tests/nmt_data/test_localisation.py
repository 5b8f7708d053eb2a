"""Localisation files: their pairs are plain text, in the wanted direction, and nothing in them can do harm."""

from __future__ import annotations

import gzip
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from corpora import pairs_of, po, tmx, xliff1, xliff2
from nmt.errors import DataError
from nmt_data.reading import Unreadable

PAIRS = [("Ja & nein", "Yes & no"), ("<b>", "<b>"), ('"so"', '"so"')]
MESSAGES = {"en": "msgid", "de": "msgstr"}
WRITERS = {"tmx": tmx, "xlf": xliff1, "xliff": xliff2}
ROOTS = {"tmx": "tmx version", "xlf": "xliff", "xliff": "xliff"}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_pairs_come_back_in_both_directions(tmp_path: Path, kind: str, encoding: str) -> None:
    """`de` is `de-DE`, whatever the encoding, packed or not."""
    text = WRITERS[kind](PAIRS)
    text = text.replace("UTF-8", "UTF-16") if encoding == "utf-16" else text
    (tmp_path / f"t.{kind}").write_bytes(text.encode(encoding))
    assert pairs_of(tmp_path, f"t.{kind}") == PAIRS
    assert pairs_of(tmp_path, f"t.{kind}", languages=("en", "de")) == [(two, one) for one, two in PAIRS]
    (tmp_path / f"p.{kind}.gz").write_bytes(gzip.compress(text.encode(encoding)))
    assert pairs_of(tmp_path, f"p.{kind}.gz") == PAIRS


@pytest.mark.parametrize("kind", WRITERS)
def test_other_languages_are_named(tmp_path: Path, kind: str) -> None:
    """In one line, with what settles it."""
    (tmp_path / f"t.{kind}").write_text(WRITERS[kind](PAIRS))
    with pytest.raises(
        DataError, match=r"there are de-DE, en-US$|is from de-DE to en-US, and fr and en are wanted; say"
    ):
        pairs_of(tmp_path, f"t.{kind}", languages=("fr", "en"))


def test_a_memory_of_many_languages(tmp_path: Path) -> None:
    """A unit without one of the two is counted; the same language goes before its variants; a column may name one."""
    text = tmx([("Ja", "Yes")]).replace(
        "</body>",
        '<tu><tuv lang="de"><seg>nur</seg></tuv></tu>'
        '<tu><tuv xml:lang="de-AT"><seg>Jänner</seg></tuv><tuv xml:lang="DE"><seg>Januar</seg></tuv>'
        '<tuv xml:lang="EN_gb"><seg>January</seg></tuv></tu>'
        '<tu><tuv xml:lang="de-DE"><seg>Fleischer</seg></tuv><tuv xml:lang="de-AT"><seg>Fleischhauer</seg></tuv>'
        '<tuv xml:lang="en"><seg>butcher</seg></tuv></tu></body>',
    )
    (tmp_path / "t.tmx").write_text(text)
    unreadable = Unreadable()
    butcher = ("Fleischer", "butcher")  # of two variants the first
    assert pairs_of(tmp_path, "t.tmx", unreadable=unreadable) == [("Ja", "Yes"), ("Januar", "January"), butcher]
    assert unreadable.counts() == {"not translated": 1}
    assert pairs_of(tmp_path, "t.tmx", '[columns]\nde = "de-AT"\n') == [
        ("Jänner", "January"),
        ("Fleischhauer", "butcher"),
    ]


def test_markup_becomes_plain_text(tmp_path: Path) -> None:
    """Codes of the original go, text in them stays, and a code between two words is a space."""
    marked = (
        '<seg>Ein <bpt i="1">&lt;b&gt;</bpt>gro<hi>ß</hi>er<ept i="1">&lt;/b&gt;</ept><ph>br</ph>'
        'Hund<!-- no --> <it pos="begin">x</it>!</seg>'
    )
    (tmp_path / "t.tmx").write_text(tmx([("HERE", "A dog")]).replace("<seg>HERE</seg>", marked))
    assert pairs_of(tmp_path, "t.tmx") == [("Ein großer Hund !", "A dog")]
    one = '<source>Ein <g id="1">großer</g><x id="2"/>Hund<bx id="3"/>!<ex id="3"/></source>'
    (tmp_path / "t.xlf").write_text(xliff1([("HERE", "A dog")]).replace("<source>HERE</source>", one))
    assert pairs_of(tmp_path, "t.xlf") == [("Ein großer Hund!", "A dog")]
    two = '<source>Ein <pc id="1">großer</pc> <mrk id="m" type="term">Hund</mrk><ph id="2"/><cp hex="001F"/>!</source>'
    (tmp_path / "t.xliff").write_text(xliff2([("HERE", "A dog")]).replace("<source>HERE</source>", two))
    assert pairs_of(tmp_path, "t.xliff") == [("Ein großer Hund!", "A dog")]


@pytest.mark.parametrize("kind", WRITERS)
def test_what_surrounds_the_root_is_no_text(tmp_path: Path, kind: str) -> None:
    """Comments and processing instructions before the root and after it change nothing."""
    text = WRITERS[kind](PAIRS)
    head, root = text[: text.index(f"<{ROOTS[kind]}")], text[text.index(f"<{ROOTS[kind]}") :]
    (tmp_path / f"t.{kind}").write_text(f"{head}<!-- one --><?go on?>{root}<!-- two --><?go off?>")
    assert pairs_of(tmp_path, f"t.{kind}") == PAIRS


def test_segments_of_a_paragraph_are_pairs(tmp_path: Path) -> None:
    """As Trados marks them; what is missing on the other side or only a draft is counted, and suggestions are no text."""
    source = "".join(f'<mrk mtype="seg" mid="{n}">{text}</mrk> ' for n, text in enumerate(("Eins.", "Zwei.", "Drei.")))
    target = '<mrk mtype="seg" mid="1">Two.</mrk> <mrk mtype="seg" mid="0">One.</mrk><mrk mtype="seg" mid="2"/>'
    whole = f"<source>Eins. Zwei.</source><seg-source>{source}</seg-source><target>{target}</target>"
    draft = "<source>Vier</source><target state='new'>Vier</target><alt-trans><target>4</target></alt-trans>"
    units = f"<trans-unit id='1'>{whole}</trans-unit><trans-unit id='2'>{draft}</trans-unit>"
    (tmp_path / "t.sdlxliff").write_text(xliff1([("Ja", "Yes")]).replace("</body>", f"{units}</body>"))
    unreadable = Unreadable()
    assert pairs_of(tmp_path, "t.sdlxliff", unreadable=unreadable) == [
        ("Ja", "Yes"),
        ("Eins.", "One."),
        ("Zwei.", "Two."),
    ]
    assert unreadable.counts() == {"not translated": 2}


@pytest.mark.parametrize(
    "draft",
    [
        "<trans-unit translate='no'><source>A</source><target>A</target></trans-unit>",
        "<trans-unit mq:status='Pretranslated'><source>A</source><target>B</target></trans-unit>",
        "<trans-unit m:confirmed='0'><source>A</source><target>B</target></trans-unit>",
        "<trans-unit><source>A</source><seg-source><mrk mtype='seg' mid='1'>A</mrk></seg-source>"
        "<target><mrk mtype='seg' mid='1'>B</mrk></target>"
        "<sdl:seg-defs><sdl:seg id='1' conf='Draft'/></sdl:seg-defs></trans-unit>",
    ],
)
def test_drafts_of_tools_are_no_translations(tmp_path: Path, draft: str) -> None:
    """Trados, memoQ and Phrase say so by attributes of their own; what one of them confirms is a pair."""
    spaces = "xmlns:sdl='urn:sdl' xmlns:mq='urn:mq' xmlns:m='urn:m'"
    confirmed = draft.replace("Draft", "Translated").replace("Pretranslated", "ManuallyConfirmed")
    confirmed = confirmed.replace("'0'", "'1'").replace("'no'", "'yes'")
    for unit, counts, pairs in ((draft, {"not translated": 1}, 1), (confirmed, {}, 2)):
        text = xliff1([("Ja", "Yes")]).replace("<xliff ", f"<xliff {spaces} ").replace("</body>", f"{unit}</body>")
        (tmp_path / "t.xlf").write_text(text)
        unreadable = Unreadable()
        assert len(pairs_of(tmp_path, "t.xlf", unreadable=unreadable)) == pairs
        assert unreadable.counts() == counts


def test_what_a_tracked_change_deletes_is_no_text(tmp_path: Path) -> None:
    """As Trados writes it; what the change adds stays."""
    change = '<mrk mtype="x-sdl-deleted">cat</mrk><mrk mtype="x-sdl-added">dog</mrk>'
    (tmp_path / "t.sdlxliff").write_text(xliff1([("Ein Hund", "A HERE")]).replace("HERE", change))
    assert pairs_of(tmp_path, "t.sdlxliff") == [("Ein Hund", "A dog")]


def test_a_document_packed_into_its_translation_may_be_long(tmp_path: Path) -> None:
    """A text of more than the 10 MB that the library allows by itself."""
    header = f"<header><reference><internal-file form='base64'>{'A' * 11_000_000}</internal-file></reference></header>"
    (tmp_path / "t.sdlxliff").write_text(xliff1(PAIRS).replace("<body>", f"{header}<body>"))
    assert pairs_of(tmp_path, "t.sdlxliff") == PAIRS


@pytest.mark.parametrize("kind", ["po", "xlf"])
def test_columns_do_not_mix_languages(tmp_path: Path, kind: str) -> None:
    """A file of a third language is named, one that names none or the same is read; so is one with a word of its own."""
    write = {"po": lambda language: po(PAIRS, language), "xlf": lambda language: xliff1(PAIRS, ("de", language))}[kind]
    columns = (
        '[columns]\nde = "msgid"\nen = "msgstr"\n' if kind == "po" else '[columns]\nde = "source"\nen = "target"\n'
    )
    for language in ("", "en", "en_GB", "eng", "English", "und"):
        (tmp_path / f"a.{kind}").write_text(write(language))
        assert pairs_of(tmp_path, f"a.{kind}", columns) == PAIRS
    (tmp_path / f"b.{kind}").write_text(write("fr"))
    with pytest.raises(DataError, match=r"names fr as the language of its (msgstr|target), and \[columns\]"):
        pairs_of(tmp_path, f"*.{kind}", columns)


def test_columns_heed_the_names_of_messages(tmp_path: Path) -> None:
    """A folder of many languages whose files have no header."""
    for name in ("en", "fr"):
        (tmp_path / name / "LC_MESSAGES").mkdir(parents=True)
        (tmp_path / name / "LC_MESSAGES" / "app.po").write_text(po(PAIRS, ""))
    with pytest.raises(DataError, match=r"names fr as the language"):
        pairs_of(tmp_path, "*/LC_MESSAGES/app.po", '[columns]\nde = "msgid"\nen = "msgstr"\n')


def test_an_xliff_need_not_name_its_target(tmp_path: Path) -> None:
    """What the file leaves open, the card has; where it names nothing, columns say which side is which."""
    text = xliff1(PAIRS).replace('target-language="en-US" ', "")
    (tmp_path / "t.xlf").write_text(text)
    assert pairs_of(tmp_path, "t.xlf") == PAIRS
    (tmp_path / "t.xlf").write_text(text.replace('source-language="de-DE" ', ""))
    with pytest.raises(DataError, match=r'names no languages, .* \[columns\] de = "source", en = "target"$'):
        pairs_of(tmp_path, "t.xlf")
    columns = '[columns]\nde = "target"\nen = "source"\n'
    assert pairs_of(tmp_path, "t.xlf", columns) == [(two, one) for one, two in PAIRS]


@pytest.mark.parametrize("name", ["t.po", "de.po", "app.de_AT.po", "de/LC_MESSAGES/app.po"])
def test_messages_of_a_program(tmp_path: Path, name: str) -> None:
    """The language is in the header or in the name; drafts and gaps are counted, plurals are two pairs."""
    text = po(PAIRS, "de" if name == "t.po" else "")
    text += '\n#, fuzzy\nmsgid "a"\nmsgstr "b"\n\nmsgid "c"\nmsgstr ""\n\n#~ msgid "old"\n#~ msgstr "alt"\n'
    text += '\nmsgctxt "x"\nmsgid "%d file"\nmsgid_plural "%d files"\nmsgstr[0] "%d Datei"\nmsgstr[1] "%d Dateien"\n'
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(text)
    unreadable, expected = Unreadable(), [*PAIRS, ("%d file", "%d Datei"), ("%d files", "%d Dateien")]
    assert pairs_of(tmp_path, name, unreadable=unreadable, languages=("en", "de")) == expected
    assert unreadable.counts() == {"not translated": 2}
    assert pairs_of(tmp_path, name) == [(two, one) for one, two in expected]


@pytest.mark.parametrize(
    ("formula", "forms", "chosen"),
    [
        ("nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n != 0 ? 1 : 2);", "one many zero", "one many"),  # Latvian
        (
            "nplurals=6; plural=n==0 ? 0 : n==1 ? 1 : n==2 ? 2 : n%100>=3 && n%100<=10 ? 3 : n%100>=11 ? 4 : 5;",
            "zero one two few many other",
            "one many",
        ),  # Arabic
        ("nplurals=1; plural=0;", "all", "all"),
        ("nplurals=2; plural=open('x');", "one many", "one many"),
        ("nplurals=2; plural=n+7;", "one many", ""),
    ],
)
def test_plural_forms_are_those_of_the_header(tmp_path: Path, formula: str, forms: str, chosen: str) -> None:
    """The singular is the form of 1, and the plural that of most other numbers; a formula is never run as a program."""
    header = po([], "de").rstrip() + f'\n"Plural-Forms: {formula}\\n"\n'
    numbered = "".join(f'msgstr[{number}] "{form}"\n' for number, form in enumerate(forms.split()))
    (tmp_path / "t.po").write_text(f'{header}\nmsgid "1"\nmsgid_plural "n"\n{numbered}')
    pairs = pairs_of(tmp_path, "t.po", languages=("en", "de"))
    assert [translation for _, translation in pairs] == chosen.split()


def test_messages_may_contain_other_ends_of_lines(tmp_path: Path) -> None:
    """Python takes them for ends of lines, gettext does not; files of Windows are read too."""
    pairs = [("a\u2028b\x85c\x0cd", "e\u2029f")]
    for text in (po(pairs), po(pairs).replace("\n", "\r\n")):
        (tmp_path / "t.po").write_bytes(text.encode())
        assert pairs_of(tmp_path, "t.po", languages=("en", "de")) == pairs


def test_messages_in_an_old_encoding(tmp_path: Path) -> None:
    """The header names it; a language that nothing tells is one line."""
    (tmp_path / "t.po").write_bytes(po([("Yes", "Jä")]).replace("UTF-8", "ISO-8859-1").encode("latin-1"))
    assert pairs_of(tmp_path, "t.po") == [("Jä", "Yes")]
    (tmp_path / "t.po").write_text(po(PAIRS, ""))
    with pytest.raises(DataError, match=r'names no languages, .* \[columns\] de = "msgid", en = "msgstr"$'):
        pairs_of(tmp_path, "t.po")
    (tmp_path / "t.po").write_text(po(PAIRS) + 'msgid "a"b"\n')
    with pytest.raises(DataError, match=r"t\.po, line 17: is no PO file, or a damaged one$"):
        pairs_of(tmp_path, "t.po")


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
ATTACKS: dict[str, Callable[[Path], str]] = {
    "laughs": lambda _: f'<!DOCTYPE tmx [<!ENTITY l0 "ha">{LAUGHS}]>',
    "external": lambda secret: f'<!DOCTYPE tmx [<!ENTITY l11 SYSTEM "file://{secret}">]>',
    "parameter": lambda secret: f'<!DOCTYPE tmx [<!ENTITY % p SYSTEM "file://{secret}"> %p; <!ENTITY l11 "ha">]>',
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("where", ["text", "attribute"])
def test_entities_load_nothing_and_do_not_expand(tmp_path: Path, attack: str, where: str) -> None:
    """A file that defines some is refused where they would be text, before memory is used up."""
    (tmp_path / "secret").write_text("SECRET")
    text = tmx([("Ja", "HERE")]).replace('<!DOCTYPE tmx SYSTEM "tmx14.dtd">', ATTACKS[attack](tmp_path / "secret"))
    text = text.replace("HERE", "&l11;") if where == "text" else text.replace("en-US", "en-&l11;")
    (tmp_path / "t.tmx").write_text(text)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = _outcome(tmp_path, "t.tmx")
    assert "SECRET" not in found
    if where == "text":
        assert re.search(r"is an entity of the file's own; replace it$|no sound XML \(", found)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB


def _outcome(folder: Path, name: str) -> str:
    try:
        return str(pairs_of(folder, name))
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_broken_file_is_one_line(tmp_path: Path, kind: str) -> None:
    """Cut off, mixed up, or something else."""
    text = WRITERS[kind](PAIRS)
    for content in (text[: len(text) // 2], text.replace("</", "<", 1), "Guten Tag", ""):
        (tmp_path / f"t.{kind}").write_text(content)
        with pytest.raises(DataError, match=rf"t\.{kind}: no sound XML \(") as caught:
            pairs_of(tmp_path, f"t.{kind}")
        assert "\n" not in str(caught.value)


BIG = """
import re, sys
from pathlib import Path
from nmt_data.reading.localisation import read_tmx, read_xliff
from nmt_data.reading.pairs import Direction, Unreadable
path, direction = Path(sys.argv[1]), Direction("de", "en")
read = read_tmx if path.suffix == ".tmx" else read_xliff
print(sum(1 for _ in read(path, direction, Unreadable())))
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of this process alone")
@pytest.mark.parametrize(
    "kind", ["tmx", *(pytest.param(kind, marks=pytest.mark.thorough) for kind in WRITERS if kind != "tmx")]
)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, kind: str) -> None:
    """A file of 100,000 units takes what one of 400 takes."""
    used = list[int]()
    for count in (400, 100_000):
        path = tmp_path / f"{count}.{kind}"
        path.write_text(WRITERS[kind]([("Der Hund läuft über die Wiese.", "The dog runs across the meadow.")] * count))
        paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        found = subprocess.run([sys.executable, "-c", BIG, path], capture_output=True, text=True, check=True, env=paths)
        number, memory = found.stdout.split()
        assert int(number) == count
        used.append(int(memory))
    assert used[1] - used[0] < 10_000  # KiB
