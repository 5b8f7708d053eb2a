"""The training benchmark: its yardsticks compute what ours do, and its figures are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from command import run
from nmt.bench.training_baselines import CellLoopSeq2Seq, PlainTraining, plain_model
from nmt.config.model import RnnConfig, TransformerConfig
from nmt.config.reading import recipe_to_toml
from nmt.corpus.prepared import Prepared
from nmt.corpus.tokenizer import PAD
from nmt.models import build_model
from nmt.runtime.cpu import has_fast_bf16
from nmt.training.batches import collate
from nmt.training.flops import training_flops
from nmt.training.loss import smoothed_cross_entropy
from tiny import make_recipe


@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:Support for mismatched")
def test_the_torch_transformer_drops_as_much_as_ours() -> None:
    """Attention weights and activations too: torch would drop them whenever it drops states."""
    settings = {"width": 12, "feed_forward": 20, "heads": 3, "dropout": 0.3, "attention_dropout": 0.2}
    config = TransformerConfig.model_validate(settings)
    plain = plain_model(config, 40, 40, like=build_model(config, 40, 40))
    looks = {part.dropout for part in plain.modules() if isinstance(part, torch.nn.MultiheadAttention)}
    layers = [part for part in plain.modules() if isinstance(part, torch.nn.TransformerDecoderLayer)]
    assert looks == {0.2}
    assert {(part.dropout.p, part.dropout1.p, part.dropout3.p) for part in layers} == {(0.0, 0.3, 0.3)}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor", "ignore:Support for mismatched")
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_torch_transformer_has_our_weights_and_our_loss(prepared: Prepared, norm: str) -> None:
    """Without dropout, in float64: the same loss and the same gradient of the embeddings."""
    config = TransformerConfig.model_validate(
        {"width": 12, "feed_forward": 20, "heads": 3, "dropout": 0.0, "norm": norm}
    )
    torch.manual_seed(2)
    ours = build_model(config, 40, 40)
    theirs = plain_model(config, 40, 40, like=ours).double()
    ours = ours.double()
    batch = collate(prepared.train, np.arange(9))
    loss = smoothed_cross_entropy(
        ours(batch.source, batch.lengths, batch.target_input), ours.output, batch.target_output, 0.1
    )
    plain = F.cross_entropy(
        theirs(batch).flatten(0, 1),
        batch.target_output.flatten(),
        ignore_index=PAD,
        label_smoothing=0.1,
        reduction="sum",
    )
    # With post-norm torch normalises once more at the end of each stack, which hardly changes what is normalised.
    torch.testing.assert_close(loss.total.detach(), plain.detach(), rtol=1e-5 if norm == "pre" else 1e-3, atol=1e-5)


def test_the_cell_loop_learns(prepared: Prepared) -> None:
    """Its loss falls: it is a fair opponent."""
    torch.manual_seed(1)
    model = CellLoopSeq2Seq(RnnConfig(embedding=16, hidden=16, cell="lstm", dropout=0.0), 40, 40)
    training = PlainTraining(model, 0.0, 1e-2, (0.9, 0.98))
    batch = collate(prepared.train, np.arange(32))
    losses = [training.update(batch) for _ in range(20)]
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.parametrize(
    "config",
    [
        TransformerConfig(width=16, feed_forward=32, heads=2, encoder_layers=2, decoder_layers=1, dropout=0.0),
        RnnConfig(embedding=12, hidden=16, dropout=0.0),
        RnnConfig(embedding=12, hidden=16, dropout=0.0, attention="none", readout="plain"),
    ],
    ids=["transformer", "attention", "bottleneck"],
)
def test_operations_are_those_that_torch_counts(config: TransformerConfig | RnnConfig, prepared: Prepared) -> None:
    """Of the forward pass over a batch without padding, within what torch cannot see (a recurrence's kernels)."""
    ours, counted = _operations(config, prepared)
    if isinstance(config, TransformerConfig):
        assert ours == pytest.approx(counted, rel=0.01)
    else:
        assert counted < ours * 1.05


@pytest.mark.parametrize("score", ["scaled_dot", "bilinear", "additive", "location", "multi_head"])
def test_a_score_costs_what_torch_counts(score: str, prepared: Prepared) -> None:
    """Beside the dot product; all else of the model is the same."""
    found = [
        _operations(RnnConfig(embedding=12, hidden=16, bidirectional=False, attention=name), prepared)  # type: ignore[arg-type]
        for name in ("dot", score)
    ]
    (dot, counted_dot), (ours, counted) = found
    assert ours - dot == counted - counted_dot


def test_a_fixed_vector_that_the_readout_sees_costs_what_torch_counts(prepared: Prepared) -> None:
    """It is mapped once a sentence; all else of the model is the same."""
    found = [
        _operations(RnnConfig(embedding=12, hidden=16, attention="none", feed_summary=name), prepared)
        for name in ("state", "first")
    ]
    (state, counted_state), (ours, counted) = found
    assert ours - state == counted - counted_state > 0


def _operations(config: TransformerConfig | RnnConfig, prepared: Prepared) -> tuple[float, int]:
    """Operations of a forward pass: what we say, and what torch counts."""
    model = build_model(config, 40, 40).double()  # no kernel of ours, which torch could not count
    lengths = prepared.train.target.lengths
    rows = np.flatnonzero((lengths == 5) & (prepared.train.source.lengths == 5))[:6]
    batch = collate(prepared.train, rows)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.output(model(batch.source, batch.lengths, batch.target_input))
    return training_flops(config, 40, batch) / 3, counter.get_total_flops()


def test_bf16_is_left_out_where_it_would_take_minutes(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without fast bf16 the training benchmark skips that precision and reports it."""
    monkeypatch.setattr("nmt.bench.training.has_fast_bf16", lambda: False)
    monkeypatch.setattr("nmt.bench.training.bench_training", lambda *given: [{"engine": name} for name in given[1]])
    (tmp_path / "tiny.toml").write_text(recipe_to_toml(make_recipe()))
    shown = run("bench", "train", tmp_path / "tiny.toml", "--json")
    assert "bf16 is left out" in shown.stderr
    assert [json.loads(line)["engine"] for line in shown.stdout.splitlines()] == ["nmt fp32", "baseline"]


@pytest.mark.slow
def test_bench_train_prints_one_object_a_contender(tmp_path: Path, home: Path) -> None:
    """The training benchmark prints one complete JSON row per engine and precision, and a profile."""
    (tmp_path / "tiny.toml").write_text(recipe_to_toml(make_recipe()))
    profile = tmp_path / "profile.txt"
    options = ("--updates", "2", "--rounds", "1", "--profile", profile)
    shown = run("bench", "train", tmp_path / "tiny.toml", *options, "--json")
    assert "aten::addmm" in profile.read_text()
    assert shown.exit_code == 0, shown.output
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [(row["engine"], row["precision"]) for row in rows] == [
        ("nmt", "fp32"),
        *([("nmt", "bf16")] if has_fast_bf16() else []),
        ("baseline", "fp32"),
    ]
    wanted = {
        *("family", "device", "precision", "tokens_per_second", "tokens_per_cpu_second"),
        *("baseline_tokens_per_cpu_second", "ratio", "utilisation", "padding", "peak_memory_mb"),
    }
    assert all(wanted <= row.keys() for row in rows)
    assert rows[-1]["ratio"] == 1
