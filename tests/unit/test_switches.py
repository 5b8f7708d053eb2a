"""What training can switch on does what its paper says."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nmt.config.recipe import TrainingConfig
from nmt.corpus.prepared import Prepared
from nmt.corpus.tokenizer import PAD, Tokenizer, Tokenizers
from nmt.errors import CheckpointError, ConfigError
from nmt.models import RnnSeq2Seq, build_model
from nmt.models.dropout import Dropout, drop_words
from nmt.models.transformer.model import Embedding
from nmt.scoring.metrics import bleu
from nmt.storage import checkpoint as store
from nmt.training.arithmetic import Arithmetic
from nmt.training.averaging import RunningMean, mean_of_checkpoints
from nmt.training.batches import Batch, collate
from nmt.training.fine_tuning import freeze, initialise
from nmt.training.loss import consistent_cross_entropy
from nmt.training.optim import learning_rate
from nmt.training.rehearsal import _largest_that_fits
from nmt.training.stream import BatchStream, Place
from nmt.training.trainer import Trainer
from nmt.training.updater import Updater
from nmt.training.validation import Validation, Validator
from nmt.translation.translator import Translator
from nmt_data.prepare import prepare
from tiny import make_batch, make_model, make_recipe

CPU = torch.device("cpu")
RNN = {"kind": "rnn", "embedding": 16, "hidden": 16}
EXACT = Arithmetic("fp32", onednn=False)


def _updater(name: str = "transformer", **training: Any) -> Updater:
    return Updater(make_model(name).train(), TrainingConfig(**training), CPU, EXACT)


@pytest.mark.parametrize("rows", [5, 200])
def test_r_drop_is_its_formula(rows: int) -> None:
    """Values and gradients against the formula written out, in float64, across chunk borders and with padding."""
    torch.manual_seed(3)
    output = torch.nn.Linear(6, 11).double()
    hidden = torch.randn(4, rows, 6, dtype=torch.float64, requires_grad=True)
    target = torch.randint(1, 11, (2, rows))
    target[1, rows // 2 :] = PAD
    ours = consistent_cross_entropy(hidden, output, target, smoothing=0.1, divergence=3.0)
    logits = output(hidden).unflatten(0, (2, 2))
    real = target.ne(PAD)
    one, two = (F.log_softmax(part[real], -1) for part in logits)
    crosses = [F.cross_entropy(part[real], target[real], label_smoothing=0.1, reduction="sum") for part in logits]
    divergence = F.kl_div(two, one, reduction="sum", log_target=True) + F.kl_div(
        one, two, reduction="sum", log_target=True
    )
    theirs = (crosses[0] + crosses[1] + 3.0 / 2 * divergence) / 2
    torch.testing.assert_close(ours.total, theirs)
    parts = (hidden, output.weight, output.bias)
    torch.testing.assert_close(torch.autograd.grad(ours.total, parts), torch.autograd.grad(theirs, parts))


def test_r_drop_without_dropout_is_the_plain_loss() -> None:
    """The two passes are then one and the same."""
    source, lengths = make_batch([4, 3])
    batch = collate_like(source, lengths)
    plain, drawn = _updater(), _updater(r_drop=5.0)
    for updater in (plain, drawn):
        _without_dropout(updater)
    torch.testing.assert_close(drawn.loss(batch, 0.1).total, plain.loss(batch, 0.1).total)


def _without_dropout(updater: Updater) -> None:
    for module in updater.model.modules():
        if isinstance(module, Dropout):
            module.probability = 0.0


def collate_like(source: torch.Tensor, lengths: torch.Tensor) -> Any:
    """A batch that copies its source."""
    from nmt.training.batches import Batch

    return Batch.of(source, lengths, source, source)


def test_word_dropout_takes_whole_words() -> None:
    """A word is gone altogether or scaled up; about as many go as asked for."""
    torch.manual_seed(1)
    dropped = drop_words(torch.ones(40, 50, 8), 0.25)
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert (dropped.amin(-1) == dropped.amax(-1)).all()
    assert dropped[..., 0].eq(0).float().mean() == pytest.approx(0.25, abs=0.04)
    assert drop_words(dropped, 0.0) is dropped


@pytest.mark.parametrize("name", ["transformer", "additive", "bottleneck"])
def test_word_dropout_works_in_every_family_and_only_in_training(name: str) -> None:
    model = make_model(name)
    source, lengths = make_batch([5, 3])
    plain = model(source, lengths, source)
    for module in model.modules():
        if isinstance(module, Embedding):
            module.word_dropout = 0.9
    if isinstance(model, RnnSeq2Seq):
        model.config = model.config.model_copy(update={"word_dropout": 0.9})
    torch.testing.assert_close(model.eval()(source, lengths, source), plain)
    torch.manual_seed(1)
    assert not torch.allclose(model.train()(source, lengths, source), plain)


@pytest.fixture(scope="module")
def phrases(home: Path) -> tuple[Any, Prepared]:
    """A recipe and its corpus with BPE over real words."""
    recipe = make_recipe(
        data={"corpus": "phrasebook", "source": "de", "target": "en", "limit": 400},
        tokenizer={"kind": "bpe", "vocabulary": 300},
        training={"bpe_dropout": 0.1, "batch_tokens": 500},
    )
    return recipe, prepare(recipe)


def test_bpe_dropout_keeps_the_text_and_varies_the_pieces(phrases: tuple[Any, Prepared]) -> None:
    """Each epoch has pieces of its own, more of them than the plain ones; any place is the same whenever it is drawn."""
    recipe, prepared = phrases
    stream, again = BatchStream(recipe, prepared), BatchStream(recipe, prepared)
    tokenizer = prepared.tokenizers.target
    epochs = [stream.epoch(number).corpus.target for number in (0, 1)]
    texts = [
        tokenizer.decode([part.tolist() for part in np.split(ragged.values, ragged.offsets[1:-1])])
        for ragged in (*epochs, prepared.train.target)
    ]
    assert texts[0] == texts[1] == texts[2]
    plain = len(prepared.train.target.values)
    assert not np.array_equal(epochs[0].offsets, epochs[1].offsets)
    assert all(1.03 * plain < len(ragged.values) < 2 * plain for ragged in epochs)
    place, late = Place(), Place(1, 2)
    for _ in range(len(stream.epoch(0).plan) + 2):
        place = stream.draw(place).after
    drawn = stream.draw(place)
    other = again.draw(late)
    assert isinstance(drawn.batch, Batch)
    assert isinstance(other.batch, Batch)
    assert torch.equal(drawn.batch.source, other.batch.source)
    assert torch.equal(drawn.batch.target_output, other.batch.target_output)
    stream.close()
    again.close()


def test_bpe_dropout_is_for_bpe() -> None:
    with pytest.raises(ConfigError, match=r"training.bpe_dropout needs tokenizer.kind = 'bpe', got 'word'"):
        make_recipe(training={"bpe_dropout": 0.1})


def test_the_running_mean_is_its_recurrence() -> None:
    model = torch.nn.Linear(2, 1, bias=False)
    mean = RunningMean(model, 0.5)
    expected = model.weight.detach().clone()
    for number in range(1, 8):
        with torch.no_grad():
            model.weight += number
        mean.update(number)
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * model.weight.detach()
    torch.testing.assert_close(mean.weights["weight"], expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
@pytest.mark.parametrize(
    "name", ["convolution", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("additive", "transformer"))]
)
def test_compiled_is_plain(name: str) -> None:
    """The same states and gradients for any shapes."""
    plain, compiled = make_model(name), make_model(name)
    compiled.compile_steps()
    for lengths, words in (([9, 4, 7, 2], 6), ([12, 3, 4], 3)):
        source, counts = make_batch(lengths)
        target = make_batch([words] * len(lengths), seed=2)[0]
        states = [model(source, counts, target) for model in (plain, compiled)]
        torch.testing.assert_close(states[1], states[0])
        for found in states:
            found.square().sum().backward()
    for one, other in zip(plain.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)


def test_a_run_with_a_running_mean_validates_saves_and_resumes_it(tmp_path: Path, prepared: Prepared) -> None:
    """Checkpoints hold the mean to translate with and the weights to train on: stopped and resumed is uninterrupted."""
    trainers: list[Trainer] = []
    for name, updates in (("whole", 6), ("parts", 3), ("parts", 6)):
        (tmp_path / name).mkdir(exist_ok=True)
        recipe = make_recipe(training={"ema": 0.9, "updates": updates, "schedule": "constant", "warmup": 1})
        trainers.append(Trainer(recipe, prepared, tmp_path / name, CPU))
        trainers[-1].run()
    trainer = trainers[-1]
    whole, parts = (
        store.read_weights(tmp_path / name / "checkpoints" / "step-00000006") for name in ("whole", "parts")
    )
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)
    assert trainer.updater.mean
    trained = dict(trainer.model.named_parameters())
    torch.testing.assert_close(whole, trainer.updater.mean.weights)
    assert any(not torch.equal(whole[name], trained[name]) for name in whole)


def test_the_mean_of_checkpoints_is_the_model(tmp_path: Path, prepared: Prepared) -> None:
    """`training.average` makes the bundle of the last checkpoints, and says what it scores."""
    reports: list[dict[str, Any]] = []
    recipe = make_recipe(training={"average": 2, "validate_every": 2})
    Trainer(recipe, prepared, tmp_path, CPU, reports.append).run()
    saved = store.checkpoints(tmp_path / "checkpoints")[-2:]
    weights = [store.read_weights(path) for path in saved]
    bundle = store.read_weights(tmp_path / "model")
    for name, value in bundle.items():
        torch.testing.assert_close(value, (weights[0][name] + weights[1][name]) / 2)
    assert reports[-1]["kind"] == "mean"
    card = store.load_model(tmp_path).card
    assert card["checkpoints"] == [path.name for path in saved]
    other = tmp_path / "other"
    other.mkdir()
    Trainer(make_recipe(RNN), prepared, other, CPU).run()
    strangers = [saved[0], store.checkpoints(other / "checkpoints")[0]]
    with pytest.raises(CheckpointError, match="not of the same model"):
        mean_of_checkpoints(strangers)


def test_more_checkpoints_to_average_than_are_kept_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"training.keep must be at least training.average = 9, got 3"):
        make_recipe(training={"average": 9})


def test_a_trapezoid_falls_over_its_last_fifth() -> None:
    config = TrainingConfig(schedule="trapezoid", learning_rate=1.0, warmup=10)
    rates = [learning_rate(update, 100, config) for update in (5, 10, 50, 80, 90, 100)]
    assert rates == pytest.approx([0.5, 1.0, 1.0, 1.0, 0.5, 0.0])


@pytest.mark.parametrize("model", [None, RNN], ids=["transformer", "attention"])
def test_fine_tuning_starts_from_the_parents_weights(
    tmp_path: Path, prepared: Prepared, model: dict[str, Any] | None
) -> None:
    """With the same tokenizer all weights are the parent's; the first update already stands on them."""
    parent = tmp_path / "parent"
    parent.mkdir()
    Trainer(make_recipe(model), prepared, parent, CPU).run()
    child = Trainer(make_recipe(model, training={"initialise": str(parent)}), prepared, tmp_path / "child", CPU)
    torch.testing.assert_close(dict(child.model.named_parameters()), store.read_weights(parent / "model"))


@pytest.mark.parametrize(
    "model",
    [None, {"positions": "learned"}, {"kind": "convolution", "embedding": 16, "hidden": 16}],
    ids=["transformer", "learned", "convolution"],
)
def test_fine_tuning_with_another_tokenizer_copies_matching_pieces(
    tmp_path: Path, prepared: Prepared, model: dict[str, Any] | None
) -> None:
    """Rows of embeddings and output go by piece, not those of positions; new pieces keep their fresh rows."""
    parent = tmp_path / "parent"
    parent.mkdir()
    recipe = make_recipe(model)
    Trainer(recipe, prepared, parent, CPU).run()
    lines = ["a b c d e f zebra"] * 3
    tokenizer = Tokenizer.train(lines, make_recipe(tokenizer={"vocabulary": 30}).tokenizer)
    child = build_model(recipe.model, tokenizer.vocabulary_size, tokenizer.vocabulary_size)
    fresh = child.output.weight.detach().clone()
    initialise(child, Tokenizers(tokenizer, tokenizer), parent)
    theirs = store.load_model(parent)
    places = {piece: index for index, piece in enumerate(theirs.tokenizers.target.pieces())}
    shared = 0
    for index, piece in enumerate(tokenizer.pieces()):
        expected = theirs.model.output.weight[places[piece]] if piece in places else fresh[index]
        shared += piece in places
        torch.testing.assert_close(child.output.weight[index], expected)
    assert 4 < shared < tokenizer.vocabulary_size
    positions = store.read_weights(parent / "model")
    for name, weight in child.named_parameters():
        if "positions" in name or "learned" in name:
            torch.testing.assert_close(weight, positions[name])
    with pytest.raises(CheckpointError, match=r"cannot start this model: .* the recipe says"):
        initialise(make_model("transformer", tokenizer.vocabulary_size), Tokenizers(tokenizer, tokenizer), parent)


def test_frozen_parameters_stay_and_the_others_move(tmp_path: Path, prepared: Prepared) -> None:
    trainer = Trainer(make_recipe(training={"freeze": ["encoder*", "*norm*"]}), prepared, tmp_path, CPU)
    before = {name: part.detach().clone() for name, part in trainer.model.named_parameters()}
    trainer.run()
    for name, part in trainer.model.named_parameters():
        stays = name.startswith("encoder") or "norm" in name
        assert torch.equal(part, before[name]) == stays, name
    with pytest.raises(ConfigError, match=r"'encodr\*' fits no parameter; they begin with decoder_layers"):
        freeze(trainer.model, ("encodr*",))
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        freeze(trainer.model, ("*",))


def test_the_name_of_a_module_freezes_what_is_below_it() -> None:
    model = make_model("transformer")
    freeze(model, ("source_embedding", "decoder_layers.1"))
    for name, part in model.named_parameters():
        assert part.requires_grad != name.startswith(("source_embedding.", "decoder_layers.1.")), name
    shared = make_model("additive-lstm")
    freeze(shared, ("source_embedding",))
    assert not shared.output.weight.requires_grad


def test_recomputed_layers_have_the_same_gradients() -> None:
    """With dropout on: the second run of a layer draws what the first one drew."""
    batch = collate_like(*make_batch([6, 4]))
    gradients: list[list[torch.Tensor | None]] = []
    for again in (False, True):
        updater = _updater()
        updater.model.recompute = again
        updater._gradients(1, [batch], batch.tokens)
        gradients.append([parameter.grad for parameter in updater.model.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_recomputing_is_refused_for_a_recurrence() -> None:
    with pytest.raises(ConfigError, match=r"training.recompute is for Transformers"):
        make_recipe(RNN, training={"recompute": True})


@pytest.mark.parametrize("name", ["transformer", "additive", "bottleneck"])
def test_a_batch_that_does_not_fit_is_halved(name: str, prepared: Prepared) -> None:
    """The same gradients as in one piece, also where memory ran out in the middle of a backward pass; counted."""
    batch = collate(prepared.train, np.arange(24))
    whole, split = (Updater(make_model(name, 40).train(), TrainingConfig(), CPU, EXACT) for _ in range(2))
    for updater in (whole, split):
        _without_dropout(updater)
    whole._gradients(1, [batch], batch.tokens)
    backward = split._backward

    def small(part: Any, tokens: int) -> torch.Tensor:
        sums = backward(part, tokens)
        if len(part.source) > 7:
            raise torch.OutOfMemoryError("no room")
        return sums

    split._backward = small  # type: ignore[method-assign]
    _, splits = split._gradients(1, [batch], batch.tokens)
    assert splits == 3
    for one, two in zip(whole.model.parameters(), split.model.parameters(), strict=True):
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-9, atol=1e-12)


def test_a_single_sentence_that_does_not_fit_is_an_error() -> None:
    updater = _updater()

    def never(*_: Any) -> torch.Tensor:
        raise torch.OutOfMemoryError("no room")

    updater._backward = never  # type: ignore[method-assign]
    with pytest.raises(torch.OutOfMemoryError):
        updater.update(1, [collate_like(*make_batch([3, 2]))], 1e-3)


def test_a_spike_names_its_batch(tmp_path: Path, prepared: Prepared) -> None:
    """A loss far above the running mean is reported with the pairs of its batch."""
    reports: list[dict[str, Any]] = []
    trainer = Trainer(make_recipe(), prepared, tmp_path, CPU, reports.append)
    trainer.run_folder.create()
    for step, loss in [*((step, 2.0) for step in range(1001, 1300)), (1300, 2.5), (1301, 6.0)]:
        trainer._watch_for_spikes(step, [np.array([4, 7, 4])], loss)
    spikes = [entry for entry in reports if entry["kind"] == "spike"]
    assert [(entry["step"], entry["pairs"]) for entry in spikes] == [(1301, [5, 8])]
    trainer.stream.close()


@pytest.mark.parametrize("metric", ["bleu", "chrf", "loss"])
def test_the_metric_decides_on_the_best(tmp_path: Path, prepared: Prepared, metric: str) -> None:
    reports: list[dict[str, Any]] = []
    recipe = make_recipe(training={"metric": metric, "updates": 12, "validate_every": 3})
    progress = Trainer(recipe, prepared, tmp_path, CPU, reports.append).run()
    scores = {
        entry["step"]: (-entry["loss"] if metric == "loss" else entry[metric], -entry["loss"])
        for entry in reports
        if entry["kind"] == "validation"
    }
    assert scores[progress.best_step] == max(scores.values())
    assert not math.isinf(progress.best_score)


@pytest.mark.parametrize(
    ("last", "chosen"), [(41.0, "step-00000006"), (39.0, "step-00000003"), (40.0, "step-00000003")]
)
def test_search_decides_between_the_best_and_the_last(
    tmp_path: Path, prepared: Prepared, monkeypatch: pytest.MonkeyPatch, last: float, chosen: str
) -> None:
    """The best by greedy translations may be so by luck; of equals it stays."""
    greedy, searched = iter([30.0, 20.0, 20.0]), iter([40.0, last])
    monkeypatch.setattr(
        Validator, "validate", lambda _: Validation(loss=1, perplexity=1, accuracy=1, bleu=next(greedy), chrf=None)
    )
    monkeypatch.setattr(Validator, "searched", lambda _: next(searched))
    reports: list[dict[str, Any]] = []
    recipe = make_recipe(RNN, training={"updates": 6, "validate_every": 3})
    Trainer(recipe, prepared, tmp_path, CPU, reports.append).run()
    assert (reports[-1]["kind"], reports[-1]["checkpoint"]) == ("choice", chosen)
    loaded = store.load_model(tmp_path)
    assert (loaded.path, loaded.card["checkpoint"]) == (tmp_path / "model", chosen)
    assert loaded.card["validation"]["bleu"] == (20.0 if last > 40 else 30.0)
    weights = store.read_weights(tmp_path / "checkpoints" / chosen)
    assert all(bool((part == weights[name]).all()) for name, part in store.read_weights(loaded.path).items())


def test_the_recipes_own_search_is_what_decides(tmp_path: Path, prepared: Prepared) -> None:
    """Its score is that of the model's translations of the validation sentences."""
    recipe = make_recipe(RNN, training={"updates": 3}, search={"beam": 3})
    trainer = Trainer(recipe, prepared, tmp_path, CPU)
    trainer.run()
    translator, validator = Translator(store.load_model(tmp_path)), trainer.validator
    assert translator.search.beam == 3
    assert validator.searched() == bleu(translator.translate(validator.source), validator.target)


def test_automatic_batches_are_doubled_until_memory_runs_out(tmp_path: Path, prepared: Prepared) -> None:
    """Half of the largest size whose largest batch fits in one piece; kept in the checkpoint."""
    recipe = make_recipe(training={"batch_tokens": "auto"})
    trainer = Trainer(recipe, prepared, tmp_path, CPU)
    backward = trainer.updater._backward

    def small(batch: Any, tokens: int) -> torch.Tensor:
        if batch.tokens > 900:
            raise torch.OutOfMemoryError("no room")
        return backward(batch, tokens)

    trainer.updater._backward = small  # type: ignore[method-assign]
    assert _largest_that_fits(trainer.stream, trainer.updater, first=50) == 400
    trainer.stream.close()
    reports: list[dict[str, Any]] = []
    assert Trainer(recipe, prepared, tmp_path, CPU, reports.append).run().batch_tokens == 4096
    assert reports[0]["batch_tokens"] == 4096
