"""Search on a CPU by the kernels is beam search, hypothesis by hypothesis."""

from __future__ import annotations

from typing import Literal

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.config.search import SearchConfig
from nmt.decoding.beam_search import beam_search
from nmt.decoding.compiled import search_by_kernels
from nmt.decoding.rules import MinimumLength, NoRepeatedNgram, Rule
from nmt.fast.kernels import Kernels
from tiny import Table


@given(
    sentences=st.integers(1, 6),
    beam=st.integers(1, 5),
    vocabulary=st.integers(4, 12),
    stopping=st.sampled_from(["exact", "count"]),
    penalty=st.sampled_from(["none", "average", "gnmt"]),
    longest=st.integers(0, 9),
    ruled=st.booleans(),
    seed=st.integers(0, 9999),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_the_kernels_search_as_the_plain_loop_does(
    kernels: Kernels,
    sentences: int,
    beam: int,
    vocabulary: int,
    stopping: Literal["exact", "count"],
    penalty: Literal["none", "average", "gnmt"],
    longest: int,
    ruled: bool,
    seed: int,
    data: st.DataObject,
) -> None:
    """All hypotheses, their scores and forced ends, by every stopping rule, penalty, limit and with rules."""
    generator = torch.Generator().manual_seed(seed)
    table = Table(2 * torch.randn(sentences, 20, vocabulary, vocabulary, generator=generator, dtype=torch.float64))
    source, lengths = torch.arange(sentences)[:, None], torch.randint(1, 4, (sentences,), generator=generator)
    config = SearchConfig(
        beam=beam, stopping=stopping, length_penalty=penalty, max_length_ratio=1.0, max_length_constant=longest
    )
    best = data.draw(st.integers(1, beam))
    rules: list[Rule] = [MinimumLength(2), NoRepeatedNgram(2)] if ruled else []
    plain = beam_search(table, source, lengths, config, best, rules)
    assert search_by_kernels(kernels, table, source, lengths, config, best, rules) == plain
