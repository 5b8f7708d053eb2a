"""All families keep the promises of the protocol: padding changes nothing, a step is a slice of teacher forcing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from nmt.config.model import ConvolutionConfig, RnnConfig
from nmt.corpus.tokenizer import BOS, PAD
from nmt.fast.inference import fastest_decoder
from nmt.fast.slots import SlotState
from nmt.models import Convolution, Model, build_model
from nmt.models.dropout import drop
from nmt.models.protocol import Seq2Seq
from nmt.models.rnn.model import RnnSeq2Seq
from tiny import FAMILIES, VOCABULARY, make_batch, make_model

Searched = Seq2Seq[Any, Any]
LENGTHS = [9, 4, 7, 2]


def test_padding_changes_nothing(model: Model) -> None:
    """A sentence in a padded batch gives the hidden states that it gives alone, and more padding the same again."""
    source, lengths = make_batch(LENGTHS)
    target = make_batch([6] * 4, seed=2)[0]
    hidden = model(source, lengths, target)
    wider = model(torch.nn.functional.pad(source, (0, 3), value=PAD), lengths, target)
    torch.testing.assert_close(hidden, wider, rtol=1e-12, atol=1e-12)
    for row, length in enumerate(LENGTHS):
        alone = model(source[row : row + 1, :length], lengths[row : row + 1], target[row : row + 1])
        torch.testing.assert_close(hidden[row : row + 1], alone, rtol=1e-10, atol=1e-12)


def test_padding_has_no_gradient(model: Model) -> None:
    """The embedding of padding learns nothing from the source."""
    source, lengths = make_batch(LENGTHS)
    model(source, lengths, make_batch([6] * 4, seed=2)[0]).sum().backward()
    table = dict(model.named_parameters()).get("source_embedding.weight")
    if table is not None and table.grad is not None:
        assert (table.grad[PAD] == 0).all()


@pytest.fixture(params=[False, True], ids=["plain", "as search runs it"])
def searched(request: pytest.FixtureRequest, model: Model) -> Searched:
    """The model itself, and what takes its place in search without kernels."""
    return fastest_decoder(model) if request.param else model


def test_steps_equal_teacher_forcing(model: Model, searched: Searched) -> None:
    """Decoding token by token, with a beam, gives the logits of the whole target at once."""
    source, lengths = make_batch(LENGTHS)
    target = make_batch([6] * 4, seed=2)[0]
    target[:, 0] = BOS
    forced = model.output(model(source, lengths, target))
    with torch.no_grad():
        state = searched.start(searched.encode(source, lengths), 3)
        for position in range(6):
            logits, state = searched.step(state, target[:, position].repeat_interleave(3))
            expected = forced[:, position].repeat_interleave(3, 0)
            torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-12)


def test_reorder_moves_hypotheses_and_drops_sentences(model: Model, searched: Searched) -> None:
    """After rows are chosen, each goes on as if it had been decoded alone."""
    source, lengths = make_batch(LENGTHS)
    tokens = torch.tensor([5, 6, 7, 8, 9, 10, 11, 12])
    following = torch.tensor([13, 14, 15, 16])
    with torch.no_grad():
        state = searched.start(searched.encode(source, lengths), 2)
        _, state = searched.step(state, tokens)
        rows = torch.tensor([3, 2, 7, 7])  # sentences 1 and 3 stay
        logits, _ = searched.step(searched.reorder(state, rows, 2), following)
        for index, row in enumerate(rows.tolist()):
            sentence = row // 2
            single = searched.start(
                searched.encode(source[sentence : sentence + 1, : LENGTHS[sentence]], lengths[sentence : sentence + 1]),
                1,
            )
            _, single = searched.step(single, tokens[row : row + 1])
            expected, _ = searched.step(single, following[index : index + 1])
            torch.testing.assert_close(logits[index : index + 1], expected, rtol=1e-10, atol=1e-12)


def test_hypotheses_may_change_places_at_any_step(model: Model, searched: Searched) -> None:
    """However they go on from each other, the last logits are those of what each has said."""
    source, lengths = make_batch(LENGTHS)
    beam, steps = 3, 20
    generator = torch.Generator().manual_seed(4)
    rows = torch.arange(len(LENGTHS) * beam)
    said = torch.full((len(rows), 1), BOS)
    with torch.no_grad():
        state = searched.start(searched.encode(source, lengths), beam)
        for _ in range(steps):
            _, state = searched.step(state, said[:, -1])
            origins = rows - rows % beam + torch.randint(beam, rows.shape, generator=generator)
            state = searched.reorder(state, origins, beam)
            tokens = torch.randint(4, VOCABULARY, (len(rows), 1), generator=generator)
            said = torch.cat([said[origins], tokens], 1)
        logits, state = searched.step(state, said[:, -1])
        whole = model.output(model(source.repeat_interleave(beam, 0), lengths.repeat_interleave(beam), said))
    torch.testing.assert_close(logits, whole[:, -1], rtol=1e-10, atol=1e-11)
    if isinstance(state, SlotState):  # what no hypothesis goes on from has made room
        assert state.slots.seen.shape[2] < beam * steps * 0.75


def test_every_parameter_learns(model: Model) -> None:
    """No part is dead: each parameter has a gradient somewhere."""
    source, lengths = make_batch(LENGTHS)
    hidden = model(source, lengths, make_batch([6] * 4, seed=2)[0])
    model.output(hidden).square().sum().backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    there = {name: parameter for name, parameter in trained.items() if parameter.numel()}
    dead = [name for name, parameter in there.items() if parameter.grad is None or not parameter.grad.any()]
    config = getattr(model, "config", None)
    if isinstance(config, RnnConfig) and config.weighting == "hard":  # its scores learn by reward alone
        dead = [name for name in dead if not name.startswith("decoder.score")]
    assert dead in ([], ["decoder.score.query.weight"])


@pytest.mark.parametrize("name", FAMILIES)
def test_initial_predictions_are_near_uniform(name: str) -> None:
    """The loss of an untrained model is close to log V: the initialisation is sane."""
    torch.manual_seed(0)
    fresh = build_model(FAMILIES[name], 1000, 1000).eval()
    source, lengths = make_batch([12, 9], vocabulary=1000)
    with torch.no_grad():
        log_probabilities = fresh.output(fresh(source, lengths, source)).log_softmax(-1)
    loss = -log_probabilities.gather(2, source[:, :, None]).mean().item()
    assert loss < 2 * torch.tensor(1000.0).log().item()


@pytest.mark.parametrize(("feed", "seen"), [("state", False), ("first", True), ("every", True)])
def test_after_the_first_state_a_fixed_vector_is_seen_as_the_recipe_says(feed: str, seen: bool) -> None:
    """Another vector with the same first state changes the outputs with `first` and `every`, and not with `state`."""
    config = RnnConfig.model_validate({"attention": "none", "embedding": 12, "hidden": 10, "feed_summary": feed})
    model = build_model(config, VOCABULARY, VOCABULARY).eval()
    assert isinstance(model, RnnSeq2Seq)
    source, lengths = make_batch([3, 5])
    memory = model.encode(source, lengths)
    other = replace(memory, summary=memory.summary + 1)
    words = model.target_embedding(source)
    outs = [model.readout(words, model.decoder(words, some, model.first(memory))) for some in (memory, other)]
    assert torch.equal(outs[0], outs[1]) is not seen
    assert not torch.equal(outs[0], model.readout(words, model.decoder(words, memory, model.first(other))))


def test_parameters_are_counted_once() -> None:
    """A shared embedding is one matrix."""
    tied = make_model("transformer")
    assert tied.parameter_count == sum(parameter.numel() for parameter in set(tied.parameters()))
    tables = [p for p in tied.parameters() if p.shape == (VOCABULARY, 12)]
    assert len(tables) == 1


def test_dropout_keeps_the_mean_and_scales_the_gradient() -> None:
    """A share p is zero, the rest is divided by 1 - p, and the gradient uses the same mask."""
    torch.manual_seed(1)
    states = torch.ones(400, 257, dtype=torch.float64, requires_grad=True)
    result = drop(states, 0.3)
    result.sum().backward()
    kept = result != 0
    assert kept.double().mean().item() == pytest.approx(0.7, abs=0.01)
    torch.testing.assert_close(result[kept], torch.full_like(result[kept], 1 / 0.7), rtol=1e-4, atol=0)
    torch.testing.assert_close(states.grad, result.detach())
    assert drop(states, 0.0) is states


def test_a_convolution_sees_its_receptive_field_and_no_future() -> None:
    """A target position depends on itself and the positions that the stack of kernels reaches back to, and no other."""
    torch.manual_seed(3)
    config = ConvolutionConfig(embedding=8, hidden=8, encoder_layers=2, decoder_layers=2, kernel=3)
    model = Convolution(config, VOCABULARY, VOCABULARY).double().eval()
    assert model.receptive_field == (5, 5)
    source, lengths = make_batch([5])
    target = torch.randint(4, VOCABULARY, (1, 12))
    plain = model(source, lengths, target)
    changed = target.clone()
    changed[0, 4] = 5 if int(target[0, 4]) != 5 else 6
    moved = (model(source, lengths, changed) - plain).abs().amax(-1)[0] > 1e-12
    assert moved.tolist() == [4 <= place <= 8 for place in range(12)]


def test_a_convolution_keeps_variance_through_its_layers() -> None:
    """What the initialisation of Gehring et al. is for: states neither vanish nor explode with depth."""
    torch.manual_seed(3)
    config = ConvolutionConfig(embedding=256, hidden=256, encoder_layers=12, decoder_layers=1, dropout=0.0)
    model = Convolution(config, 500, 500).eval()
    states = torch.randn(8, 20, 256)
    for layer in model._encoder:
        states = (layer(torch.nn.functional.pad(states, (0, 0, 1, 1))) + states) * 0.5**0.5
    assert 0.5 < float(states.detach().std()) < 6
