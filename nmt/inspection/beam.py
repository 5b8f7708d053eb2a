"""The beam as a tree: every hypothesis that the search looked at, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from nmt.config.search import SearchConfig, extensions_of
from nmt.corpus.tokenizer import BOS, EOS
from nmt.decoding.beam_search import Hypothesis, beam_search, configured_rules, length_limits, length_penalty
from nmt.decoding.candidates import extend
from nmt.decoding.rules import Extension, Rule
from nmt.inspection.asking import OneModel, Translators, chosen, plain_search, source_batch, source_tokens
from nmt.models.protocol import Seq2Seq
from nmt.translation.hypothesis_attention import attention_of, ranked_by_coverage
from nmt.translation.result import Start
from nmt.translation.translator import Translator
from nmt.translation.wording import Wording

# K beam, R rows, V vocabulary, T positions so far; one sentence is searched


class BeamRequest(OneModel):
    """Asks how a translation was searched."""

    beam: Annotated[int, Field(ge=1, le=20)] | None = None
    """Hypotheses that the search keeps; the model's own number if left out."""


State = Literal["kept", "pruned", "finished"]


@dataclass
class Node:
    """One extension of a hypothesis by one token."""

    parent: int
    """Index of the hypothesis that it extends; -1: none, this is the root."""
    step: int
    """Tokens so far, this one included."""
    token: int
    log_probability: float
    """Natural logarithm of the probability of all tokens so far."""
    score: float
    """Log-probability divided by the length penalty."""
    state: State


@dataclass
class Tree:
    """The nodes of a search, the root first, and in each step the best first."""

    nodes: list[Node] = field(default_factory=lambda: [Node(-1, 0, BOS, 0.0, 0.0, "kept")])

    def path(self, tokens: Sequence[int]) -> list[int]:
        """Returns the nodes from the root that say these tokens."""
        places = {(node.parent, node.token): place for place, node in enumerate(self.nodes)}
        found = [0]
        for token in tokens:
            found.append(places[found[-1], token])
        return found

    def tokens(self, place: int) -> list[int]:
        """Returns the tokens from the root to a node."""
        said: list[int] = []
        while place > 0:
            said.append(self.nodes[place].token)
            place = self.nodes[place].parent
        return said[::-1]


class Watched:
    """A model in the protocol of search that draws the tree of the search which steps it, for one sentence.

    In each step the search gives the last tokens, takes the logits, and says which rows go on. From the logits the search's own
    function `extend` finds the best extensions. The rows and tokens tell which of them were kept.
    """

    def __init__(self, model: Seq2Seq[Any, Any], config: SearchConfig, rules: Sequence[Rule]) -> None:
        self.model, self.config, self.rules, self.tree = model, config, rules, Tree()
        self._live: list[int] = [0]  # the node of each row; -1: none
        self._rows: list[int] = []  # the row that each row continues
        self._found: dict[tuple[int, int], int] = {}  # the node by row and token, of the last step

    def encode(self, source: Tensor, lengths: Tensor) -> Any:
        """See `Seq2Seq.encode`."""
        self._limits = length_limits(lengths.to(source.device), self.config, self.rules)  # (1,)
        places = torch.arange(int(self._limits[0]) + 1, dtype=torch.float64)
        self._divisors: list[float] = length_penalty(self.config)(places).tolist()
        self._history = source.new_zeros((1, 0))  # (R, T)
        return self.model.encode(source, lengths)

    def start(self, memory: Any, beam: int) -> Any:
        """See `Seq2Seq.start`."""
        return self.model.start(memory, beam)

    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        """See `Seq2Seq.step`."""
        if self._rows:
            self._keep(tokens)
        logits, state = self.model.step(state, tokens)
        self._extend(logits)
        return logits, state

    def reorder(self, state: Any, rows: Tensor, beam: int) -> Any:
        """See `Seq2Seq.reorder`."""
        self._rows = rows.tolist()
        return self.model.reorder(state, rows, beam)

    def _keep(self, tokens: Tensor) -> None:
        """Marks the extensions that the search goes on with; a row of no hypothesis has none."""
        pairs = zip(self._rows, tokens.tolist(), strict=True)
        self._live = [-1 if token == EOS else self._found.get((row, token), -1) for row, token in pairs]
        for place in self._live:
            if place >= 0:
                self.tree.nodes[place].state = "kept"
        self._history = torch.cat([self._history[torch.tensor(self._rows, device=tokens.device)], tokens[:, None]], 1)

    def _extend(self, logits: Tensor) -> None:
        """Adds the best extensions of a step, as steps 2 and 3 of `nmt.decoding.beam_search.beam_search` choose them."""
        beam, length, nodes = self.config.beam, self._history.shape[1] + 1, self.tree.nodes
        said = [nodes[place].log_probability if place >= 0 else -torch.inf for place in self._live]
        scores = torch.tensor([said], dtype=torch.float64, device=logits.device)
        at_limit = self._limits == length if length == self._limits[0] else None
        extension = Extension(torch.zeros_like(self._limits), self._history, len(said), self._limits)
        best = extend(scores, logits, extensions_of(beam), self.rules, extension, at_limit)
        self._found = {}
        for rank, (value, row, token) in enumerate(zip(*(part[0].tolist() for part in best), strict=True)):
            if value > -torch.inf:
                self._found[row, token] = len(nodes)
                state: State = "finished" if token == EOS and rank < beam else "pruned"
                nodes.append(Node(self._live[row], length, token, value, value / self._divisors[length], state))


def beam(translators: Translators, request: BeamRequest) -> dict[str, Any]:
    """Returns the tree of the search for the `beam` best translations, the path to the best, and the translations.

    The score of a node is log p / penalty(length). `finished` nodes ended among the best K extensions of their step. `kept`
    ones were extended. `pruned` ones were not: others were better, or the search had found all that it was asked for.

    Raises:
        NmtError: the text has no words, or the model does not search by plain beam search.
    """
    translator = chosen(translators, request.model, request.target_language)
    config = plain_search(translator, request.beam)
    tokens = source_tokens(translator, request.text)
    tree, found = searched(translator, tokens, config)
    names = translator.tokenizers.target.id_to_pieces([node.token for node in tree.nodes])
    nodes = [
        {
            "id": place,
            "parent": None if node.parent < 0 else node.parent,
            "step": node.step,
            "piece": name,
            "log_probability": node.log_probability,
            "score": node.score,
            "state": node.state,
        }
        for place, (node, name) in enumerate(zip(tree.nodes, names, strict=True))
    ]
    (texts,) = Wording(translator.tokenizers, translator.options, None).texts([found], [Start()])
    return {
        "nodes": nodes,
        "best": tree.path([*found[0].tokens, EOS]),
        "translations": [{"text": item.text, "score": item.score} for item in texts],
        "beam": config.beam,
    }


def searched(translator: Translator, tokens: list[int], config: SearchConfig) -> tuple[Tree, list[Hypothesis]]:
    """Returns the tree of a search for source tokens, and its `beam` best hypotheses."""
    rules = configured_rules(config)
    watched = Watched(translator.decoder.stepped, config, rules)
    found = beam_search(watched, *source_batch(translator, tokens), config, config.beam, rules)
    return watched.tree, reranked(translator, [tokens], found, config)[0]


def reranked(
    translator: Translator, sources: Sequence[list[int]], found: list[list[Hypothesis]], config: SearchConfig
) -> list[list[Hypothesis]]:
    """Returns hypotheses in the order of the settings: with a coverage penalty another one than that of the search."""
    if not config.coverage_penalty:
        return found
    weights = attention_of(translator.decoder.model, translator.device, sources, found)
    return ranked_by_coverage(found, weights, sources, config.coverage_penalty)
