"""One recipe and one seed end with one model: in any process, killed or not, with any number of threads that draw ahead."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nmt.config.data import TokenizerConfig
from nmt.config.reading import option_names
from nmt.corpus.bpe_dropout import BpeDropout
from nmt.corpus.encoded import Ragged
from nmt.corpus.tokenizer import Tokenizer
from repeat import DRAWING, NOT_TRIED, TRAINING

ROOT = Path(__file__).parents[2]
_TEXT = ["ein kleiner Hund und eine kleine Katze", "die kleinste der Katzen <2de> schläft"] * 8
# Options that draw nothing, so that they are not trained with here.
_DRAWS_NOTHING = Path(__file__).with_name("draws_nothing.txt").read_text().split()


def test_no_option_is_added_without_a_word_on_chance() -> None:
    """Each option is either trained with twice, or is said to draw nothing."""
    tried = {f"training.{name}" for name in {*TRAINING, *NOT_TRIED}} | set(DRAWING)
    known = {name for name in option_names() if not name.startswith("search.")}
    assert tried | set(_DRAWS_NOTHING) == known
    assert not tried & set(_DRAWS_NOTHING)


@pytest.mark.thorough
def test_every_option_of_training_repeats_itself(tmp_path: Path) -> None:
    """Trained whole in one process, and killed twice in another, which hashes otherwise: the same bytes."""
    found = []
    for number, how in enumerate(("whole", "killed")):
        paths = os.pathsep.join(str(ROOT / part) for part in ("", "cli", "data", "tests/helpers"))
        own = {"PYTHONPATH": paths, "PYTHONHASHSEED": str(number), "NMT_HOME": str(tmp_path / how)}
        command = [sys.executable, ROOT / "tests/helpers/repeat.py", how]
        done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, check=True)
        found.append(json.loads(done.stdout))
    assert found[0].keys() == {f"training.{name}" for name in TRAINING} | DRAWING.keys()
    assert [name for name in found[0] if found[0][name] != found[1][name]] == []


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """BPE with a symbol that is never cut."""
    return Tokenizer.train(_TEXT, TokenizerConfig(kind="bpe", vocabulary=60, user_symbols=("<2de>", "ein")))


def _cuts(tokenizer: Tokenizer, lines: list[str], probability: float, seed: str, epoch: int = 0) -> list[list[str]]:
    found = BpeDropout(tokenizer, Ragged.of(tokenizer.encode(lines)), probability, seed).epoch(epoch)
    return [tokenizer.id_to_pieces(line.tolist()) for line in np.split(found.values, found.offsets[1:-1])]


def test_bpe_dropout_draws_the_same_in_every_process(tokenizer: Tokenizer) -> None:
    """What it drew when this was written; SentencePiece's own draws differ from process to process."""
    (line,) = _cuts(tokenizer, ["kleine Katzen"], 0.4, "1 source")
    assert line == ["▁kl", "ein", "e", "▁", "Ka", "tz", "e", "n"]


def test_bpe_dropout_depends_on_seed_epoch_and_line_alone(tokenizer: Tokenizer) -> None:
    """Not on the lines before, nor on how many threads draw at a time."""
    lines = [*_TEXT, "Hund", "", "Katze"]
    first = _cuts(tokenizer, lines, 0.3, "1")
    others = ["x" if row % 2 else line for row, line in enumerate(lines)]
    assert [line for row, line in enumerate(_cuts(tokenizer, others, 0.3, "1")) if row % 2 == 0] == first[::2]
    assert (
        len({str(cuts) for cuts in (first, _cuts(tokenizer, lines, 0.3, "2"), _cuts(tokenizer, lines, 0.3, "1", 1))})
        == 3
    )
    side = BpeDropout(tokenizer, Ragged.of(tokenizer.encode(lines)), 0.3, "1")
    with ThreadPoolExecutor(4) as threads:
        drawn = list(threads.map(side.epoch, [0, 1] * 8))
    assert all(np.array_equal(drawn[index].values, drawn[index % 2].values) for index in range(16))


def test_bpe_dropout_keeps_symbols_unknown_words_and_text(tokenizer: Tokenizer) -> None:
    """A symbol of the user is one token however much is left out; nothing left out is the plain cut."""
    lines = ["der <2de> eine keiner", "日本 und 日本語 Katze", "", "eineine"]
    assert _cuts(tokenizer, lines, 1e-300, "1") == [tokenizer.id_to_pieces(ids) for ids in tokenizer.encode(lines)]
    cut = _cuts(tokenizer, lines, 0.999999, "1")
    assert cut[0] == ["▁", "d", "e", "r", "▁", "<2de>", "▁", "ein", "e", "▁", "k", "ein", "e", "r"]
    assert cut[1][:4] == ["▁", "<unk>", "▁", "u"]
    assert [tokenizer.decode_pieces([line]) for line in (cut[0], cut[3])] == [["der <2de> eine keiner"], ["eineine"]]


def test_bpe_dropout_is_distributed_as_sentencepieces(tokenizer: Tokenizer) -> None:
    """Over many draws of one line, each cut is as frequent as the library makes it."""
    count, line = 3000, "kleinste Katzen"
    ours = _cuts(tokenizer, [line] * count, 0.3, "1")
    theirs = tokenizer._processor.encode(
        [line] * count, out_type=str, enable_sampling=True, alpha=0.3, nbest_size=-1, num_threads=1
    )
    for cut in {tuple(cut) for cut in (*ours, *theirs)}:
        shares = [sum(tuple(other) == cut for other in drawn) / count for drawn in (ours, theirs)]
        assert shares[0] == pytest.approx(shares[1], abs=6 * (max(shares) / count) ** 0.5)
