"""What holds on the CPU holds on a CUDA device: the same losses, translations and promises."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nmt.checkpoint import load_model
from nmt.config import SearchConfig
from nmt.loss import smoothed_cross_entropy
from nmt.prepared import Prepared
from nmt.search import beam_search
from nmt.trainer import Trainer
from nmt.translator import Translator
from tiny import FAMILIES, make_batch, make_model, make_recipe

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("name", FAMILIES)
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
@pytest.mark.parametrize("model", [None, {"kind": "rnn"}, {"kind": "rnn", "attention": "none"}])
def test_training_runs_and_resumes(
    tmp_path: Path, prepared: Prepared, model: dict[str, str] | None, precision: str
) -> None:
    """The same commands, unchanged; the model translates on either device."""
    recipe = make_recipe(model, training={"precision": precision})
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
