"""What the host does beside search: few calls for a sentence; and all that a search on a device can take goes there at once."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from nmt.config.reading import parse_search
from nmt.config.search import SamplingConfig, SearchConfig
from nmt.decoding.beam_search import Hypothesis
from nmt.decoding.device.search import DeviceSearch
from nmt.storage.bundle import load_model
from nmt.translation.result import Options
from nmt.translation.translator import Translator

_CALLS = 35  # 0.3 microseconds each


class Fake:
    """A search that takes no time."""

    def __init__(self) -> None:
        self.collects, self.sizes = True, list[int]()

    def search(self, ids: list[list[int]], config: SearchConfig, best: int) -> list[list[Hypothesis]]:
        """The source."""
        self.collects = gc.isenabled()
        self.sizes.append(len(ids))
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


@pytest.mark.parametrize(
    ("options", "search", "prefixes", "sizes"),
    [
        ({}, {}, None, [3]),
        ({}, {"beam": 1, "min_length": 2, "coverage_penalty": 0.1}, None, [3]),
        ({}, {"groups": 5}, None, []),
        ({}, {"no_repeat_ngram": 2}, None, []),
        ({}, {}, ["the", "", ""], [1]),
        ({"forbidden": ["the"]}, {}, None, [2, 1]),
        ({"sampling": SamplingConfig()}, {}, None, []),
    ],
)
def test_what_a_device_can_search_goes_there(
    trained: Path, options: dict[str, Any], search: dict[str, Any], prefixes: list[str] | None, sizes: list[int]
) -> None:
    """All lines at once, where nothing else is asked for; what is, keeps the plain loop and its batches."""
    settings = parse_search(SearchConfig(beam=5), search)
    translator = Translator(load_model(trained), search=settings, batch_size=2, options=Options(**options))
    fake = Fake()
    decoder = translator.decoder
    decoder.device_search, decoder.stepped = cast(DeviceSearch, fake), decoder.model  # as on a GPU
    lines = ["der Hund schläft", "", "die Frau liest ein Buch", "die Frau schläft"]
    assert len(translator.translate_n_best(lines, 1, None if prefixes is None else [*prefixes, ""])) == len(lines)
    assert fake.sizes == sizes
