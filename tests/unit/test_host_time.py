"""What a translated sentence costs the host beside tokenising and search: few calls, which do not grow with the batch."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import torch

from nmt.checkpoint import load_model
from nmt.config import SearchConfig
from nmt.search import Hypothesis
from nmt.translator import Translator

_CALLS = 35  # 0.3 microseconds each


class Fake:
    """A search that takes no time."""

    def __init__(self) -> None:
        self.collects = True

    def search(self, ids: list[list[int]], config: SearchConfig, best: int) -> list[list[Hypothesis]]:
        """The source."""
        self.collects = gc.isenabled()
        return [[Hypothesis(tokens, -1.0, -1.0, False)] for tokens in ids]


def test_a_sentence_takes_few_calls(trained: Path) -> None:
    """Python's and C's, counted: a time would depend on the machine. Its collector of circles rests meanwhile."""
    fake = Fake()
    translator = Translator(load_model(trained), torch.device("cpu"), engine=fake, batch_size=1000)
    lines = ["der Hund schläft", "die Frau liest ein Buch"] * 500
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        found = translator.translate(lines)
    finally:
        sys.setprofile(None)
    assert len(found) == len(lines)
    assert calls <= _CALLS * len(lines)
    assert not fake.collects
    assert gc.isenabled()
