"""Layers that are compiled, or run again in the backward pass, compute the same."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from nmt.errors import ConfigError
from tiny import make_batch, make_model, make_recipe
from updating import copying_batch, make_updater

CPU = torch.device("cpu")


RNN = {"kind": "rnn", "embedding": 16, "hidden": 16}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("convolution", "aot_eager"),
        *(
            pytest.param(name, "inductor", marks=pytest.mark.thorough)
            for name in ("additive", "convolution", "transformer")
        ),
    ],
)
def test_compiled_is_plain(name: str, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same states and gradients for any shapes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
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


def test_recomputed_layers_have_the_same_gradients() -> None:
    """With dropout on: the second run of a layer draws what the first one drew."""
    batch = copying_batch(*make_batch([6, 4]))
    gradients: list[list[torch.Tensor | None]] = []
    for again in (False, True):
        updater = make_updater()
        updater.model.recompute = again
        updater._gradients(1, [batch], batch.tokens)
        gradients.append([parameter.grad for parameter in updater.model.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_recomputing_is_refused_for_a_recurrence() -> None:
    """A recipe that asks for recomputation in an RNN is a configuration error."""
    with pytest.raises(ConfigError, match=r"training.recompute is for Transformers"):
        make_recipe(RNN, training={"recompute": True})
