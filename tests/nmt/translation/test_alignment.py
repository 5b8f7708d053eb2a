"""Word links, and how good they are, as their papers count."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nmt.config.data import TokenizerConfig
from nmt.corpus.prepared import Prepared
from nmt.corpus.tokenizer import UNK, Tokenizer, Tokenizers
from nmt.decoding.beam_search import Hypothesis
from nmt.errors import ConfigError, DataError
from nmt.models import build_model
from nmt.report.heat_map import blocks
from nmt.storage.bundle import LoadedModel
from nmt.translation.alignment import (
    Gold,
    diagonal,
    grow_diagonal,
    merge_words,
    pharaoh,
    read_gold,
    score_links,
)
from nmt.translation.attention import Attention, attend
from nmt.translation.result import Options
from nmt.translation.translator import Translator
from tiny import FAMILIES, make_recipe


def test_attention_to_a_word_is_a_sum_and_of_a_word_a_mean() -> None:
    """Of every layer and head at once; what lies beyond the pieces is left out."""
    weights = torch.tensor([[[0.3, 0.3, 0.2, 0.2], [0.1, 0.1, 0.6, 0.2], [0.0, 0.0, 0.1, 0.9]]])
    merged = merge_words(weights, [0, 0, 1], [0, 0])
    torch.testing.assert_close(merged, torch.tensor([[[0.4, 0.4]]], dtype=torch.float64))


def test_error_rate_is_the_formula() -> None:
    """Och and Ney 2003, section 5.1: sure links count twice, possible ones do no harm."""
    gold = read_gold(["1-1 2p2 3-2", "1p1"], "gold")
    assert gold[0] == Gold(frozenset({(0, 0), (2, 1)}), frozenset({(0, 0), (2, 1), (1, 1)}))
    score = score_links([{(0, 0), (1, 1), (1, 0)}, {(0, 0)}], gold)
    assert score.error_rate == pytest.approx(1 - (1 + 3) / (4 + 2))
    assert score.precision == pytest.approx(3 / 4)
    assert score.recall == pytest.approx(1 / 2)
    assert score_links([set(item.sure) for item in gold], gold).error_rate == 0.0


def test_links_that_cannot_be_read_name_their_line() -> None:
    """A malformed gold alignment raises an error with the file and line number."""
    for text in ("1-1 2:2", "0-1", "1-", "p"):
        with pytest.raises(DataError, match=r"gold, line 2: .* is no link"):
            read_gold(["1-1", text], "gold")


def test_both_directions_grow_along_their_neighbours() -> None:
    """Koehn et al. 2003, section 3.2: from the intersection, by links beside it that cover a word that has none."""
    one, other = {(0, 0), (1, 1), (3, 3)}, {(0, 0), (2, 1), (5, 0), (3, 3)}
    assert grow_diagonal(one, other) == {(0, 0), (1, 1), (2, 1), (3, 3)}
    assert grow_diagonal(one, one) == one
    assert grow_diagonal(set(), other) == set()


def test_the_diagonal_links_each_target_word_once() -> None:
    """The diagonal baseline aligns each target position once, proportionally where lengths differ."""
    assert diagonal(3, 3) == {(0, 0), (1, 1), (2, 2)}
    assert diagonal(4, 2) == {(1, 0), (3, 1)}
    assert {target for _, target in diagonal(2, 5)} == set(range(5))
    assert pharaoh({(2, 1), (0, 0)}) == "0-0 2-1"


@pytest.mark.parametrize("name", [name for name in FAMILIES if not name.startswith("bottleneck")])
def test_every_family_shows_its_layers_and_heads(name: str, prepared: Prepared) -> None:
    """Attention of each layer and head adds up to one for each word (a Gaussian window: to less), end counted."""
    torch.manual_seed(0)
    size = prepared.tokenizers.source.vocabulary_size
    model = build_model(FAMILIES[name], size, size).eval()
    loaded = LoadedModel(model, prepared.tokenizers, make_recipe(), prepared.folder, {})
    seen = attend(Translator(loaded), "a b c d", "d c b")
    config = FAMILIES[name]
    assert config.kind != "visual"
    layers = config.decoder_layers if config.kind != "rnn" else 1
    heads = config.heads if config.kind == "transformer" else 1
    assert seen.maps.shape == (layers, heads, 4, 5)
    assert seen.shifted.shape == (layers, heads, 3, 4)
    sums = seen.maps.sum(-1)
    if name == "local-predictive":
        assert (sums <= 1 + 1e-5).all()
    else:
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=1e-5, atol=1e-5)
    assert seen.entropy.shape == (layers, heads)
    assert {target for _, target in seen.links()} == {0, 1, 2}
    torch.testing.assert_close(seen.shifted, seen.maps[:, :, 1:, :4])


def test_unknown_words_are_words(tmp_path: Path) -> None:
    """Each is copied from the word attended to, as it stands in the source, and links count it; a tag is no word."""
    lines = ["der Hund und die Katze"] * 3
    tokenizer = Tokenizer.train(lines, TokenizerConfig(kind="word", vocabulary=30, user_symbols=("<2en>",)))
    data = {"corpus": "x", "source": "de", "target": "en", "tag_target": True}
    model = build_model(FAMILIES["additive"], tokenizer.vocabulary_size, tokenizer.vocabulary_size).eval()
    loaded = LoadedModel(model, Tokenizers(tokenizer, tokenizer), make_recipe(data=data), tmp_path, {})
    translator = Translator(loaded, options=Options(align=True, replace_unknown=True))
    said = [UNK, *tokenizer.encode(["und"])[0], UNK]
    line = "Kater und Zwiebeln"
    tag = len(translator.encode(line)) - 3
    assert tag > 0
    maps = torch.eye(4 + tag)[None, [tag + 2, tag + 1, tag, tag + 3]]  # the source read backwards, then its end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translator.decoder, "search_batch", lambda *_: [[Hypothesis(said, -1.0, -1.0, cut=False)]])
        patch.setattr(translator.decoder.model, "attention", lambda *_: maps)
        found = translator.translate_n_best([line], 1)[0][0]
    assert found.text == "Zwiebeln und Kater"
    assert found.alignment == [(2, 0), (1, 1), (0, 2)]
    assert translator.encode("<2en> Kater") == translator.encode("Kater")
    assert len(translator.encode("<20 Kater")) == tag + 2  # no tag, though it looks like the beginning of one
    seen = attend(translator, line, "Kater Kater")
    assert seen.source == ["Kater", "und", "Zwiebeln"]
    assert seen.maps.shape[2:] == (3, 4)


def test_links_go_from_either_side() -> None:
    """Each target word has one, or each source word, or what both agree on and its neighbours."""
    weights = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.3, 0.6]])
    seen = Attention(["a", "b", "c"], ["x", "y"], weights[None, None], weights[None, None], layer=0, shifted_layer=0)
    assert seen.links() == {(0, 0), (2, 1)}
    assert seen.links(way="source") == {(0, 0), (1, 0), (2, 1)}
    assert seen.links(way="both") == {(0, 0), (1, 0), (2, 1)}


def test_layers_and_heads_are_chosen_from_one() -> None:
    """Layers and heads count from one, heads are averaged by default, and numbers outside are refused."""
    maps = torch.arange(2 * 2 * 2 * 2, dtype=torch.float64).view(2, 2, 2, 2)
    seen = Attention(["a"], ["b"], maps, maps[:, :, 1:, :1], layer=0, shifted_layer=1)
    assert torch.equal(seen.chosen(2, 1), maps[1, 0])
    assert torch.equal(seen.chosen(), maps[0].mean(0))
    assert torch.equal(seen.chosen(shifted=True), maps[1, :, 1:, :1].mean(0))
    for layer, head in ((3, None), (0, None), (None, 3)):
        with pytest.raises(ConfigError, match="must be between 1 and 2"):
            seen.chosen(layer, head)


def test_blocks_stand_under_their_words() -> None:
    """The attention drawing puts each column of shading below the source word it belongs to."""
    shown = blocks(["x", "yy"], ["long", "s"], torch.tensor([[1.0, 0.0], [0.0, 0.5]]))
    assert shown.splitlines() == [
        "     \u250c\u2500 x",
        "     \u2502 \u250c\u2500 yy",
        "long \u2588\u2588  ",
        "   s   \u2592\u2592",
    ]
