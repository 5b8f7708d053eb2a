"""Long work says how far it has come, and whoever waits for a command sees that it lives."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from command import environment
from nmt.corpus.prepared import Prepared
from nmt.corpus.testset import TestSet
from nmt.decoding.shortlist import Shortlist
from nmt.export.ctranslate2 import compare_engines
from nmt.runtime import stages as module
from nmt.runtime.stages import Stage, counted, counted_batches, stage, stages
from nmt.scoring.metrics import score
from nmt.scoring.significance import paired_test
from nmt.storage.bundle import load_model
from nmt.storage.checkpoint import checkpoints
from nmt.training.averaging import mean_of_checkpoints
from nmt.translation.evaluation import evaluate
from nmt.translation.translator import Translator
from nmt_cli import pulse as heart
from nmt_cli.console import note
from nmt_cli.text_files import Meter
from nmt_data.prepare import prepare
from nmt_data.synthetic import phrasebook
from tiny import make_recipe


@cache
def _sides() -> tuple[list[str], list[str]]:
    """Forty sentences and their translations; drawing them takes seconds, which a collection of tests need not."""
    source, target = zip(*phrasebook.split("test")[:40], strict=True)
    return list(source), list(target)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The texts of all stages that come under way."""
    texts: set[str] = set()
    begin = Stage.__init__

    def noted(self: Stage, text: str, total: int = 0, unit: str = "lines", idle: bool = False) -> None:
        texts.add(text)
        begin(self, text, total, unit, idle)

    monkeypatch.setattr(Stage, "__init__", noted)
    return texts


def test_stages_lie_in_each_other() -> None:
    """From the whole to its part, each gone when its work ends, however it ends."""
    with stage("whole") as whole:
        for item in counted([1, 2, 3], "part", 3, "items"):
            assert [str(here) for here in stages()] == ["whole", f"part, {item - 1} of 3 items"]
        assert [str(here) for here in stages()] == ["whole"]
        with suppress(ValueError), stage("broken"):
            raise ValueError
        assert stages() == (whole,)
    assert [len(batch) for batch in counted_batches([[1, 2], [3]], "batches")] == [2, 1]
    assert stages() == ()


def test_the_rest_is_told_by_the_speed_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """But not of the first moments, and not where nobody knows how much there is."""
    now = [100.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    known, unknown = Stage("known", 1000), Stage("unknown")
    known.done = unknown.done = 250
    assert known.left is None
    now[0] += 10
    assert known.left == pytest.approx(30)
    assert (unknown.left, str(unknown), str(known)) == (None, "unknown, 250 lines", "known, 250 of 1,000 lines")


def test_the_rest_of_a_text_is_told_by_what_was_translated_now(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lines of an interrupted translation took no time of this one."""
    now = [100.0]
    monkeypatch.setattr(module, "perf_counter", lambda: now[0])
    (tmp_path / "text").write_bytes(b"a line\n" * 1000)
    with (tmp_path / "text").open("rb") as stream:
        whole, resumed = Meter(stream), Meter(stream, 400)
        assert whole.left is resumed.left is None
        stream.seek(7 * 500)
        now[0] += 10
        whole.advance(500)
        resumed.advance(100)
        assert (whole.left, resumed.left) == (pytest.approx(10), pytest.approx(50))


WORK: dict[str, tuple[Callable[[Translator, Prepared], object], set[str]]] = {
    "translating": (lambda translator, _: translator.translate(_sides()[0]), {"translating"}),
    "scoring targets": (lambda translator, _: translator.score_targets(*_sides()), {"scoring"}),
    "scores": (
        lambda *_: score(*_sides(), resamples=2),
        {"scoring by BLEU", "scoring by chrF2", "scoring by TER", "comparing with references"},
    ),
    "evaluation": (
        lambda translator, _: evaluate(translator, TestSet("news", *_sides()), metrics=("bleu",)),
        {"news", "translating", "scoring by BLEU"},
    ),
    "paired tests": (
        lambda *_: paired_test(dict(zip(("one", "two"), _sides(), strict=True)), _sides()[1], samples=64),
        {"paired test by TER", "comparing with references", "resampling"},
    ),
    "shortlist": (
        lambda _, prepared: Shortlist.build(prepared.train, (40, 40), {}, 2, 2),
        {"counting which tokens meet", "estimating translations of tokens"},
    ),
    "preparing": (
        lambda *_: prepare(make_recipe(data={"limit": 123})),
        {
            "reading letters",
            "reading valid",
            "training the tokenizer",
            "encoding",
            "looking for test sentences in train",
        },
    ),
}


@pytest.mark.parametrize("kind", WORK)
def test_long_work_tells_what_it_is_at(kind: str, trained: Path, prepared: Prepared, seen: set[str]) -> None:
    """Each loop that may take longer than a few seconds."""
    work, expected = WORK[kind]
    translator = Translator(load_model(trained))
    seen.clear()
    work(translator, prepared)
    missing = {text for text in expected if not any(text in found for found in seen)}
    assert not missing, seen
    assert stages() == ()


def test_averaging_and_export_tell_what_they_are_at(
    trained: Path, prepared: Prepared, tmp_path: Path, seen: set[str]
) -> None:
    """They count checkpoints and sentences."""
    import torch

    from nmt.training.trainer import Trainer

    pytest.importorskip("ctranslate2")
    Trainer(make_recipe(), prepared, tmp_path, torch.device("cpu")).run()
    compare_engines(load_model(tmp_path), ["a b c"])
    mean_of_checkpoints(checkpoints(trained / "checkpoints"))
    assert {"averaging", "decoding by both engines", "loss of validation"} <= seen


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pulse that beats fast."""
    monkeypatch.setattr(heart, "_GLANCE", 0.01)
    monkeypatch.setattr(heart, "_PATIENCE", 0.05)
    return iter(())


@pytest.mark.usefixtures("quick")
def test_silence_is_broken_by_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """With what is under way; what waits for its user says nothing."""
    with heart.pulse.beating():
        with stage("compare"), stage("translating", 1000) as here:
            here.done = 250
            time.sleep(0.2)
        with stage("waiting", idle=True):
            time.sleep(0.1)
            capsys.readouterr()
            time.sleep(0.2)
            assert capsys.readouterr().err == ""
        time.sleep(0.2)
        assert "nmt: working, 0:01 so far\n" in capsys.readouterr().err.replace("0:00", "0:01")
    time.sleep(0.1)
    capsys.readouterr()
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("quick")
def test_a_terminal_has_one_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It makes room for what is said, fits the terminal, and is gone in the end."""
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm")
    with heart.pulse.beating(), stage("translating a very long text indeed", 1000):
        time.sleep(0.2)
        note("said")
        time.sleep(0.2)
    text = screen.getvalue()
    assert text.count("\n") == 1
    assert "\r\x1b[Ksaid\n" in text
    assert text.endswith("\r\x1b[K")
    lines = re.split("[\r\n]", text.replace("\x1b[K", ""))
    assert {line for line in lines if line} == {"translating a very long text ", "said"}


SLOW = """
import sys, time
from nmt.translation.decoder import Decoder
from nmt_cli import pulse
from nmt_cli.main import app
search = Decoder.search_batch
def slowly(*arguments):
    time.sleep(0.4)
    return search(*arguments)
Decoder.search_batch = slowly
pulse._PATIENCE, pulse._GLANCE = 0.8, 0.1
try:
    app(sys.argv[1:])
finally:
    print("the end", file=sys.stderr, flush=True)
"""


@pytest.mark.slow
def test_no_command_is_silent_for_long(trained: Path, tmp_path: Path) -> None:
    """From a slow search to the last draw of a comparison: the longest time without a word on stderr, measured."""
    source, target = _sides()
    for name, lines in (("source", source), ("target", target), ("other", target[1:] + target[:1])):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    testset = f"{tmp_path / 'source'}:{tmp_path / 'target'}"
    words = ["compare", str(trained), str(tmp_path / "other"), "--testset", testset, "--test", "ar"]
    command = [sys.executable, "-c", SLOW, *words]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment()) as process:
        assert process.stderr
        said = [(time.perf_counter(), line) for line in process.stderr]
    assert process.returncode == 0, said
    begun = next(number for number, (_, line) in enumerate(said) if line.startswith(b"translating"))  # all is imported
    gaps = [(after - before, line) for (before, line), (after, _) in pairwise(said[begun:])]
    assert (said[-1][1], len(gaps) > 1) == (b"the end\n", True)
    assert max(gaps) < (5, b""), said
