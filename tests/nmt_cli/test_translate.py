"""`nmt translate` and `nmt export`: every option does what it says; lines stay lines; what was interrupted goes on."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from command import check_dialogue, run, start
from nmt.export.agreement import Agreement
from nmt_data.synthetic import phrasebook
from packing import in_utf16, in_zstd

LINES = [source for source, _ in phrasebook.split("test")[:6]]
TEXT = "".join(f"{line}\n" for line in LINES).encode()


def test_formats(trained: Path) -> None:
    """Text, TSV, Moses and JSON output hold the same translations, line numbers and log-probabilities."""
    text = run("translate", trained, stdin=TEXT).stdout.splitlines()
    assert len(text) == 6
    tsv = [line.split("\t") for line in run("translate", trained, "--n-best", "2", stdin=TEXT).stdout.splitlines()]
    assert [row[0] for row in tsv] == [str(line) for line in range(6) for _ in range(2)]
    assert [row[3] for row in tsv[::2]] == text
    moses = run("translate", trained, "--format", "moses", stdin=TEXT).stdout.splitlines()
    assert [line.split(" ||| ")[1] for line in moses] == text
    rows = [json.loads(line) for line in run("translate", trained, "--format", "json", stdin=TEXT).stdout.splitlines()]
    assert [row["text"] for row in rows] == text
    assert [row["line"] for row in rows] == list(range(6))
    assert rows[0]["log_probability"] == pytest.approx(float(tsv[0][2]), abs=1e-5)


def test_alignments_are_links_between_words(trained: Path) -> None:
    """Each target word is linked to exactly one existing source word."""
    shown = run("translate", trained, "--align", stdin=TEXT).stdout.splitlines()
    for line, source in zip(shown, LINES, strict=True):
        text, links = line.split("\t")
        pairs = [tuple(map(int, link.split("-"))) for link in links.split()]
        assert [target for _, target in pairs] == list(range(len(text.split())))
        assert all(0 <= number < len(source.split()) for number, _ in pairs)


def test_sampling_is_seeded_by_line(trained: Path) -> None:
    """The same seed draws the same, in any batch; another seed draws otherwise."""
    options = ("--sample", "--temperature", "1.5", "--n-best", "2", "--format", "json", "--max-length-constant", "5")

    def texts(*more: str) -> list[str]:
        shown = run("translate", trained, *options, *more, stdin=TEXT).stdout
        return [json.loads(line)["text"] for line in shown.splitlines()]

    first = texts("--seed", "3")
    assert texts("--seed", "3", "--batch-size", "1") == first
    assert texts("--seed", "4") != first


def test_prefixes_come_from_one_file_and_the_text_from_another(trained: Path, tmp_path: Path) -> None:
    """Either may be standard input, but not both."""
    (tmp_path / "in").write_bytes(TEXT)
    begins = b"The woman\n\nThey\n\n\nWe\n"
    (tmp_path / "prefix").write_bytes(begins)
    expected = run("translate", trained, tmp_path / "in", "--prefix", tmp_path / "prefix").stdout
    for output in ((), ("-o", tmp_path / "out")):
        done = run("translate", trained, tmp_path / "in", "--prefix", "-", *output, stdin=begins)
        assert (done.exit_code, done.stdout or (tmp_path / "out").read_text()) == (0, expected), done.stderr
    for file in ((), ("-",)):
        refused = run("translate", trained, *file, "--prefix", "-", stdin=TEXT)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "would both be read from standard input" in refused.stderr


def test_several_translations_of_a_line_tell_their_line(trained: Path) -> None:
    """Plain text cannot."""
    refused = run("translate", trained, "--n-best", "2", "--format", "text", stdin=TEXT)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "cannot say which line --n-best 2 is of" in refused.stderr


def test_prefixes_are_kept(trained: Path, tmp_path: Path) -> None:
    """Each translation begins with its given prefix, and prefixes must be as many as lines."""
    begins = ["The woman", "", "They", "", "", "We"]
    (tmp_path / "prefix").write_text("".join(f"{line}\n" for line in begins))
    shown = run("translate", trained, "--prefix", tmp_path / "prefix", stdin=TEXT).stdout.splitlines()
    assert all(line.startswith(begin) for line, begin in zip(shown, begins, strict=True))
    for count, message in ((7, "more prefixes than the 6 lines"), (1, "1 prefixes are fewer than the lines")):
        (tmp_path / "prefix").write_text("The\n" * count)
        assert message in run("translate", trained, "--prefix", tmp_path / "prefix", stdin=TEXT).stderr


def test_forbidden_words_are_not_said(trained: Path) -> None:
    """A word given to `--forbid` no longer occurs in the translations."""
    free = run("translate", trained, stdin=TEXT).stdout
    word = free.split()[0]
    assert word not in run("translate", trained, "--forbid", word, stdin=TEXT).stdout.split()


def test_an_ensemble_with_itself_changes_nothing(trained: Path) -> None:
    """Two copies of one model translate exactly as the single model does."""
    alone = run("translate", trained, stdin=TEXT).stdout
    assert run("translate", trained, "--ensemble", trained, stdin=TEXT).stdout == alone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--top-k", "3"), "--top-k is for sampling; add --sample"),
        (("--format", "xml"), "--format must be one of text, tsv, moses, json"),
        (("--long-lines", "drop"), "--long-lines must be one of cut, split"),
        (("--precision", "fp64"), "precision must be auto, fp32, bf16 or int8"),
        (("--engine", "marian"), "--engine must be nmt or ctranslate2"),
        (("--engine", "ctranslate2"), "Transformers only"),
        (("--engine", "ctranslate2", "--device", "cuda"), "runs on the CPU here"),
        (("--sample", "--top-p", "1.5"), "top_p"),
        (("--no-repeat-ngram", "-1"), "no_repeat_ngram"),
    ],
)
def test_wrong_options_are_one_line(trained: Path, options: tuple[str, ...], message: str) -> None:
    """An invalid option of translate prints its message, no translation, and exits with code 1."""
    result = run("translate", trained, *options, stdin=TEXT)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


def test_long_lines_are_cut_or_split_and_counted(trained: Path) -> None:
    """Lines over the limit are reported and stay one line each; splitting translates more than cutting."""
    long = (" ".join(LINES) + "\nx\n").encode()
    cut = run("translate", trained, "--max-source", "20", stdin=long)
    assert "1 lines were longer than the limit; only their beginning was read" in cut.stderr
    split = run("translate", trained, "--max-source", "20", "--long-lines", "split", stdin=long)
    assert "1 lines were longer than the limit and were translated in parts" in split.stderr
    assert len(cut.stdout.splitlines()) == len(split.stdout.splitlines()) == 2
    assert len(split.stdout) > len(cut.stdout)


def test_packed_text_and_utf16_are_read(trained: Path, tmp_path: Path) -> None:
    """A packed file is translated as what it holds, one in UTF-16 as its text; a hyphen is standard input, which is neither."""
    expected = run("translate", trained, stdin=TEXT).stdout
    for pack in (gzip.compress, lzma.compress, bz2.compress, in_zstd, in_utf16):
        (tmp_path / "text").write_bytes(pack(TEXT))
        assert run("translate", trained, tmp_path / "text").stdout == expected
    assert run("translate", trained, "-", stdin=TEXT).stdout == expected
    with zipfile.ZipFile(tmp_path / "text.zip", "w") as archive:
        archive.writestr("inner/in.de", TEXT)
    for name in ("text.zip", "text.zip/inner/in.de"):
        assert run("translate", trained, tmp_path / name).stdout == expected
    for stdin in (in_utf16(TEXT), gzip.compress(TEXT)):
        refused = run("translate", trained, stdin=stdin)
        assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (1, "", 1), refused.stderr


def test_every_command_that_cuts_says_so(trained: Path, tmp_path: Path) -> None:
    """A source above the limit of 1,024 tokens is counted once, whatever is made of it."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("Hund " * 1100 + "\nDer Hund schläft.\n")
    target.write_text("The dog.\nThe dog sleeps.\n")
    for arguments in (
        ("score", trained, source, target),
        ("attend", trained, source, "--target", target, "--format", "entropy"),
        ("evaluate", trained, "--testset", f"{source}:{target}", "--beam", "1", "--metric", "bleu"),
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
        assert "1 lines were longer than the limit; only their beginning was read" in result.stderr, arguments[0]


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"")), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_keep_their_lines(trained: Path, lines: list[bytes]) -> None:
    """Whatever they are, unless they begin as a packed file or UTF-16 does, which is refused."""
    stdin = b"".join(line + b"\n" for line in lines)
    result = run("translate", trained, "--beam", "1", "--max-length-constant", "3", stdin=stdin)
    if "unpack it first" in result.stderr or "looks like UTF-16" in result.stderr:
        assert (result.exit_code, result.stdout_bytes) == (1, b"")
        return
    assert result.exit_code == 0
    assert result.stdout_bytes.count(b"\n") == len(lines)


def test_a_pipe_is_answered_line_by_line(trained: Path) -> None:
    """What has come is translated while the writer keeps the pipe open."""
    with start("translate", str(trained), "--beam", "1", stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        for line in LINES[:2]:
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().endswith(b"\n")
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.slow
def test_an_interrupted_file_goes_on_where_it_stopped(trained: Path, tmp_path: Path) -> None:
    """Killed in the middle; the same command ends with the file that an uninterrupted one writes, and tells the same of it."""
    sources = [source for source, _ in phrasebook.split("train")[:6000]]
    text = tmp_path / "in"
    text.write_text("".join(f"{line}\n" for line in sources))
    options = ("--beam", "1", "--precision", "fp32", "--max-source", "5")
    command = ("translate", str(trained), str(text), *options)
    with start(*command, "--output", str(tmp_path / "out")) as process:
        deadline = time.time() + 100
        while not (tmp_path / "out.part.json").exists() and time.time() < deadline:
            time.sleep(0.02)
        process.kill()
    assert not (tmp_path / "out").exists()
    again = run(*command, "--output", tmp_path / "out")
    assert "going on after line" in again.stderr
    whole = run(*command, "--output", tmp_path / "whole")
    assert whole.exit_code == 0
    assert again.stderr.splitlines()[1:] == whole.stderr.splitlines()  # all cuts are counted
    assert "lines were longer than the limit" in whole.stderr
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "whole"]


def test_a_changed_input_is_translated_anew(trained: Path, tmp_path: Path) -> None:
    """Partial output of another job is discarded rather than resumed."""
    text = tmp_path / "in"
    text.write_bytes(TEXT)
    (tmp_path / "out.part").write_bytes(b"old\n")
    (tmp_path / "out.part.json").write_text(json.dumps({"job": "other", "lines": 1, "bytes": 4}))
    result = run("translate", trained, text, "--output", tmp_path / "out")
    assert "going on" not in result.stderr
    assert b"old" not in (tmp_path / "out").read_bytes()


def test_output_goes_where_the_path_leads(trained: Path, tmp_path: Path) -> None:
    """Into folders that are made, behind links and into pipes, which stay what they are; never over a folder."""
    (tmp_path / "in").write_bytes(TEXT)
    expected = run("translate", trained, tmp_path / "in").stdout
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as reader:
        passed = reader.submit((tmp_path / "pipe").read_text, encoding="utf-8")
        for name in ("new/folder/out", "link", "pipe"):
            result = run("translate", trained, tmp_path / "in", "--output", tmp_path / name)
            assert result.exit_code == 0, result.output
    assert (tmp_path / "new" / "folder" / "out").read_text(encoding="utf-8") == expected
    assert (tmp_path / "real").read_text(encoding="utf-8") == passed.result() == expected
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "pipe").is_fifo()
    refused = run("translate", trained, tmp_path / "in", "--output", tmp_path / "new")
    assert (refused.exit_code, "is a folder" in refused.stderr) == (1, True)


def test_the_first_lines_are_verified_one_by_one(trained: Path, tmp_path: Path) -> None:
    """In fp32 nothing depends on the batch; what is written is the same with and without."""
    (tmp_path / "in").write_bytes(TEXT)
    plain, verified = (run("translate", trained, tmp_path / "in", "--verify", count) for count in ("0", "3"))
    assert verified.stdout == plain.stdout
    assert "0 of 3 lines come out otherwise in fp32, one line at a time" in verified.stderr
    assert "otherwise" not in plain.stderr
    rough = run("translate", trained, tmp_path / "in", "--verify", "1000", "--precision", "bf16")
    assert f" of {TEXT.count(10)} lines come out otherwise" in rough.stderr


@pytest.mark.slow
def test_workers_write_what_one_process_writes(trained: Path, tmp_path: Path) -> None:
    """In order, with every cut and bad byte counted; sampling draws the same."""
    sources = [source.encode() for source, _ in phrasebook.split("test")[:700]]
    sources[5], sources[300], sources[699] = b"", b"\xff x", " ".join(LINES).encode()
    (tmp_path / "in").write_bytes(b"".join(line + b"\n" for line in sources))
    options = ("--sample", "--seed", "3", "--max-source", "30", "--max-length-constant", "4")
    one = run("translate", trained, tmp_path / "in", *options)
    three = run("translate", trained, tmp_path / "in", *options, "--workers", "3")
    assert three.exit_code == 0, three.stderr
    assert three.stdout == one.stdout
    assert three.stdout.count("\n") == 700
    assert three.stderr == one.stderr
    assert "1 lines held bytes that are not UTF-8" in three.stderr


@pytest.mark.slow
def test_workers_answer_who_waits_for_the_answer(trained: Path) -> None:
    """From a pipe, each line comes out before the next goes in."""
    with start("translate", str(trained), "--workers", "2", stdout=subprocess.PIPE) as process:
        check_dialogue(process, (b"der Hund\n", b"eins\n", b"zwei\n"))


def test_export_refuses_what_it_cannot_do(trained: Path, tmp_path: Path) -> None:
    """Export rejects unsupported model families, unknown formats and an existing output folder."""
    assert "Transformers only" in run("export", trained, "--output", tmp_path / "x").stderr
    assert "of another family" in run("export", trained, "--to", "huggingface", "--output", tmp_path / "x").stderr
    assert (
        "ctranslate2, argos or huggingface" in run("export", trained, "--to", "onnx", "--output", tmp_path / "x").stderr
    )
    assert "is there already" in run("export", trained, "--output", tmp_path).stderr


@pytest.mark.parametrize("text", ["", "\n \n\n"])
def test_engines_that_were_not_compared_do_not_agree(
    trained: Path, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written after a comparison of no sentence, whether there was none or each ran into a limit."""
    (tmp_path / "text").write_text(text)
    options = ("--output", tmp_path / "x", "--verify", "3", "--text", tmp_path / "text")
    for engine in ("ctranslate2", "huggingface"):
        result = run("export", trained, "--to", engine, *options)
        assert (result.exit_code, "holds no sentence to compare the engines on" in result.stderr) == (1, True)
    monkeypatch.setattr("nmt.export.ctranslate2.compare_engines", lambda *_: Agreement(0, 0, 3, 0.0))
    (tmp_path / "text").write_text("Ein Hund.\n")
    assert "no sentence could be compared to its end; nothing was written" in run("export", trained, *options).stderr
    assert not (tmp_path / "x").exists()


def test_lines_may_carry_phrases(trained: Path) -> None:
    """After tabs; a line without them is translated as ever, and n lines are n lines."""
    lines = "der Hund schläft .\tbicycle\tgarden\n\nein Mann sieht den Hund .\n".encode()
    result = run("translate", trained, "--constrained", "--max-length-ratio", "4", stdin=lines)
    assert result.exit_code == 0, result.output
    first, second, third, end = result.stdout.split("\n")
    assert "bicycle" in first
    assert "garden" in first
    assert (second, end) == ("", "")
    assert third == run(
        "translate", trained, "--max-length-ratio", "4", stdin=lines.split(b"\n")[2] + b"\n"
    ).stdout.strip("\n")
    refused = run("translate", trained, "--constrained", "--sample", stdin=lines)
    assert "need a plain beam search" in refused.output


@pytest.mark.slow
def test_without_a_compiler_translations_are_the_same_and_a_line_says_so(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, since kernels are loaded once."""
    usual = run("translate", trained, "--device", "cpu", stdin=TEXT)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    command = [sys.executable, "-m", "nmt_cli", "translate", str(trained), "--device", "cpu"]
    without = subprocess.run(command, input=TEXT, capture_output=True, check=True)
    assert without.stdout == usual.stdout_bytes
    assert b"no C compiler" in without.stderr
    assert "no C compiler" not in usual.stderr


def test_a_phrase_of_a_blank_line_is_missed(trained: Path) -> None:
    """A blank line stays blank, and what it was to say is counted."""
    result = run("translate", trained, "--constrained", stdin=b"\tdog\n \n")
    assert result.stdout == "\n\n"
    assert "1 translations lack a phrase" in result.stderr
