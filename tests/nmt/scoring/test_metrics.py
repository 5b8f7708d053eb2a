"""Scores are sacreBLEU's own, with its signature; files of unequal length are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from nmt.corpus.lines import write_lines
from nmt.errors import ConfigError, DataError
from nmt.scoring.metrics import EVERY_METRIC, METRICS, bleu, bleu_by_length, score
from nmt.scoring.tokenization import parse_tokenization

REFERENCES = [f"The {a} dog sees {b} cats , and it's happy." for a in ("big", "small", "old") for b in range(7)]
HYPOTHESES = [line.replace("sees", "saw") if index % 3 else line for index, line in enumerate(REFERENCES)]


@pytest.mark.parametrize(("metric", "option"), [("bleu", "bleu"), ("chrf2", "chrf"), ("ter", "ter")])
def test_the_number_is_that_of_sacrebleus_command(tmp_path: Path, metric: str, option: str) -> None:
    """Value and signature of its own command line on the same files."""
    write_lines(tmp_path / "hypothesis", HYPOTHESES)
    write_lines(tmp_path / "reference", REFERENCES)
    command = [
        sys.executable,
        "-m",
        "sacrebleu",
        str(tmp_path / "reference"),
        "-i",
        str(tmp_path / "hypothesis"),
        "-m",
        option,
    ]
    theirs = json.loads(subprocess.run([*command, "-w", "6"], capture_output=True, text=True, check=True).stdout)
    ours = next(item for item in score(HYPOTHESES, REFERENCES) if item.metric == metric)
    assert ours.value == pytest.approx(theirs["score"], abs=1e-6)
    assert set(theirs["signature"].split("|")) <= set(ours.signature.split("|"))
    assert ours.low <= ours.value <= ours.high


def test_lower_case_and_tokenisation_stand_in_the_signature() -> None:
    """The BLEU signature records lowercasing and tokenisation, and unknown schemes are refused."""
    plain = score(HYPOTHESES, REFERENCES, tokenize="none", lowercase=True, metrics=("bleu",))[0]
    assert "case:lc" in plain.signature
    assert "tok:none" in plain.signature
    with pytest.raises(ConfigError, match="tokenize must be one of"):
        parse_tokenization("moses")


def test_unequal_or_empty_sides_are_refused() -> None:
    """SacreBLEU alone would score the shorter one."""
    with pytest.raises(DataError, match="20 translations but 21 references"):
        score(HYPOTHESES[:-1], REFERENCES)
    with pytest.raises(DataError, match="empty"):
        bleu([], [])


def test_few_lines_and_empty_references_are_scored() -> None:
    """Some resamples of these hold no reference word at all."""
    for item in score(["a b", "x", ""], ["a b", "", ""]):
        assert item.low <= item.value <= item.high


def test_an_interval_holds_nothing_that_a_score_cannot_be() -> None:
    """Of three sentences, one of them right, resamples spread over the whole scale."""
    right = "the cat sat on the mat all day long"
    for item in score([right, "x y z", "q r s"], [right, "a b c d e f", "g h i"]):
        assert 0 <= item.low < item.value < item.high
        assert item.high <= 100 or item.metric == "ter"


def test_buckets_share_out_all_sentences() -> None:
    """The length buckets of BLEU contain each sentence once, with the expected bounds."""
    sources = ["w " * (index + 1) for index in range(len(REFERENCES))]
    buckets = bleu_by_length(sources, HYPOTHESES, REFERENCES)
    assert sum(bucket.sentences for bucket in buckets) == len(REFERENCES)
    assert [(bucket.low, bucket.sentences) for bucket in buckets] == [(1, 5), (6, 5), (11, 5), (16, 5), (21, 1)]


def test_a_metric_that_is_named_twice_counts_once() -> None:
    """In the order in which they were named."""
    found = score(HYPOTHESES, REFERENCES, metrics=["chrf2", "bleu", "chrf2"], resamples=1)
    assert [item.metric for item in found] == ["chrf2", "bleu"]


def test_every_metric_has_a_record() -> None:
    """All names have a title and both scorers."""
    assert set(METRICS) == set(EVERY_METRIC)
