"""A vocabulary shortlist: the target tokens that a source token may become. Search scores only a few hundred tokens.

Jean et al. 2015, section 3.2, with the candidates of a lexical model (L'Hostis et al. 2016) trained on the encoded corpus.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from nmt.corpus.encoded import EncodedCorpus, Ragged, blocks
from nmt.corpus.model_one import Meetings, TranslationTable
from nmt.corpus.plans import tally
from nmt.corpus.tokenizer import EOS
from nmt.decoding.beam_search import Hypothesis
from nmt.errors import CheckpointError
from nmt.fast.inference import fastest_decoder, output_for_inference
from nmt.models import Model
from nmt.runtime.atomic import atomic_write
from nmt.runtime.device import SearchPrecision
from nmt.runtime.stages import counted, stage
from nmt.runtime.untrusted import open_regular

# B sentences, S source positions, V vocabulary, N shortlisted tokens of a batch

_SPECIAL = EOS + 1  # padding, unknown, begin, end: always listed, and first
_PAIRS = 100_000  # training pairs read, spread evenly over the corpus
_LONGEST = 40  # longest side in tokens of these pairs
_ROUNDS = 4  # iterations of expectation maximisation


@dataclass(frozen=True)
class Shortlist:
    """Candidate target tokens for each source token."""

    table: Tensor
    """(source V, C) target ids, most probable first."""
    frequent: Tensor
    """Target ids that are always candidates, the special ones included."""
    vocabulary: Mapping[str, str]
    """Fingerprints of the tokenizers that the ids belong to."""

    @classmethod
    def build(
        cls,
        corpus: EncodedCorpus,
        sizes: tuple[int, int],
        vocabulary: Mapping[str, str],
        each: int = 40,
        frequent: int = 200,
    ) -> Shortlist:
        """Trains IBM model 1 (Brown et al. 1993) and keeps the most probable translations of each source token.

        Args:
            corpus: encoded pairs.
            sizes: number of tokens of the two vocabularies.
            vocabulary: fingerprints of the tokenizers.
            each: candidates per source token.
            frequent: number of frequent target tokens that are always candidates.
        """
        with stage("counting which tokens meet"):
            meetings = _meetings(corpus)
        rounds = counted(range(_ROUNDS), "estimating translations of tokens", _ROUNDS, "rounds")
        learned = TranslationTable.learned(meetings, sizes, rounds)
        keys, probability = learned.keys, learned.probability
        each = min(each, sizes[1])
        order = np.lexsort((-probability, keys // sizes[1]))
        owners = (keys // sizes[1])[order]
        rank = np.arange(len(owners)) - np.searchsorted(owners, owners)
        table = np.zeros((sizes[0], each), dtype=np.int64)
        kept = rank < each
        table[owners[kept], rank[kept]] = (keys % sizes[1])[order][kept]
        counts = tally(corpus.target.values[part] for part in blocks(len(corpus.target.values)))
        counts = np.append(counts, np.zeros(max(0, sizes[1] - len(counts)), np.int64))
        counts[:_SPECIAL] = counts.max() + 1
        common = np.sort(np.argsort(-counts, kind="stable")[: frequent + _SPECIAL])
        return cls(torch.from_numpy(table), torch.from_numpy(common), dict(vocabulary))

    def save(self, path: Path) -> None:
        """Writes the file that `load` reads."""
        atomic_write(path, save({"table": self.table.int(), "frequent": self.frequent.int()}, dict(self.vocabulary)))

    @classmethod
    def load(cls, path: Path, vocabulary: Mapping[str, str], sizes: tuple[int, int]) -> Shortlist:
        """Reads a shortlist and checks that it was made for these tokenizers and sizes.

        Raises:
            CheckpointError: the file is missing, damaged, or made for other tokenizers.
        """
        try:
            open_regular(path).close()
            with safe_open(path, "pt") as file:
                found: dict[str, str] = file.metadata() or {}
                table, frequent = file.get_tensor("table").long(), file.get_tensor("frequent").long()
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path}: cannot be read as a shortlist: {error}") from None
        if found != dict(vocabulary):
            raise CheckpointError(f"{path}: was made for other tokenizers than the model's")
        ids = torch.cat([table.flatten(), frequent.flatten()])
        whole = table.dim() == 2 and frequent.dim() == 1 and len(table) == sizes[0] and ids.numel() > 0
        if not (whole and 0 <= int(ids.min()) <= int(ids.max()) < sizes[1]):
            raise CheckpointError(f"{path}: cannot be read as a shortlist: its tables do not fit the model")
        return cls(table, frequent, found)

    def candidates(self, source: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Returns the ascending target ids (N,) that sentences (B, S) need together, and which each one needs (B, N)."""
        own = torch.zeros((len(source), size), dtype=torch.bool)
        own[:, self.frequent] = True
        own.scatter_(1, self.table[source.cpu()].flatten(1), True)
        ids = own.any(0).nonzero().squeeze(1)
        return ids, own[:, ids]


class Shortlisted:
    """A model with only the shortlisted tokens. It follows the protocol of search, with ids of the list.

    Each sentence has its own tokens, so that its neighbours in a batch change nothing. Probabilities are normalised over the
    tokens of the sentence.
    """

    def __init__(self, model: Model, output: nn.Linear, shortlist: Shortlist, precision: SearchPrecision) -> None:
        """Takes a model ready for search, and its original output layer."""
        self.model, self.searched, self.shortlist = model, fastest_decoder(model), shortlist
        self.precision: SearchPrecision = precision
        self.full, self.plain = model.output, output
        self.ids = torch.arange(output.out_features)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Any, Tensor]:
        """See `Seq2Seq.encode`; also restricts the output layer to the tokens of these sentences."""
        memory = self.searched.encode(source, lengths)
        ids, own = self.shortlist.candidates(source, self.plain.out_features)
        self.ids = ids.to(source.device)
        part = nn.Linear(self.plain.in_features, len(ids), device="meta")
        part.weight, part.bias = (nn.Parameter(value[ids], False) for value in (self.plain.weight, self.plain.bias))
        self.model.replace_output(output_for_inference(part, self.precision, source.device))
        hidden = torch.zeros(own.shape, dtype=torch.float32).masked_fill_(~own, -torch.inf)
        return memory, hidden.to(source.device)

    def start(self, memory: tuple[Any, Tensor], beam: int) -> tuple[Any, Tensor, int]:
        """See `Seq2Seq.start`."""
        return self.searched.start(memory[0], beam), memory[1], beam

    def step(self, state: tuple[Any, Tensor, int], tokens: Tensor) -> tuple[Tensor, tuple[Any, Tensor, int]]:
        """See `Seq2Seq.step`; tokens and logits (R, N) use ids of the list."""
        inner, hidden, beam = state
        logits, inner = self.searched.step(inner, self.ids[tokens])
        return logits + hidden.repeat_interleave(beam, 0), (inner, hidden, beam)

    def reorder(self, state: tuple[Any, Tensor, int], rows: Tensor, beam: int) -> tuple[Any, Tensor, int]:
        """See `Seq2Seq.reorder`."""
        inner, hidden, before = state
        if len(rows) != len(hidden) * beam:
            hidden = hidden[torch.div(rows[::beam], before, rounding_mode="floor")]
        return self.searched.reorder(inner, rows, beam), hidden, beam

    def __enter__(self) -> Self:
        """Begins a search."""
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the model its whole output layer back, which `encode` replaced, however the search ends."""
        self.model.replace_output(self.full)

    def finished(self, found: list[list[Hypothesis]]) -> list[list[Hypothesis]]:
        """Converts hypotheses to ids of the whole vocabulary."""
        return [[replace(item, tokens=self.ids[item.tokens].tolist()) for item in items] for items in found]


def _meetings(corpus: EncodedCorpus) -> Meetings:
    """Returns what meets in some pairs of the corpus."""
    total = len(corpus)
    rows = np.linspace(0, total - 1, min(_PAIRS, total)).astype(np.int64)
    left, right = corpus.source.lengths_of(rows), corpus.target.lengths_of(rows)
    rows = rows[(left <= _LONGEST) & (right <= _LONGEST) & (left > 0) & (right > 0)]
    sides = [
        (side.values[_places(side, rows)].astype(np.int64), side.lengths_of(rows))
        for side in (corpus.source, corpus.target)
    ]
    return Meetings.of(*sides[0], *sides[1])


def _places(side: Ragged, rows: Any) -> Any:
    """Returns where the tokens of some rows lie."""
    lengths = side.lengths_of(rows)
    return np.arange(lengths.sum()) + np.repeat(side.offsets[rows] - (np.cumsum(lengths) - lengths), lengths)
