"""Tables as spreadsheets, data frames and people write them: quotes, blank lines, suffixes, halves of characters."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nmt.corpus.lines import clean_line, has_control
from nmt.errors import DataError
from nmt_data.cards import load_card
from nmt_data.reading import Split, Unreadable

Pair = tuple[str, str]
NUMBERS = '[columns]\nde = "1"\nen = "2"\n'


def _pairs(folder: Path, name: str, columns: str = "", unreadable: Unreadable | None = None) -> list[Pair]:
    path = folder / "card.toml"
    head = 'name = "mine"\ntitle = "t"\nlicence = "mine"\nlanguages = ["de", "en"]\n'
    path.write_text(f'{head}{columns}[splits]\ntrain = "{name}"\n')
    return list(Split(load_card(str(path), ("de", "en")), "train", "de", "en").read(unreadable or Unreadable()))


def _spreadsheet(path: Path, rows: Sequence[Pair], names: bool, everywhere: bool) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        quoting = csv.QUOTE_ALL if everywhere else csv.QUOTE_MINIMAL
        csv.writer(stream, "excel-tab", quoting=quoting).writerows([("de", "en")] * names + list(rows))


CSV_CELLS = st.text(alphabet='ab", ;\t\n!ä', max_size=8)
CELLS = st.text(alphabet='ab", \t\n!ä', min_size=1, max_size=8).filter(lambda text: bool(text.strip()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), st.booleans(), st.booleans())
def test_what_a_spreadsheet_has_written_comes_back(
    tmp_path: Path, rows: list[Pair], everywhere: bool, names: bool
) -> None:
    """Quotes, tabs and line breaks within cells too, with names of columns and without."""
    assume(any(set('"\t\n') & set(cell) for row in rows for cell in row) or everywhere)
    _spreadsheet(tmp_path / "t.tsv", rows, names, everywhere)
    assert _pairs(tmp_path, "t.tsv", "" if names else NUMBERS) == rows


@pytest.mark.parametrize(
    "line",
    ['"Hallo", sagte er.\tHe said "hello".', '5" Rohr\t5" pipe', '"Hallo!\t"Hello!"', 'a "b" c\t"a" b', '""a""\tb'],
)
def test_quotes_of_the_text_stay(tmp_path: Path, line: str) -> None:
    """One that no spreadsheet would write leaves all quotes of the file as they are."""
    rows = [tuple(text.split("\t")) for text in (line, '"Ja!"\t"Yes!"', "nein\tno")]
    (tmp_path / "t.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    assert _pairs(tmp_path, "t.tsv", NUMBERS) == rows


def test_cells_with_commas_in_quotes_are_a_spreadsheets(tmp_path: Path) -> None:
    """Quotes around TSV cells are removed, and commas inside them do not separate."""
    (tmp_path / "t.tsv").write_text('"ja, gern"\tyes please\nnein\t"no, thanks"\n')
    assert _pairs(tmp_path, "t.tsv", NUMBERS) == [("ja, gern", "yes please"), ("nein", "no, thanks")]


@pytest.mark.parametrize("name", ["T.TSV", "T.Jsonl", "T.TSV.GZ", "t.parquet.PARQUET"])
def test_suffixes_may_be_upper_case(tmp_path: Path, name: str) -> None:
    """TSV, JSONL, gzip and Parquet files are recognised regardless of the case of their suffixes."""
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    text = b'{"de": "ja", "en": "yes"}\n' if name == "T.Jsonl" else b"de\ten\nja\tyes\n"
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("GZ") else text)
    if name.endswith("PARQUET"):
        pq.write_table(pa.table({"de": ["ja"], "en": ["yes"]}), tmp_path / name)
    assert _pairs(tmp_path, name) == [("ja", "yes")]


def test_blank_lines_of_a_table_are_no_rows(tmp_path: Path) -> None:
    """They are counted, and rows with empty cells are rows."""
    (tmp_path / "t.tsv").write_text("ja\tyes\n\n\t\nnein\tno\n  \r\n")
    (tmp_path / "t.jsonl").write_text(
        '{"de": "ja", "en": "yes"}\n\n{"de": "", "en": ""}\n{"de": "nein", "en": "no"}\n\n'
    )
    for name, columns in (("t.tsv", NUMBERS), ("t.jsonl", "")):
        unreadable = Unreadable()
        assert _pairs(tmp_path, name, columns, unreadable) == [("ja", "yes"), ("", ""), ("nein", "no")]
        assert unreadable.counts() == {"blank line of a table": 2}


@given(st.sampled_from(["\\ud83d", "\\ude00", "\\ude00\\ud83d", "a\\udfff b"]), st.sampled_from(["de", "en"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_half_a_character_is_no_text(tmp_path: Path, half: str, side: str) -> None:
    """In JSON it is named with its line, or skipped and counted; a whole emoji is text."""
    row = json.dumps({"de": "ja", "en": "yes"}).replace(f'"{side}": "', f'"{side}": "{half}')
    (tmp_path / "t.jsonl").write_text('{"de": "\\ud83d\\ude00", "en": "yes"}\n' + row + "\n")
    with pytest.raises(
        DataError, match=f"line 2: column {side} holds half of a surrogate pair, which is no text; mend it$"
    ):
        _pairs(tmp_path, "t.jsonl")
    unreadable = Unreadable(skip=True)
    assert _pairs(tmp_path, "t.jsonl", "", unreadable) == [("😀", "yes")]
    assert unreadable.counts() == {"not UTF-8": 1}


def test_json_that_is_nested_too_deep_is_one_line(tmp_path: Path) -> None:
    """Excessively nested JSON in a table is a data error with its line number."""
    (tmp_path / "t.jsonl").write_text("[" * 200_000 + "\n")
    with pytest.raises(DataError, match="line 1: not JSON"):
        _pairs(tmp_path, "t.jsonl")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(CSV_CELLS, CSV_CELLS), min_size=1, max_size=6),
    st.sampled_from(",;\t"),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_csv_comes_back(
    tmp_path: Path, rows: list[Pair], separator: str, everywhere: bool, names: bool, encoding: str
) -> None:
    """Separators, quotes and line breaks within cells too, whatever separates the cells."""
    others = [] if names else [("ja", "yes")] * 9  # which say what separates them
    stream = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if everywhere else csv.QUOTE_MINIMAL
    csv.writer(stream, delimiter=separator, quoting=quoting).writerows([("de", "en")] * names + rows + others)
    (tmp_path / "t.csv").write_bytes(stream.getvalue().encode(encoding))
    assert _pairs(tmp_path, "t.csv", "" if names else NUMBERS) == rows + others


def test_a_csv_with_other_columns_is_read_by_name(tmp_path: Path) -> None:
    """The header says what separates, whatever stands in the cells; a spreadsheet may name it in a line of its own."""
    names = '[columns]\nde = "Deutsch"\nen = "English"\n'
    table = "Nr;Deutsch;English\n1;ja, gern, ja;yes, please\n\n2;nein;no\n"
    for text in (table, "sep=;\n" + table.replace("\n", "\r\n"), table.replace(";", "\t")):
        (tmp_path / "t.csv").write_text(text, newline="")
        unreadable = Unreadable()
        assert _pairs(tmp_path, "t.csv", names, unreadable) == [("ja, gern, ja", "yes, please"), ("nein", "no")]
        assert unreadable.counts() == {"blank line of a table": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'de,en\n"ja,yes\nnein,no\n',
            r"line 2: no row of a \.csv \(unexpected end of data\); quotes have to be closed",
        ),
        (b'de,en\nja,yes\n"nein" nein,no\n', r"line 3: no row of a \.csv "),
        (b'de,en\n"' + b"x" * 2**24 + b'y",no\n', r"line 2: no row of a \.csv \(field larger"),
        (b"de,en\nja,yes\nnein\n", "line 3: 1 columns, column 2 is missing"),
        (b"de,en\nja,yes,,\nja, aber doch,no\n", "line 3: 3 cells, and the header has 2; put quotes around text with"),
        (b'de,en\n"ja\n\xff",yes\n', r"line 2: byte 4 \(0xff\) is not valid UTF-8"),
        (b"fr,en\nja,yes\n", "no column de; there are fr, en"),
        (b"", "no column de; there are "),
    ],
)
def test_a_csv_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    """It names the line where the row begins."""
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        _pairs(tmp_path, "t.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "separator", "remedy"),
    [("t.csv", ",", "put quotes around text with separators"), ("t.tsv", "\t", "replace tabs within text")],
)
@pytest.mark.parametrize("names", [False, True])
def test_a_row_of_too_many_cells_is_one_line(
    tmp_path: Path, name: str, separator: str, remedy: str, names: bool
) -> None:
    """Without a header the first row of a CSV says how many there are, and a TSV may end in notes; blank cells do not count."""
    head = ["de,en"] * names
    columns = "" if names else NUMBERS
    path = tmp_path / name
    path.write_text("\n".join([*head, "ja,yes", "nein,no, ,", "doch,yes"]).replace(",", separator))
    assert _pairs(tmp_path, name, columns) == [("ja", "yes"), ("nein", "no"), ("doch", "yes")]
    path.write_text("\n".join([*head, "ja,yes", "", "ja, aber,no", "doch,yes"]).replace(",", separator))
    if separator == "\t" and not names:
        assert _pairs(tmp_path, name, columns)[1] == ("ja", " aber")
        return
    first = "header" if names else "first row"
    with pytest.raises(DataError) as caught:
        _pairs(tmp_path, name, columns)
    assert str(caught.value) == f"{path}, line {3 + names}: 3 cells, and the {first} has 2; {remedy}"


@pytest.mark.parametrize(("name", "separator"), [("t.csv", ","), ("t.tsv", "\t")])
def test_a_row_may_lack_cells_that_are_not_read(tmp_path: Path, name: str, separator: str) -> None:
    """With a header and without; where a cell is missing that is read, the line is named."""
    rows = ["de,en,note", "ja,yes,1", "nein,no", "doch"]
    for names in (True, False):
        lines = rows if names else rows[1:]
        columns = "" if names else NUMBERS
        (tmp_path / name).write_text("\n".join(lines[:-1]).replace(",", separator))
        assert _pairs(tmp_path, name, columns) == [("ja", "yes"), ("nein", "no")]
        (tmp_path / name).write_text("\n".join(lines).replace(",", separator))
        with pytest.raises(DataError, match=rf"{name}, line {len(lines)}: 1 columns, column 2 is missing$"):
            _pairs(tmp_path, name, columns)


@pytest.mark.parametrize("quote", ["", '"'])
def test_an_odd_cell_leaves_a_csv_readable(tmp_path: Path, quote: str) -> None:
    """One that is far too long, or holds a carriage return, is read and cleaned as in plain text."""
    rows = [("ja\rgern", "yes\r,\rplease"), ("x" * 200_000, "no"), ("nein", "no")]
    quoted = [[f'"{cell}"' if quote or "," in cell else cell for cell in row] for row in rows]
    (tmp_path / "t.csv").write_bytes("".join(f"{','.join(row)}\r\n" for row in [["de", "en"], *quoted]).encode())
    found = _pairs(tmp_path, "t.csv")
    assert [tuple(map(clean_line, pair)) for pair in found] == [tuple(map(clean_line, pair)) for pair in rows]
    assert [any(map(has_control, pair)) for pair in found] == [any(map(has_control, pair)) for pair in rows]


def test_bad_text_in_a_csv_is_skipped_and_counted(tmp_path: Path) -> None:
    """The row goes, the others stay."""
    (tmp_path / "t.csv").write_bytes(b'de,en\n"ja\n\xff",yes\nnein,no\n')
    unreadable = Unreadable(skip=True)
    assert _pairs(tmp_path, "t.csv", "", unreadable) == [("nein", "no")]
    assert unreadable.counts() == {"not UTF-8": 1}


def test_many_files_are_one_split(tmp_path: Path) -> None:
    """A pattern with `*` reads all that match, in the order of their names; a zip of one table is that table."""
    (tmp_path / "b.csv").write_text("de,en\nzwei,two\n")
    (tmp_path / "a.csv").write_text("de,en\neins,one\n")
    assert _pairs(tmp_path, "*.csv") == [("eins", "one"), ("zwei", "two")]
    assert _pairs(tmp_path, str(tmp_path / "*.csv")) == [("eins", "one"), ("zwei", "two")]
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.write(tmp_path / "a.csv", "sheet/a.csv")
    assert (
        _pairs(tmp_path, "t.zip") == _pairs(tmp_path, "t") == _pairs(tmp_path, "t.zip/sheet/a.csv") == [("eins", "one")]
    )


def test_two_languages_in_a_zip(tmp_path: Path) -> None:
    """As OPUS packs them: the archive counts as a folder."""
    with zipfile.ZipFile(tmp_path / "de-en.txt.zip", "w") as archive:
        for name, text in (("README", "?"), ("Corpus.de-en.de", "ja\nnein\n"), ("Corpus.de-en.en", "yes\nno\n")):
            archive.writestr(name, text)
    assert _pairs(tmp_path, "de-en.txt.zip/Corpus.de-en.{language}") == [("ja", "yes"), ("nein", "no")]
    with pytest.raises(DataError, match=r"no files found; put de-en\.txt\.zip/Other\.LANGUAGE under"):
        _pairs(tmp_path, "de-en.txt.zip/Other.{language}")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_dot_may_belong_to_the_name_of_a_column(tmp_path: Path, kind: str) -> None:
    """A column that is there goes before a nested field; both can be in one table."""
    row = {"text.de": "Ja", "text": {"de": "Nein", "en": "Yes"}}
    if kind == "jsonl":
        (tmp_path / "t.jsonl").write_text(json.dumps(row))
    else:
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.Table.from_pylist([row]), tmp_path / "t.parquet")
    columns = '[columns]\nde = "text.de"\nen = "text.en"\n'
    assert _pairs(tmp_path, f"t.{kind}", columns) == [("Ja", "Yes")]


def test_what_cannot_be_read_names_what_can(tmp_path: Path) -> None:
    """In one line."""
    (tmp_path / "t.xlsx").write_bytes(b"PK")
    with pytest.raises(
        DataError, match=r"unknown kind of file '\.xlsx'; what can be read: \{language\} files, \.tsv .* \.zst"
    ):
        _pairs(tmp_path, "t.xlsx")
