"""Word dropout takes whole embeddings, in training alone."""

from __future__ import annotations

import pytest
import torch

from nmt.models import RnnSeq2Seq
from nmt.models.dropout import drop_words
from nmt.models.transformer.model import TransformerEmbedding
from tiny import make_batch, make_model


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
    """Word dropout changes the output in training mode and leaves evaluation mode unchanged."""
    model = make_model(name)
    source, lengths = make_batch([5, 3])
    plain = model(source, lengths, source)
    for module in model.modules():
        if isinstance(module, TransformerEmbedding):
            module.word_dropout = 0.9
    if isinstance(model, RnnSeq2Seq):
        model.config = model.config.model_copy(update={"word_dropout": 0.9})
    torch.testing.assert_close(model.eval()(source, lengths, source), plain)
    torch.manual_seed(1)
    assert not torch.allclose(model.train()(source, lengths, source), plain)
