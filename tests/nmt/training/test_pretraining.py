"""Training on text without translations: its lines are noised anew each epoch, beside pairs or alone, in every family."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from command import run
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.corpus.encoded import EncodedCorpus, Ragged
from nmt.corpus.prepared import Prepared
from nmt.corpus.tokenizer import MASK, Tokenizers
from nmt.errors import ConfigError
from nmt.storage.bundle import load_model
from nmt.training.batches import Batch
from nmt.training.events import Started
from nmt.training.stream import BatchStream, StreamPosition
from nmt.training.trainer import Trainer
from nmt_data.cards import load_card
from nmt_data.prepare import prepare
from nmt_data.reading import Split, Unreadable
from tiny import LETTERS, MONO, make_recipe

CPU = torch.device("cpu")
OBJECTIVES = ("denoise", "mass")
PAIRS = 600  # of the letters
LINES = 1200


def _recipe(objective: str = "denoise", model: dict[str, Any] | None = None, **sections: dict[str, Any]) -> Recipe:
    data = {"mono": MONO} | sections.pop("data", {})
    training = {"objective": objective} | sections.pop("training", {})
    return make_recipe(model, data=data, training=training, **sections)


def _epoch(recipe: Recipe, prepared: Prepared, number: int = 0) -> EncodedCorpus:
    with closing(BatchStream(recipe, prepared)) as stream:
        return stream.epoch(number).corpus


def _same(one: Ragged, other: Ragged) -> bool:
    return np.array_equal(one.values, other.values) and np.array_equal(one.offsets, other.offsets)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pairs_stay_and_lines_are_noised_anew(home: Path, objective: str) -> None:
    """Two streams agree on any epoch; two epochs differ; the target is the line, or a part of it."""
    recipe = _recipe(objective)
    prepared = prepare(recipe)
    first, second, again = (_epoch(recipe, prepared, number) for number in (0, 1, 1))
    assert _same(second.source, again.source)
    assert _same(second.target, again.target)
    assert not _same(first.source, second.source)
    plain = prepared.train
    for drawn in (first, second):
        assert _same(drawn.source.rows(0, PAIRS), plain.source.rows(0, PAIRS))
        assert _same(drawn.target.rows(0, PAIRS), plain.target.rows(0, PAIRS))
        assert _same(drawn.target, plain.target) == (objective == "denoise")
        assert len(drawn) == PAIRS + LINES
    mask = prepared.tokenizers.source.pieces().index(MASK)
    hidden = np.mean(first.source.rows(PAIRS, PAIRS + LINES).values == mask)
    assert 0.1 < hidden < 0.5
    assert mask not in first.target.values


def test_any_batch_is_the_same_whenever_it_is_drawn(home: Path) -> None:
    """By a stream that came there by itself, or one that begins there."""
    recipe = _recipe(training={"denoising": {"permute": True, "rotate": True, "delete": 0.1, "mask": 0.1}})
    prepared = prepare(recipe)
    with closing(BatchStream(recipe, prepared)) as stream, closing(BatchStream(recipe, prepared)) as other:
        place = StreamPosition()
        for _ in range(len(stream.epoch(0).plan) + 2):
            place = stream.draw(place).after
        drawn, same = stream.draw(place).batch, other.draw(StreamPosition(1, 2)).batch
        assert isinstance(drawn, Batch)
        assert isinstance(same, Batch)
        assert torch.equal(drawn.source, same.source)
        assert torch.equal(drawn.target_output, same.target_output)


def test_pairs_may_be_left_out(home: Path) -> None:
    """With a weight of 0 batches hold lines alone, all of them; other weights share the rows out."""
    recipe = _recipe(data={"weight": 0})
    prepared = prepare(recipe)
    assert prepare(_recipe()).folder == prepared.folder
    with closing(BatchStream(recipe, prepared)) as stream:
        rows = np.sort(np.concatenate(stream.epoch(3).plan))
        assert np.array_equal(rows, np.arange(PAIRS, PAIRS + LINES))
        assert len(stream.selection.rows) == LINES
    heavy = _recipe(data={"mono": [{**MONO[0], "weight": 4}, MONO[1]]})
    with closing(BatchStream(heavy, prepared)) as stream:
        rows = np.concatenate(stream.epoch(0).plan)
        counts = np.histogram(rows, [0, PAIRS, PAIRS + LINES // 2, PAIRS + LINES])[0]
        assert counts == pytest.approx(np.array([1, 4, 1]) * (PAIRS + LINES) / 6, abs=2)


def test_to_translate_leaves_the_lines_out(home: Path) -> None:
    """They train the tokenizer alone: the batches are those of the pairs."""
    recipe = _recipe("translate")
    prepared = prepare(recipe)
    assert prepared.folder == prepare(_recipe()).folder
    with closing(BatchStream(recipe, prepared)) as stream:
        assert len(np.concatenate(stream.epoch(0).plan)) == len(stream.epoch(0).corpus) == PAIRS


@pytest.mark.parametrize("kind", ["word", "bpe", "unigram", "character"])
def test_tags_stay_at_the_beginning(home: Path, kind: str) -> None:
    """A noised line begins with the tag of its own language, whatever the tokens are."""
    recipe = _recipe(data={"tag_target": True}, tokenizer={"kind": kind, "vocabulary": 24 if kind != "word" else 40})
    prepared = prepare(recipe)
    tokenizer, drawn = prepared.tokenizers.source, _epoch(recipe, prepared)
    parts = [part.tolist() for part in np.split(drawn.source.values, drawn.source.offsets[1:-1])]
    texts = tokenizer.decode(parts)
    assert all(text.strip().startswith("<2output>") for text in texts[:PAIRS])
    assert all(text.strip().startswith("<2input>") for text in texts[PAIRS : PAIRS + LINES // 2])
    assert all(text.strip().startswith("<2output>") for text in texts[PAIRS + LINES // 2 :])
    assert all(text.count("<2") == 1 for text in texts)


def test_subword_noise_and_typing_errors_go_with_it(home: Path) -> None:
    """BPE-dropout cuts lines on both sides alike before they are noised; typing errors are made in pairs alone."""
    recipe = _recipe(
        tokenizer={"kind": "bpe", "vocabulary": 20},
        training={"bpe_dropout": 0.3, "denoising": {"infill": 0.0, "rotate": True}},
    )
    prepared = prepare(recipe)
    drawn = _epoch(recipe, prepared).rows(PAIRS, PAIRS + LINES)
    assert len(drawn.target.values) > len(prepared.train.target.rows(PAIRS, PAIRS + LINES).values)
    assert np.array_equal(drawn.source.lengths, drawn.target.lengths)
    typed = _recipe(training={"typos": 0.5, "denoising": {"infill": 0.0, "rotate": True}})
    prepared = prepare(typed)
    drawn = _epoch(typed, prepared)
    assert not np.array_equal(drawn.source.rows(0, PAIRS).values, prepared.train.source.rows(0, PAIRS).values)
    lines = drawn.rows(PAIRS, PAIRS + LINES)
    assert np.array_equal(lines.source.lengths, lines.target.lengths)
    assert _same(lines.target, prepared.train.target.rows(PAIRS, PAIRS + LINES))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("model", [None, {"kind": "rnn", "embedding": 16, "hidden": 16}], ids=["packed", "padded"])
def test_layouts_of_a_gpu_hold_the_same_lines(home: Path, objective: str, model: dict[str, Any] | None) -> None:
    """In each epoch all rows are laid out, with the tokens that were drawn for that epoch."""
    recipe = _recipe(objective, model, data={"weight": 0})
    prepared = prepare(recipe)
    with closing(BatchStream(recipe, prepared)) as stream:
        stream.lay_out(CPU)
        place = StreamPosition()
        for number in (0, 1):
            epoch, seen, tokens = stream.epoch(number), 0, 0
            for _ in epoch.plan:
                drawn = stream.draw(place)
                place = drawn.after
                assert not isinstance(drawn.batch, Batch)
                seen += len(drawn.rows)
                tokens += drawn.batch.tokens
                expected = epoch.corpus.source.lengths[drawn.rows].sum() + len(drawn.rows)
                wanted = drawn.batch.wanted
                assert int((wanted != 0).sum()) == drawn.batch.tokens
                real = drawn.batch.source[0] if model is None else drawn.batch.source
                padding = 0 if model is None else len(drawn.batch.source) - len(drawn.rows)
                assert int((real != 0).sum()) - padding == expected
            assert seen == LINES
            assert tokens == int(epoch.corpus.target.lengths[PAIRS:].sum()) + LINES


MODELS: dict[str, dict[str, Any]] = {
    "bottleneck": {"kind": "rnn", "attention": "none", "embedding": 16, "hidden": 16},
    "attention": {"kind": "rnn", "embedding": 16, "hidden": 16},
    "convolution": {"kind": "convolution", "embedding": 16, "hidden": 16, "encoder_layers": 1, "decoder_layers": 1},
    "transformer": {
        "kind": "transformer",
        "width": 16,
        "heads": 1,
        "feed_forward": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
    },
}


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("family", MODELS)
def test_every_family_is_pre_trained_and_fine_tuned(tmp_path: Path, family: str, objective: str) -> None:
    """On lines and pairs together, then on pairs alone, with the tokenizer of the first training."""
    recipe = _recipe(objective, MODELS[family])
    Trainer(recipe, prepare(recipe), tmp_path / "first", CPU).run()
    tuned = make_recipe(MODELS[family], training={"initialise": str(tmp_path / "first"), "updates": 2})
    prepared = prepare(tuned)
    assert prepared.mono == []
    assert prepared.tokenizers.fingerprints == load_model(tmp_path / "first").tokenizers.fingerprints
    progress = Trainer(tuned, prepared, tmp_path / "second", CPU).run()
    assert progress.step == 2


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path, prepared: Prepared) -> None:
    """One line, that says how to train another."""
    Trainer(make_recipe(training={"updates": 1}), prepared, tmp_path, CPU).run()
    recipe = _recipe(tokenizer={"model": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"has no <mask>; tokenizer\.model = 'new' trains another"):
        Tokenizers.taken(recipe)


def test_without_pairs_the_last_checkpoint_is_the_model(tmp_path: Path) -> None:
    """No score of translations judges a model that has seen none."""
    recipe = _recipe(data={"weight": 0}, training={"updates": 4, "validate_every": 1, "keep": 4})
    events: list[Any] = []
    Trainer(recipe, prepare(recipe), tmp_path, CPU, events.append).run()
    assert load_model(tmp_path / "model").card["checkpoints"] == ["step-00000004"]
    (started,) = [event for event in events if isinstance(event, Started)]
    assert started.pairs == LINES


def test_both_directions_are_trained_by_the_same_card_twice(home: Path) -> None:
    """Bidirectional pre-training (Ding et al. 2021): the corpus once more, with its languages exchanged and tags."""
    more = [{"corpus": str(LETTERS), "source": "output", "target": "input"}]
    recipe = make_recipe(data={"more": more, "tag_target": True})
    prepared = prepare(recipe)
    text = prepared.training_text()
    assert text.source[PAIRS:] == text.target[:PAIRS]
    assert text.target[PAIRS:] == text.source[:PAIRS]
    assert {line.split()[0] for line in text.tagged[:PAIRS]} == {"<2output>"}
    assert {line.split()[0] for line in text.tagged[PAIRS:]} == {"<2input>"}
    with pytest.raises(ConfigError, match=r"data\.more has several target languages \(output, input\)"):
        make_recipe(data={"more": more})


def test_the_command_shows_lines_as_they_are_trained(tmp_path: Path) -> None:
    """`nmt data show` prints the noised source and the line; training says when lines train the tokenizer alone."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_to_toml(_recipe(data={"weight": 0})))
    shown = run("data", "show", recipe, "--step", "2", "--device", "cpu")
    assert shown.exit_code == 0, shown.output
    rows = [line.split("\t") for line in shown.stdout.splitlines()]
    assert all(int(row) > PAIRS for row, _, _ in rows)
    assert any(f" {MASK} " in source for _, source, _ in rows)
    for _, source, target in rows:
        assert set(source.split()) <= {*target.split(), MASK}
    assert load_recipe(recipe).training.objective == "denoise"
    settings = ("--set", "training.objective=translate", "--set", "data.weight=1", "--device", "cpu")
    trained = run("train", recipe, "--run", tmp_path / "run", *settings)
    assert trained.exit_code == 0, trained.output
    assert "data.mono trains the tokenizer alone" in trained.output


def test_an_update_shows_what_its_batches_show_alone(tmp_path: Path) -> None:
    """Also where they lie in two epochs, which draw other noise. Only a GPU knows how large its batches are."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_to_toml(_recipe(training={"updates": 99, "batch_tokens": 100_000})))

    def shown(step: int, *settings: str) -> tuple[list[str], int]:
        found = run("data", "show", recipe, "--step", str(step), "--device", "cpu", *settings)
        return found.stdout.splitlines(), int(found.stderr.rstrip().rpartition("epoch ")[2])

    batches = [shown(step) for step in range(1, 5)]
    both = [shown(step, "--set", "training.accumulate=2")[0] for step in (1, 2)]
    assert both == [one + other for (one, _), (other, _) in zip(batches[::2], batches[1::2], strict=True)]
    assert [epoch for _, epoch in batches] == [0, 1, 2, 3]
    refused = run("data", "show", recipe, "--step", "1", "--device", "cuda", "--set", "training.batch_tokens=auto")
    assert "give what the log of the run says" in refused.stderr


FEW = {"corpus": "phrasebook", "source": "de", "target": "en", "limit": 100}


def _best_loss(run: Path, data: dict[str, Any], **training: Any) -> float:
    common = {"batch_tokens": 700, "learning_rate": 8e-3, "warmup": 20, "validate_every": 65, "metric": "loss"}
    recipe = make_recipe(
        {"width": 64, "feed_forward": 128, "heads": 2},
        data=data,
        tokenizer={"kind": "bpe", "vocabulary": 400},
        training={**common, **training},
    )
    return Trainer(recipe, prepare(recipe), run, CPU).run().best_loss


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> float:
    """The lowest validation loss of few pairs alone, in as many updates as pre-training and fine-tuning take together."""
    return _best_loss(tmp_path_factory.mktemp("alone"), FEW, updates=260)


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pre_training_helps_where_pairs_are_few(tmp_path: Path, alone: float, objective: str) -> None:
    """Pre-trained on text of both languages and fine-tuned on 100 pairs, a model is better than on these pairs alone."""
    pairs = list(Split(load_card("phrasebook"), "train", "de", "en").read(Unreadable()))
    for side, language in enumerate(("de", "en")):
        chosen = pairs[400 + 4000 * side :][:4000]  # not translations of each other
        (tmp_path / f"text.{language}").write_text("".join(f"{pair[side]}\n" for pair in chosen))
    mono = [{"language": language, "files": [str(tmp_path / f"text.{language}")]} for language in ("de", "en")]
    _best_loss(tmp_path / "first", {**FEW, "mono": mono, "weight": 0}, objective=objective, updates=200)
    tuned = _best_loss(tmp_path / "second", FEW, initialise=str(tmp_path / "first"), updates=60)
    assert tuned < alone - 0.3, (tuned, alone)
