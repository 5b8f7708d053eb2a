"""The view of attention."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from looking import ATTENDING, TEXT, make_translator
from nmt.inspection.attention import AttentionRequest, attention
from tiny import VISUAL


@pytest.mark.parametrize("name", ATTENDING)
def test_words_and_weights_fit_together(name: str) -> None:
    """Each target word has a weight for each source word, end counted, in all layers and heads; they add up to one."""
    translator = make_translator(name)
    answer = attention({"m": translator}, AttentionRequest(model="m", text=TEXT, target="The old dog."))
    assert answer["source"] == [*TEXT.split(), "</s>"]
    assert answer["target"] == ["The", "old", "dog.", "</s>"]
    weights = np.array(answer["weights"])
    assert weights.shape == (answer["layers"], answer["heads"], 4, 6)
    sums = weights.sum(-1)
    assert (sums <= 1.001).all() if name == "local-predictive" else (abs(sums - 1) < 1e-3).all()
    if said := translator.translate(TEXT):
        own = attention({"m": translator}, AttentionRequest(model="m", text=TEXT))
        assert own == attention({"m": translator}, AttentionRequest(model="m", text=TEXT, target=said))


@pytest.mark.parametrize("name", ["additive", "sparsemax", "transformer"])
def test_entropy_is_its_formula(name: str) -> None:
    """-sum a log2 a of each word, in plain Python; the mean over words is the entropy of a head."""
    answer = attention({"m": make_translator(name)}, AttentionRequest(model="m", text=TEXT, target="The dog."))
    for layer, heads in enumerate(answer["weights"]):
        for head, words in enumerate(heads):
            entropies = [-sum(share * math.log2(share) for share in word if share > 0) for word in words]
            assert answer["entropy_of_word"][layer][head] == pytest.approx(entropies, abs=3e-3)
            assert answer["entropy"][layer][head] == pytest.approx(sum(entropies) / len(entropies), abs=3e-3)


@pytest.mark.parametrize("name", VISUAL)
def test_a_picture_has_a_weight_for_each_column(name: str) -> None:
    """The line as the model saw it, and for each target word the attention to its columns, a share."""
    answer = attention({"m": make_translator(name)}, AttentionRequest(model="m", text=TEXT, target="The dog."))
    seen = answer["picture"]
    with Image.open(io.BytesIO(base64.b64decode(seen["png"].removeprefix("data:image/png;base64,")))) as picture:
        pixels = np.array(picture)
    assert pixels.shape == (seen["height"], seen["width"])
    assert pixels.max() == 255  # paper
    assert (pixels < 128).any()  # ink
    columns = np.array(seen["columns"])
    assert columns.shape == (3, seen["width"])
    assert columns.min() >= 0
    assert 1 >= columns.max() > 0
    assert (seen["places"] is None) == (name != "visual-cnn")
