"""The static update computes what the plain one does, and is the same every time."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from nmt.config.recipe import TrainingConfig
from nmt.corpus.encoded import EncodedCorpus, Ragged
from nmt.corpus.plans import Plan
from nmt.corpus.prepared import Prepared
from nmt.fast.gpu import attending, attention, norm
from nmt.fast.gpu.layouts import StaticBatch, layout_for
from nmt.models import Model, build_model
from nmt.runtime.processes import World
from nmt.training import packed_loss as loss
from nmt.training import static_update as static
from nmt.training.arithmetic import Arithmetic
from nmt.training.batches import Batch, collate
from nmt.training.progress import Progress
from nmt.training.rehearsal import rehearse
from nmt.training.static_update import StaticUpdate, why_plain
from nmt.training.stream import BatchStream, StreamPosition
from nmt.training.trainer import Trainer
from nmt.training.updater import Updater
from nmt_data.prepare import prepare
from tiny import FAMILIES, VOCABULARY, make_recipe

CPU = torch.device("cpu")
TRANSFORMERS = [name for name in FAMILIES if name.startswith("transformer")]
STATIC = [name for name in FAMILIES if name != "hard"]


def make_batches(name: str = "transformer", tokens: int = 64) -> tuple[EncodedCorpus, Plan, list[StaticBatch]]:
    """A small corpus, the rows of its batches, and the batches laid out for a model."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 9, size=(2, 60))
    sides = [Ragged.of([generator.integers(4, VOCABULARY, size=n).tolist() for n in side]) for side in lengths]
    corpus = EncodedCorpus(*sides)
    layout = layout_for(FAMILIES[name], corpus.source.lengths + 1, corpus.target.lengths + 1, tokens)
    plan = layout.plan(corpus, np.arange(len(corpus)), 1, 0)
    return corpus, plan, list(layout.lay_out(corpus, plan, CPU))


def make_updater(name: str, dtype: torch.dtype, dropout: float = 0.0, **training: object) -> Updater:
    """An updater of a tiny random model."""
    torch.manual_seed(7)
    config = FAMILIES[name].model_copy(update={"dropout": dropout})
    model: Model = build_model(config, VOCABULARY, VOCABULARY).to(dtype).train()
    return Updater(model, TrainingConfig.model_validate(training), CPU, Arithmetic("fp32", onednn=False))


def made_static(updater: Updater) -> Updater:
    """The same updater, ready for batches that are laid out."""
    updater.static = StaticUpdate(updater, 20)
    return updater


@pytest.mark.parametrize(
    ("name", "optimizer"), [*((name, "adam") for name in STATIC), ("transformer", "muon"), ("bilinear", "muon")]
)
def test_static_updates_are_plain_updates(name: str, optimizer: str) -> None:
    """Loss, norm and weights, in float64; Muon's plain update rounds the learning rate to fp32."""
    corpus, plan, batches = make_batches(name)
    packed = made_static(make_updater(name, torch.float64, optimizer=optimizer))
    plain = make_updater(name, torch.float64, optimizer=optimizer)
    bound = 1e-9 if optimizer == "adam" else 1e-6
    for number, (rows, batch) in enumerate(zip(plan, batches, strict=True), 1):
        found = packed.update(number, [batch], 1e-3)
        wanted = plain.update(number, [collate(corpus, rows)], 1e-3)
        assert found.tokens == wanted.tokens
        torch.testing.assert_close(found.figures, wanted.figures, rtol=bound, atol=bound)
    for one, other in zip(packed.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=bound)


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_bf16_weights_lose_little(name: str) -> None:
    """The loss of packed rows in bf16 is that of fp32 within the rounding of bf16; the masters stay fp32."""
    _, _, batches = make_batches()
    exact, half = (make_updater(name, torch.float32) for _ in range(2))
    half.arithmetic = Arithmetic("bf16", onednn=False)
    for updater in (exact, half):
        made_static(updater)
    for number, batch in enumerate(batches[:4], 1):
        losses = [updater.update(number, [batch], 1e-3).figures[0].item() for updater in (exact, half)]
        assert losses[0] == pytest.approx(losses[1], rel=0.01)
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.float32}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer", "transformer-rotary", "transformer-alibi", "transformer-post"])
@pytest.mark.usefixtures("interpreter")
def test_with_kernels_an_update_is_the_plain_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention, norms and loss by kernels: figures of the first update, in fp32."""
    corpus, plan, batches = make_batches(name, tokens=16)
    for module in (attention, loss, norm):
        monkeypatch.setattr(module, "usable", lambda _: True)
    found = made_static(make_updater(name, torch.float32)).update(1, [batches[0]], 1e-3)
    wanted = make_updater(name, torch.float32).update(1, [collate(corpus, plan[0])], 1e-3)
    torch.testing.assert_close(found.figures, wanted.figures, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["additive", "additive-lstm", "bilinear", "dot", "scaled-dot"])
@pytest.mark.usefixtures("interpreter")
def test_recurrences_in_few_kernels_are_the_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loss and gradient norm of the first update, in fp32, beside those of the model's own loop."""
    corpus, plan, batches = make_batches(name, tokens=16)
    with monkeypatch.context() as patch:
        patch.setattr(attending, "usable", lambda _: True)
        found = made_static(make_updater(name, torch.float32)).update(1, [batches[0]], 1e-3)
    wanted = make_updater(name, torch.float32).update(1, [collate(corpus, plan[0])], 1e-3)
    torch.testing.assert_close(found.figures, wanted.figures, rtol=1e-4, atol=1e-4)


def test_twenty_updates_are_the_same_to_the_bit_every_time() -> None:
    """With every kind of dropout."""
    _, _, batches = make_batches()
    runs: list[list[torch.Tensor]] = []
    for _ in range(2):
        updater = made_static(make_updater("transformer", torch.float32, dropout=0.3))
        figures = [updater.update(n, [batches[n % len(batches)]], 1e-3).figures for n in range(1, 21)]
        runs.append([*figures, *(parameter.detach() for parameter in updater.model.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


@pytest.mark.parametrize("name", ["transformer", "bilinear"])
def test_an_update_that_is_not_finite_or_has_no_token_changes_nothing(name: str) -> None:
    """And the next one is as if it had not been, also where a parameter is not used."""
    _, _, batches = make_batches(name)
    updater, undisturbed = (made_static(make_updater(name, torch.float32)) for _ in range(2))
    for one in (updater, undisturbed):
        one.update(1, [batches[0]], 1e-3)
    before = [parameter.detach().clone() for parameter in updater.model.parameters()]
    moments = [value.clone() for state in updater.optimizer.state.values() for value in state.values()]
    empty = batches[0].on(batches[0].numbers.clone())
    empty.count.zero_()
    assert updater.update(2, [empty], 1e-3).figures[4] == 0
    with torch.no_grad():
        updater.model.output.bias[3] = torch.nan
    assert updater.update(3, [batches[0]], 1e-3).figures[4] == 0
    with torch.no_grad():
        updater.model.output.bias[3] = undisturbed.model.output.bias[3]
    after = [value for state in updater.optimizer.state.values() for value in state.values()]
    for one, other in zip([*before, *moments], [*updater.model.parameters(), *after], strict=True):
        assert torch.equal(one, other)
    found, wanted = (one.update(4, [batches[1]], 1e-3).figures for one in (updater, undisturbed))
    assert torch.equal(found, wanted)


def test_only_what_a_graph_can_do_is_static() -> None:
    """Everything else makes plain updates, and says why."""
    cuda = torch.device("cuda")
    recipe = make_recipe()
    assert why_plain(recipe, cuda, World(cuda)) is None
    assert why_plain(recipe, CPU, World(CPU))
    assert why_plain(recipe, cuda, World(cuda, 0, 2))
    for key, value in {"accumulate": 2, "r_drop": 1.0, "recompute": True, "compile": True}.items():
        reason = why_plain(make_recipe(training={key: value}), cuda, World(cuda))
        assert reason is not None
        assert key in reason


def trained(recipe_updates: int, prepared: Prepared, folder: Path, steps: int) -> Trainer:
    """Trains for some updates of a recipe that plans more."""
    recipe = make_recipe(
        {"dropout": 0.2, "attention_dropout": 0.1},
        training={"updates": recipe_updates, "validate_every": 5, "schedule": "constant", "ema": 0.9},
    )
    if steps != recipe_updates:
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"updates": steps})})
    trainer = Trainer(recipe, prepared, folder, CPU)
    trainer.run()
    return trainer


@pytest.mark.slow
def test_a_training_goes_on_to_the_bit(tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty updates in one start and in two: the same weights, from the same sentences."""
    monkeypatch.setattr(static, "_DEVICES", {"cpu"})
    whole = trained(20, prepared, tmp_path / "whole", 20)
    trained(20, prepared, tmp_path / "parts", 10)
    parts = trained(20, prepared, tmp_path / "parts", 20)
    assert whole.updater.static is not None
    assert whole.progress.static
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_a_training_goes_on_with_the_same_sentences_where_it_cannot_be_static(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training of packed batches that goes on elsewhere keeps its batches, padded."""
    with monkeypatch.context() as patch:
        patch.setattr(static, "_DEVICES", {"cpu"})
        packed = trained(20, prepared, tmp_path, 10)
    plain = trained(20, prepared, tmp_path, 20)
    assert plain.updater.static is None
    assert plain.progress.static
    assert [rows.tolist() for rows in plain.stream.epoch(0).plan] == [
        rows.tolist() for rows in packed.stream.epoch(0).plan
    ]


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError(), type("OutOfResources", (Exception,), {"__module__": "triton"})("x")]
)
def test_where_memory_or_a_kernel_fails_updates_are_plain(
    error: Exception, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same sentences; the reason is said. A bug is not taken for either."""
    monkeypatch.setattr(static, "_DEVICES", {"cpu"})

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(StaticUpdate, "prepare", fails)
    recipe, updater = make_recipe(), make_updater("transformer", torch.float32)
    with closing(BatchStream(recipe, prepared)) as stream:
        assert rehearse(recipe, stream, updater, Progress())
        assert updater.static is None
        assert isinstance(stream.draw(StreamPosition()).batch, Batch)
        error = ValueError()
        with pytest.raises(ValueError, match=r"^$"):
            rehearse(recipe, stream, updater, Progress())


@pytest.mark.parametrize("kind", ["transformer", "rnn"])
def test_a_sentence_that_the_first_epoch_leaves_out_fits_later_ones(kind: str, home: Path) -> None:
    """Where corpora are mixed by weight, the longest sentence may be drawn in another epoch only."""
    more = [{"corpus": "phrasebook", "source": "en", "target": "de", "weight": 2}]
    data = {"corpus": "phrasebook", "source": "de", "target": "en", "limit": 900, "tag_target": True, "more": more}
    recipe = make_recipe({"kind": kind} if kind == "rnn" else {}, data=data | {"temperature": 2})
    with closing(BatchStream(recipe, prepare(recipe))) as stream:
        layout = stream.lay_out(CPU)
        for number in range(3):
            epoch = stream.epoch(number)
            batches = layout.lay_out(epoch.corpus, epoch.plan[:], CPU)
            assert [batch.tokens for batch in batches] == [
                int((epoch.corpus.target.lengths_of(rows) + 1).sum()) for rows in epoch.plan
            ]
