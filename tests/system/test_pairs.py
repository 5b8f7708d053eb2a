"""Every pair of switches that a config allows, in few models: each trains, decodes and keeps the promises."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from nmt.config.model import ModelConfig, RnnConfig, TransformerConfig
from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.decoding.beam_search import beam_search, score_targets
from nmt.models import Model, build_model
from nmt.training.loss import rewarded, smoothed_cross_entropy
from tiny import VOCABULARY, make_batch

Choice = tuple[tuple[str, Any], ...]

SWITCHES: dict[str, dict[str, Sequence[Any]]] = {
    "rnn": {
        "attention": ("none", "additive", "dot", "scaled_dot", "bilinear", "location", "multi_head"),
        "weighting": ("softmax", "sparsemax", "local_monotonic", "local_predictive", "hard", "gumbel"),
        "query": ("previous", "current"),
        "values": ("shared", "projected"),
        "input_feeding": (False, True),
        "coverage": (False, True),
        "cell": ("gru", "lstm"),
        "layers": (1, 2),
        "bidirectional": (True, False),
        "reverse_source": (False, True),
        "bridge": ("dense", "zero"),
        "summary": ("last", "max_and_last"),
        "feed_summary": ("every", "first", "state"),
        "readout": ("maxout", "plain"),
        "tie": ("none", "output", "all"),
    },
    "transformer": {
        "positions": ("sinusoidal", "none", "learned", "rotary", "alibi"),
        "norm": ("pre", "post"),
        "normalization": ("layer", "rms"),
        "scaled": (True, False),
        "residual": (True, False),
        "activation": ("relu", "gelu"),
        "tie": ("none", "output", "all"),
        "attention_dropout": (0.0, 0.1),
        "encoder_layers": (1, 2),
        "decoder_layers": (1, 2),
    },
    "convolution": {
        "kernel": (3, 5),
        "positions": (4, 64),
        "encoder_layers": (1, 2),
        "decoder_layers": (1, 2),
        "tie": ("none", "output", "all"),
        "hidden": (8, 12),
    },
    "visual": {
        "image_encoder": ("slices", "visrep", "cnn"),
        "channel_attention": ("none", "se", "cbam"),
        "spatial_attention": ("none", "cbam"),
        "height": (8, 12),
        "window": (8, 12),
        "stride": (4, 8),
        "words": ("aligned", "running"),
        "base": (
            TransformerConfig(width=8, feed_forward=12, heads=2, encoder_layers=1, decoder_layers=1, tie="output"),
            RnnConfig(embedding=8, hidden=8),
        ),
    },
}
SIZES: dict[str, dict[str, Any]] = {
    "rnn": {"embedding": 8, "hidden": 8, "window": 2, "heads": 2, "word_dropout": 0.1},
    "transformer": {"width": 8, "feed_forward": 12, "heads": 2},
    "convolution": {"embedding": 8},
    "visual": {},
}
_CONFIG: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)
REFUSED = 24  # pairs that no config allows; a switch that is refused by mistake changes this


def make_config(kind: str, values: dict[str, Any]) -> ModelConfig | None:
    """The config with these switches, or None where it is refused."""
    try:
        return _CONFIG.validate_python({"kind": kind, **SIZES[kind], **values})
    except ValidationError:
        return None


def pairs_of(values: dict[str, Any]) -> set[Choice]:
    """The pairs of switches that a config has."""
    return set(itertools.combinations(sorted(values.items()), 2))


def designs(kind: str) -> tuple[list[dict[str, Any]], int]:
    """Few settings that hold each allowed pair, and the number of pairs that no setting allows."""
    switches, draw = SWITCHES[kind], random.Random(1)
    missing = {
        tuple(sorted(pair))
        for one, two in itertools.combinations(switches, 2)
        for pair in itertools.product(
            ((one, value) for value in switches[one]), ((two, value) for value in switches[two])
        )
    }
    found: list[dict[str, Any]] = []
    refused = 0
    while missing:
        pair = min(missing, key=repr)
        candidates = [values for values in _around(dict(pair), switches, draw) if make_config(kind, values)]
        if candidates:
            best = max(candidates, key=lambda values: len(pairs_of(values) & missing))
            found.append(best)
            missing -= pairs_of(best)
        else:
            refused += 1
            missing.discard(pair)
    return found, refused


def _around(fixed: dict[str, Any], switches: dict[str, Sequence[Any]], draw: random.Random) -> Iterator[dict[str, Any]]:
    """Settings with some switches fixed and ever fewer of the others away from their first, plainest value."""
    for attempt in range(400):
        plain = attempt / 400
        yield {
            key: fixed.get(key, values[0] if draw.random() < plain else draw.choice(values))
            for key, values in switches.items()
        }


DESIGNS = {kind: designs(kind) for kind in SWITCHES}


def test_what_is_refused_is_known() -> None:
    """No pair is refused that was allowed, or the other way round, without this number telling."""
    assert sum(refused for _, refused in DESIGNS.values()) == REFUSED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "index"), [(kind, index) for kind, (found, _) in DESIGNS.items() for index in range(len(found))]
)
def test_a_pair_of_switches_works(kind: str, index: int) -> None:
    """The loss falls; a batch is its sentences one by one; the score of a hypothesis is that of forced decoding."""
    config = make_config(kind, DESIGNS[kind][0][index])
    assert config is not None
    torch.manual_seed(index)
    model = build_model(config, VOCABULARY, VOCABULARY).double()
    losses = _train(model)
    assert losses[-1] < losses[0], config
    model.eval().requires_grad_(False)
    source, lengths = make_batch([6, 3, 5], seed=5)
    search = SearchConfig(beam=3, max_length_ratio=1.0, max_length_constant=3)
    together = beam_search(model, source, lengths, search, best=3)
    for row, length in enumerate(lengths.tolist()):
        (alone,) = beam_search(model, source[row : row + 1, :length], lengths[row : row + 1], search, best=3)
        assert [item.tokens for item in alone] == [item.tokens for item in together[row]], config
        best = alone[0]
        spoken = torch.tensor([[BOS, *best.tokens, EOS]])
        forced = score_targets(
            model, source[row : row + 1, :length], lengths[row : row + 1], spoken[:, :-1], spoken[:, 1:]
        )
        if not best.cut:
            assert float(forced.sum()) == pytest.approx(best.log_probability, rel=1e-9), config


def _train(model: Model) -> list[float]:
    """Ten updates on the same sentences; the losses without dropout before and after."""
    source, lengths = make_batch([6, 4, 5, 3] * 4, seed=2)
    target = torch.cat([torch.full((len(source), 1), BOS), source[:, :-1]], 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses: list[float] = []
    for step in range(12):
        model.train(step not in (0, 11))
        forced = model.forced(source, lengths, target)
        loss = smoothed_cross_entropy(forced.states, model.output, source, 0.1)
        if step in (0, 11):
            losses.append(float(loss.total.detach()))
            continue
        if forced.drawn is not None:
            rows = source.flatten().ne(PAD).nonzero().squeeze(1)
            loss = rewarded(loss, forced.drawn.flatten().index_select(0, rows))
        optimizer.zero_grad()
        (loss.total / len(source)).backward()
        optimizer.step()
    return losses
