"""What decoding speed is measured against finds what our search finds."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from nmt.bench import rounds
from nmt.bench.baselines import CellLoop, WithoutCache
from nmt.bench.rounds import interleave
from nmt.config.search import SearchConfig
from nmt.decoding.beam_search import beam_search
from nmt.errors import ConfigError, NmtError
from nmt.runtime.device import choose_device
from tiny import make_batch, make_model

CONFIG = SearchConfig(beam=3, max_length_ratio=1.0, max_length_constant=3)


@pytest.mark.parametrize("name", ["additive", "bilinear"])
def test_a_loop_over_cells_finds_the_same(name: str) -> None:
    """The benchmark's RNN loop over single cells gives the hypotheses of our own model."""
    model = make_model(name)
    source, lengths = make_batch([6, 4, 3])
    ours, theirs = (beam_search(item, source, lengths, CONFIG, 3) for item in (model, CellLoop(model.float())))
    assert [[item.tokens for item in found] for found in ours] == [[item.tokens for item in found] for found in theirs]


def test_a_loop_over_cells_is_for_plain_attention() -> None:
    """The benchmark's loop over cells refuses a Transformer as a configuration error."""
    with pytest.raises(ConfigError, match="yardstick"):
        CellLoop(make_model("transformer"))


def test_decoding_without_a_cache_finds_the_same() -> None:
    """A Transformer without its cache of keys and values gives the same hypotheses."""
    model = make_model("transformer")
    source, lengths = make_batch([6, 4, 3])
    ours, theirs = (beam_search(item, source, lengths, CONFIG, 3) for item in (model, WithoutCache(model)))
    assert [[item.tokens for item in found] for found in ours] == [[item.tokens for item in found] for found in theirs]


class _Pipe:
    """Asks for a round, and keeps the answers."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def send(self, answer: object) -> None:
        """As of a connection."""
        self.answers.append(answer)

    def recv(self) -> str:
        """As of a connection."""
        return "run"


class _Hungry:
    """Takes more memory than there is."""

    def run(self) -> Any:
        """As torch says it."""
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 800000000000 bytes.")


def test_memory_that_runs_out_in_a_round_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The waiting process gets an error that it can tell, and nobody sees a traceback."""
    pipe: Any = _Pipe()
    rounds._serve(pipe, _Hungry, torch.get_num_threads())
    assert isinstance(pipe.answers[-1], NmtError)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_what_cannot_be_set_up_here_is_left_out() -> None:
    """And said, with the reason."""
    said: list[str] = []
    impossible: Any = partial(choose_device, "abacus")
    assert interleave({"abacus": impossible}, 1, 1, said.append) == {}
    assert said == ["abacus is left out: device must be auto, cpu, cuda or cuda:n, got abacus"]
