"""The view of the beam."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from looking import TEXT, make_translator
from nmt.corpus.tokenizer import EOS
from nmt.inspection.beam import BeamRequest, Tree, beam, searched
from nmt.inspection.surprise import forced
from nmt.translation.result import SearchBatch
from nmt.translation.translator import Translator
from tiny import FAMILIES, VISUAL

SEARCHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "greedy": {"beam": 1},
    "wide": {"beam": 12, "alpha": 0.0},
    "gnmt": {"length_penalty": "gnmt", "stopping": "count"},
    "minimum": {"min_length": 5, "no_repeat_ngram": 1},
    "penalty": {"repetition_penalty": 3.0},
    "coverage": {"coverage_penalty": 0.3},
    "short": {"max_length_constant": 1},
}


def _tree(translator: Translator) -> Tree:
    """Checks the tree of a search against the search that `nmt translate` runs, and returns it."""
    config, source = translator.search, translator.encode(TEXT)
    tree, found = searched(translator, source, config)
    real = translator.decoder.search_batch(SearchBatch([source]), config.beam)[0]
    assert found == real
    finished = [place for place, node in enumerate(tree.nodes) if node.state == "finished"]
    best = sorted(finished, key=lambda place: -tree.nodes[place].score)[: config.beam]
    if not config.coverage_penalty:
        assert [(tree.tokens(place)[:-1], tree.nodes[place].score) for place in best] == [
            (item.tokens, item.score) for item in real
        ]
    for item in real:
        assert tree.path([*item.tokens, EOS])[-1] in finished
    return tree


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("name", FAMILIES | VISUAL)
def test_the_tree_is_that_of_the_search(name: str, single: bool) -> None:
    """What has ended in it are the translations of the real search, with their scores; for every family, to the bit."""
    _tree(make_translator(name, single))


@pytest.mark.parametrize("settings", SEARCHES)
def test_the_tree_obeys_the_settings(settings: str) -> None:
    """Of each step it has the best 2K extensions, of which at most K are kept; no others have children."""
    translator = make_translator("additive", single=True, **SEARCHES[settings])
    nodes, width = _tree(translator).nodes, translator.search.beam
    assert all(nodes[node.parent].state == "kept" for node in nodes[1:])
    for step in range(1, nodes[-1].step + 1):
        level = [node for node in nodes if node.step == step]
        assert len(level) <= max(2 * width, 1)
        assert sum(node.state == "kept" for node in level) <= width
        assert [node.log_probability for node in level] == sorted((x.log_probability for x in level), reverse=True)
        assert all(nodes[node.parent].step == step - 1 for node in level)


@pytest.mark.parametrize("name", ["bottleneck", "convolution", "transformer", "visual"])
def test_a_node_has_the_probability_of_forced_decoding(name: str) -> None:
    """The log-probability of each of its tokens given those before, added up."""
    translator = make_translator(name)
    source = translator.encode(TEXT)
    tree, _ = searched(translator, source, translator.search)
    for place in range(1, len(tree.nodes), 7):
        tokens = tree.tokens(place)
        values = forced(translator, source, tokens[:-1])
        total = sum(float(row[token]) for row, token in zip(values, tokens, strict=True))
        assert tree.nodes[place].log_probability == pytest.approx(total)


def test_an_answer_names_the_best() -> None:
    """The path goes from the root to the end of the first translation; all translations are those of the translator."""
    translator = make_translator("transformer", single=True)
    answer = beam({"m": translator}, BeamRequest(model="m", text=TEXT, beam=3))
    path = [answer["nodes"][place] for place in answer["best"]]
    assert (path[0]["parent"], path[0]["piece"], path[-1]["piece"]) == (None, "<s>", "</s>")
    assert all(child["parent"] == parent["id"] for parent, child in itertools.pairwise(path))
    real = translator.translate_n_best([TEXT], 3, beam=3)[0]
    assert [(item["text"], item["score"]) for item in answer["translations"]] == [(x.text, x.score) for x in real]
    assert path[-1]["score"] == real[0].score
    assert beam({"m": translator}, BeamRequest(model="m", text=TEXT))["beam"] == 4
