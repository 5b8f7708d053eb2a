"""What is shown is data: never obeyed by a terminal, never read as markup, never cut."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.cells import cell_len

from command import run
from nmt.corpus.lines import visible, visible_line, write_lines
from nmt.errors import ConfigError
from nmt.report.length_plot import plot_by_length
from nmt.report.pictures import picture_format, save_picture
from nmt.scoring.metrics import Bucket, Score
from nmt_cli import pulse
from nmt_cli.console import print_table

OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
TITLE = "\x1b]0;owned\x07"
NAMES = st.text(st.sampled_from("ab-_ .:/|[]\\$\x1b\x07\x9b\u202e\udc80\n\t字犬"), min_size=1, max_size=30)
FIGURES = st.sampled_from(["1.0", "57.2 [50.1, 60.0]", "+0.25", ""])


@given(st.text())
def test_nothing_visible_is_obeyed(text: str) -> None:
    """Other text stays as it is; in JSON the escapes mean the same."""
    shown = visible(text)
    assert not OBEYED.search(shown)
    assert not OBEYED.search(visible_line(text).replace("\n", "\0"))
    assert json.loads(visible(json.dumps(text, ensure_ascii=False))) == text
    if not OBEYED.search(text) and text.isprintable():
        assert shown == text


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _on_terminal(columns: int, title: str, heads: list[str], rows: list[list[str]]) -> str:
    """What a table is on a terminal so wide, without colours."""
    terminal = _Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm")
        print_table(title, heads, rows)
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())


@example(40, ":", [("\x1b\x1b\x1b", "", ":", "1.0")], [":", " ", "::::::::::::::::", ":"])
@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from([40, 80, 100, 300]),
    NAMES,
    st.lists(st.tuples(NAMES, FIGURES, NAMES, FIGURES), min_size=1, max_size=4),
    st.lists(NAMES, min_size=4, max_size=4),
)
def test_tables_show_names_whole_at_any_width(
    columns: int, title: str, rows: list[tuple[str, ...]], heads: list[str]
) -> None:
    """No letter of a title, a head or a cell is lost or obeyed; lines fit, but for those that cannot."""
    shown = _on_terminal(columns, title, heads, [list(row) for row in rows])
    assert not OBEYED.search(shown)
    letters = {letter: shown.count(letter) for letter in set(shown)}
    for letter in set("ab_[]$字犬"):
        wanted = sum(
            visible_line(text).count(letter) for text in (title, *heads, *(cell for row in rows for cell in row))
        )
        assert letters.get(letter, 0) >= wanted, letter


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_signatures_are_whole_on_a_narrow_terminal(columns: int) -> None:
    """In the table where there is room, else below it, at last in lines of their own; figures are never wrapped."""
    signature = "nrefs:1|bs:1000|seed:12345|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
    rows = [["bleu", "83.76", "[53.90, 100.00]", signature], ["ter", "12.50", "[0.00, 31.53]", f"{signature}x"]]
    shown = _on_terminal(columns, "news: 2 sentences", ["metric", "score", "95 % interval", "signature"], rows)
    for row in rows:
        assert all(cell in shown for cell in row)
    assert (f"  bleu: {signature}\n" in shown) == (columns <= 80)


@pytest.mark.parametrize("word", ["हिन्दी", "cafe\u0301", "漢字", "text"])
def test_a_row_in_a_pipe_is_one_line_in_any_script(capsys: pytest.CaptureFixture[str], word: str) -> None:
    """Marks on letters take no room, and some letters take two: neither breaks a row."""
    cell = " ".join([word] * 30)
    print_table("pairs", ["source", "target"], [[cell, "text"], ["text", cell]])
    shown = capsys.readouterr().out.rstrip().splitlines()
    assert [line.split() for line in shown[-2:]] == [[*cell.split(), "text"], ["text", *cell.split()]]


def test_names_of_many_systems_stay_whole_in_a_pipe(tmp_path: Path) -> None:
    """A table of thirteen systems prints every column heading uncut when piped."""
    lines = ["the cat sat", "a dog"]
    write_lines(tmp_path / "ref", lines)
    names = [f"an-experiment-with-a-long-name-{number}" for number in range(12)]
    for name in ("other", *names):
        write_lines(tmp_path / name, lines)
    systems = [tmp_path / name for name in ("other", *names)]
    shown = run("compare", *systems, "-t", f"{tmp_path / 'ref'}:{tmp_path / 'ref'}", "--test", "none")
    heads = next(line for line in shown.stdout.splitlines() if line.startswith(" words"))
    assert heads.split() == ["words", "sentences", "other", *names]


@pytest.mark.parametrize("name", [f"a{TITLE}", "[red]x", "[bold", "x\\", "a\nnmt forged", "\x9b31mx"])
def test_names_are_neither_obeyed_nor_markup(tmp_path: Path, name: str) -> None:
    """Of test sets and systems, on standard output; of paths, in errors and in wrong usage."""
    for file in (name, f"{name}2", "ref"):
        write_lines(tmp_path / file, ["the cat sat on the mat", "a dog"])
    files = f"{tmp_path / name}:{tmp_path / 'ref'}"
    shown = run("compare", tmp_path / name, tmp_path / f"{name}2", "-t", files)
    assert shown.exit_code == 0, shown.output
    absent = [
        run("compare", tmp_path / name, tmp_path / f"{name}3", "-t", files),
        run("evaluate", tmp_path / f"{name}3"),
        run("prepare", f"{name}3"),
        run("translate", f"--{name}"),
        run(name),
        run("compare", "x", "--save", tmp_path),
    ]
    assert {result.exit_code for result in absent} <= {1, 2}
    for result in (shown, *absent):
        assert not OBEYED.search(result.output), repr(result.output)
    assert f" {visible_line(name)} " in shown.stdout


def test_all_that_is_shown_goes_one_way() -> None:
    """Through `nmt_cli.console`; the bytes of translations and tokens alone go past it, and the live line of a meter."""
    root = Path(__file__).parents[2]
    for path in (root / "cli/nmt_cli").glob("*.py"):
        calls = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if path.name not in ("console.py", "streams.py", "pulse.py"):
            assert not {"typer.echo", "print", "sys.stdout.write", "sys.stderr.write", "typer.secho"} & set(calls), path


@pytest.mark.parametrize("suffix", ["docx", "", "pgf", "raw", "py", "png.", "\x1b"])
def test_a_picture_of_no_known_format_is_refused_before_the_work(tmp_path: Path, suffix: str) -> None:
    """Before systems are even looked for."""
    wrong = run("compare", "absent", "-t", "a:b", "--plot", tmp_path / f"out.{suffix}".removesuffix("." * (not suffix)))
    assert (wrong.exit_code, "the suffix of a picture must be one of" in wrong.stderr) == (1, True)
    assert not OBEYED.search(wrong.stderr)


def _buckets() -> list[Bucket]:
    score = Score("bleu", 30.0, 20.0, 40.0, "")
    return [Bucket(1, 5, 20, score), Bucket(6, 10, 20, score)]


def test_every_format_that_is_offered_can_be_written(tmp_path: Path) -> None:
    """In a folder that is made, with suffixes in either case."""
    with pytest.raises(ConfigError) as error:
        picture_format(Path("x.none"))
    known = str(error.value).partition("one of ")[2].partition(", got")[0].split(", ")
    assert {"png", "svg", "pdf"} <= set(known)
    for suffix in (*known, "PNG"):
        save_picture(Figure(figsize=(1, 1)), tmp_path / "new" / f"out.{suffix}")
        assert (tmp_path / "new" / f"out.{suffix}").stat().st_size


@pytest.mark.parametrize("name", ["_hidden", "$x", "b_$x$_{", r"a\$b$", "a\x1b]", "\udc80", "__"])
def test_names_stand_in_pictures_as_they_are(tmp_path: Path, name: str) -> None:
    """Also those that matplotlib would read as mathematics, or leave out of a legend."""
    for systems in ({name: _buckets()}, {f"{name}{number}": _buckets() for number in range(8)}):
        plot_by_length(tmp_path / "out.svg", f"{name} $", systems)
        assert (tmp_path / "out.svg").stat().st_size


def test_results_that_cannot_be_written_are_refused_before_the_work(tmp_path: Path) -> None:
    """A folder in the place of a file, a file in the place of a folder, and what the system does not allow."""
    (tmp_path / "file").touch()
    for option in ("--save", "--plot"):
        for place in (tmp_path / "file" / "x.png", Path("/proc/none/x.png")):
            refused = run("compare", "absent", "-t", "a:b", option, place)
            assert refused.exit_code == 1
            assert refused.stderr.startswith(f"nmt: {place}: cannot be written (")
            assert refused.stderr.count("\n") == 1
    refused = run("evaluate", "absent", "--save", "/proc/none")
    assert (refused.exit_code, "cannot be written (" in refused.stderr) == (1, True)


def test_what_cannot_be_saved_is_shown(tmp_path: Path) -> None:
    """The disk fills after the work has begun; a device is one that always is full."""
    for name in ("a", "ref"):
        write_lines(tmp_path / name, ["the cat sat on the mat"])
    done = run("compare", tmp_path / "a", "-t", f"{tmp_path / 'ref'}:{tmp_path / 'ref'}", "--save", "/dev/full")
    assert done.exit_code == 1
    assert "no room to write" in done.stderr
    assert "100.0 [100.0, 100.0]" in done.stdout


def test_a_full_disk_is_known_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare and evaluate refuse an unwritable output before they look for the systems."""

    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    for command in (
        ("compare", "absent", "-t", "a:b", "--plot", tmp_path / "x.png"),
        ("evaluate", "absent", "--save", tmp_path),
    ):
        refused = run(*command)
        assert (refused.exit_code, "cannot be written (No space left on device)" in refused.stderr) == (1, True)


@given(st.text(alphabet="a é日本語ไก่", max_size=40), st.integers(1, 30))
def test_the_live_line_fits_its_terminal(text: str, width: int) -> None:
    """Letters that take two columns, or none, are counted so."""
    assert cell_len(pulse._cut(text, width)) <= width
    assert pulse._cut(text, 200) == text
