"""What holds on the CPU holds on a CUDA device: the same losses, translations and promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from nmt.config.search import SamplingConfig, SearchConfig
from nmt.corpus.prepared import Prepared
from nmt.decoding.beam_search import beam_search
from nmt.models.transformer.attention import KeyValue, dot_product_attention
from nmt.storage.bundle import load_model
from nmt.training.loss import smoothed_cross_entropy
from nmt.training.trainer import Trainer
from nmt.translation.result import Options
from nmt.translation.translator import Translator
from nmt_data.prepare import prepare
from tiny import FAMILIES, VISUAL, make_batch, make_model, make_recipe

pytestmark = pytest.mark.gpu
PICTURES = {"kind": "visual", "channel_attention": "se"}


@pytest.mark.parametrize("name", FAMILIES | VISUAL)
def test_losses_and_translations_equal_those_of_the_cpu(name: str) -> None:
    """In float64, so that nothing hides behind rounding."""
    source, lengths = make_batch([9, 4, 7, 2])
    target = make_batch([6] * 4, seed=2)[0]
    losses: list[float] = []
    found: list[list[list[list[int]]]] = []
    for device in ("cpu", "cuda"):
        model = make_model(name).to(device)
        hidden = model(source.to(device), lengths, target.to(device))
        losses.append(smoothed_cross_entropy(hidden, model.output, target.to(device), 0.1).total.item())
        results = beam_search(model, source.to(device), lengths, SearchConfig(beam=4), best=2)
        found.append([[item.tokens for item in hypotheses] for hypotheses in results])
    assert losses[0] == pytest.approx(losses[1])
    assert found[0] == found[1]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", [None, {"kind": "rnn"}, {"kind": "rnn", "attention": "none"}, PICTURES])
@pytest.mark.usefixtures("home")
def test_training_runs_and_resumes(tmp_path: Path, model: dict[str, str] | None, precision: str) -> None:
    """The same commands, unchanged; the model translates on either device."""
    recipe = make_recipe(model, training={"precision": precision})
    prepared = prepare(recipe)
    cuda = torch.device("cuda")
    Trainer(recipe, prepared, tmp_path, cuda).run()
    progress = Trainer(
        recipe.model_copy(update={"training": recipe.training.model_copy(update={"updates": 9})}),
        prepared,
        tmp_path,
        cuda,
    ).run()
    assert progress.step == 9
    for device in ("cpu", "cuda"):
        assert len(Translator(load_model(tmp_path), torch.device(device)).translate(["a b c", ""])) == 2


@pytest.mark.parametrize(
    "training",
    [
        {"optimizer": "muon"},
        {"r_drop": 1.0},
        {"ema": 0.9},
        {"average": 2, "keep": 2},
        {"accumulate": 2},
        {"recompute": True},
        {"batch_tokens": "auto"},
        pytest.param({"compile": True}, marks=pytest.mark.filterwarnings("ignore")),  # torch's compiler warns of itself
    ],
    ids=lambda training: next(iter(training)),
)
def test_training_options(tmp_path: Path, prepared: Prepared, training: dict[str, Any]) -> None:
    """Each runs, none of its updates is left out, and its model is near that of the CPU, whose batches are others."""
    losses: list[float] = []
    for device in ("cuda",) if training.get("batch_tokens") == "auto" else ("cuda", "cpu"):
        own = {} if device == "cpu" and "compile" in training else training
        recipe = make_recipe({"dropout": 0.0}, training=own)
        folder = tmp_path / device
        progress = Trainer(recipe, prepared, folder, torch.device(device)).run()
        assert progress.skipped == 0
        losses.append(progress.best_loss)
    assert losses[0] == pytest.approx(losses[-1], rel=1e-2)


@pytest.mark.parametrize("model", [None, {"kind": "rnn"}, {"kind": "convolution"}, PICTURES])
@pytest.mark.usefixtures("home")
def test_interrupted_and_resumed_is_uninterrupted(tmp_path: Path, model: dict[str, str] | None) -> None:
    """With dropout on; to rounding, since some sums of a GPU have no order."""
    for name, starts in (("whole", [6]), ("resumed", [3, 6])):
        for updates in starts:
            recipe = make_recipe(model, training={"updates": updates, "schedule": "constant"})
            Trainer(recipe, prepare(recipe), tmp_path / name, torch.device("cuda")).run()
    whole, resumed = (load_model(tmp_path / name).model.state_dict() for name in ("whole", "resumed"))
    for name, weight in whole.items():
        torch.testing.assert_close(resumed[name], weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("search", "options"),
    [
        ({"beam": 1}, Options()),
        ({"beam": 5, "no_repeat_ngram": 2, "repetition_penalty": 1.2, "min_length": 2}, Options()),
        ({"beam": 4, "groups": 2}, Options()),
        ({"beam": 5}, Options(sampling=SamplingConfig(top_p=0.9))),
        ({"beam": 5}, Options(align=True, constrained=True)),
    ],
    ids=["greedy", "rules", "diverse", "sampling", "constrained"],
)
def test_every_way_to_decode(
    trained: Path, search: dict[str, Any], options: Options, precision: Literal["fp32", "bf16"]
) -> None:
    """In each precision every line has its translation; in fp32 a batch of n is n batches of one."""
    loaded, lines = load_model(trained), ["der Hund schläft", "", "die Frau liest ein Buch", "x" * 300, "der alte Mann"]
    settings, cuda = SearchConfig(max_length_ratio=2, max_length_constant=10, **search), torch.device("cuda")
    one, many = (Translator(loaded, cuda, settings, precision, size, options).translate(lines) for size in (1, 5))
    assert len(many) == len(lines)
    if precision == "fp32":
        assert many == one


def test_attention_plans_nothing_for_a_new_shape() -> None:
    """CuDNN's kernel, which torch prefers on some GPUs, takes tenths of a second for each shape that it has not seen."""
    query, key = (torch.randn(8, 5, 16, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    with torch.profiler.profile(acc_events=True) as profiler:
        dot_product_attention(query, KeyValue(key, key), None, True, 0.1, 2)
    names = {event.key for event in profiler.key_averages()}
    assert any("scaled_dot_product" in name for name in names)
    assert not any("cudnn" in name for name in names)
