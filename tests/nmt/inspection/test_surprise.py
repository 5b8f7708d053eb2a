"""The view of surprise."""

from __future__ import annotations

import math

import pytest
import torch

from looking import TARGET, TEXT, make_translator
from nmt.corpus.tokenizer import BOS, EOS, PAD
from nmt.inspection.surprise import SurpriseRequest, surprise
from tiny import FAMILIES, VISUAL


@pytest.mark.parametrize("name", FAMILIES | VISUAL)
def test_bits_add_up_to_the_score(name: str) -> None:
    """The bits of the pieces, of the words, and the log-probability of forced decoding are one number."""
    translator = make_translator(name)
    for target in (TARGET, ""):
        answer = surprise({"m": translator}, SurpriseRequest(model="m", text=TEXT, target=target))
        score = translator.score_targets([TEXT], [target])[0]
        assert answer["bits"] == pytest.approx(-score.log_probability / math.log(2))
        assert len(answer["pieces"]) == score.tokens
        for part in ("pieces", "words"):
            assert sum(item["bits"] for item in answer[part]) == pytest.approx(answer["bits"])
        assert [item["word"] for item in answer["words"]] == [*target.split(), "</s>"]
        assert answer["bits_per_word"] == pytest.approx(answer["bits"] / len(answer["words"]))


def test_rank_and_the_others_are_those_of_a_step_of_the_model() -> None:
    """Piece by piece, from the logits of `step`: the place among all that may be said, and the five best others."""
    translator = make_translator("transformer")
    model, vocabulary = translator.decoder.model, translator.tokenizers.target.pieces()
    answer = surprise({"m": translator}, SurpriseRequest(model="m", text=TEXT, target=TARGET))
    tokens = translator.encode_target(TARGET)
    source = torch.tensor([[*translator.encode(TEXT), EOS]])
    with torch.inference_mode():
        state = model.start(model.encode(source, torch.tensor([source.shape[1]])), 1)
        for before, token, item in zip([BOS, *tokens], [*tokens, EOS], answer["pieces"], strict=True):
            logits, state = model.step(state, torch.tensor([before]))
            shares = logits[0].softmax(0).tolist()
            ranked = sorted(set(range(len(shares))) - {PAD, BOS}, key=lambda other: -shares[other])
            assert item["piece"] == vocabulary[token]
            assert item["rank"] == 1 + ranked.index(token)
            assert item["probability"] == pytest.approx(shares[token])
            others = [other for other in ranked if other != token][:5]
            assert [other["piece"] for other in item["instead"]] == [vocabulary[other] for other in others]
            assert [other["probability"] for other in item["instead"]] == pytest.approx([shares[x] for x in others])
