"""From attention between subwords to links between words, and scores of such links."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.corpus.tokenizer import WORD_MARK
from nmt.errors import DataError

# T target tokens, S source tokens, I source words, J target words

Link = tuple[int, int]
"""A source word and a target word, counted from 0."""


def word_numbers(pieces: Sequence[str], unknown: Sequence[bool] = ()) -> list[int]:
    """Returns the word that each piece belongs to, from 0; a piece with the word mark begins a new word.

    A bare mark is no word if another mark or the end follows it.

    Args:
        pieces: the pieces of a line or a translation, in order.
        unknown: for a translation, whether each piece is the unknown token, which is a word by itself.
    """
    numbers: list[int] = []
    end = max((index for index, piece in enumerate(pieces) if piece != WORD_MARK), default=0)
    for index, piece in enumerate(pieces):
        marked = piece.startswith(WORD_MARK) or (any(unknown) and (unknown[index] or unknown[index - 1]))
        begins = index == 0 or (marked and pieces[index - 1] != WORD_MARK and index <= end)
        numbers.append((numbers[-1] if numbers else -1) + begins)
    return numbers


def merge_words(weights: Tensor, source: Sequence[int], target: Sequence[int]) -> Tensor:
    """Converts attention between pieces (..., T, S) to attention between words (..., J, I).

    Attention to a word is the sum over its pieces; attention from a word is the mean over its pieces. Rows and columns beyond
    the pieces (the end of the sentence) are dropped.

    Args:
        weights: one row per target piece.
        source: the word of each source piece, from `word_numbers`.
        target: the word of each target piece.
    """
    weights = weights[..., : len(target), : len(source)].double().cpu()
    columns = torch.zeros(*weights.shape[:-1], source[-1] + 1, dtype=torch.float64)
    columns.index_add_(-1, torch.tensor(source), weights)
    rows = torch.zeros(*columns.shape[:-2], target[-1] + 1, columns.shape[-1], dtype=torch.float64)
    rows.index_add_(-2, torch.tensor(target), columns)
    return rows / torch.bincount(torch.tensor(target))[:, None]


def align_words(weights: Tensor, source: Sequence[int], target: Sequence[int]) -> list[Link]:
    """Links each target word to the source word with most of its attention. For the arguments see `merge_words`."""
    if not source or not target:
        return []
    return [(int(best), word) for word, best in enumerate(merge_words(weights, source, target).argmax(1))]


def diagonal(source: int, target: int) -> set[Link]:
    """Links each target word to the source word at the same share of the sentence: a baseline from the lengths alone."""
    return {(min(source - 1, (2 * word + 1) * source // (2 * target)), word) for word in range(target)}


def grow_diagonal(one: Set[Link], other: Set[Link]) -> set[Link]:
    """Joins links of both directions: those in both, then neighbours of a link in either that link a word without one.

    Koehn et al. 2003, section 3.2 (grow-diag), both sets as (source, target).
    """
    union, links = one | other, one & other
    grown = True
    while grown:
        grown = False
        for source, target in sorted(links):
            for step in ((-1, 0), (0, -1), (1, 0), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
                new = (source + step[0], target + step[1])
                sources, targets = {link[0] for link in links}, {link[1] for link in links}
                if new in union and new not in links and (new[0] not in sources or new[1] not in targets):
                    links, grown = links | {new}, True
    return set(links)


@dataclass(frozen=True)
class Gold:
    """The links that annotators made in one sentence pair."""

    sure: frozenset[Link]
    possible: frozenset[Link]
    """The possible links, which include the sure ones."""


@dataclass(frozen=True)
class AlignmentScore:
    """Scores of alignments, shares from 0 to 1 (Och and Ney 2003, section 5.1)."""

    error_rate: float
    """1 - (|A and S| + |A and P|) / (|A| + |S|): lower is better."""
    precision: float
    """Share of the links found that are possible."""
    recall: float
    """Share of the sure links that were found."""


def score_links(found: Iterable[Set[Link]], gold: Iterable[Gold]) -> AlignmentScore:
    """Scores the links of all sentences together."""
    both = list(zip(found, gold, strict=True))
    links, sure = sum(len(item) for item, _ in both), sum(len(truth.sure) for _, truth in both)
    hits, likely = (
        sum(len(item & truth.sure) for item, truth in both),
        sum(len(item & truth.possible) for item, truth in both),
    )
    return AlignmentScore(1 - (hits + likely) / max(links + sure, 1), likely / max(links, 1), hits / max(sure, 1))


def read_gold(lines: Sequence[str], where: str) -> list[Gold]:
    """Reads the links of each line: `1-2` is sure, `1p2` possible; words are counted from 1.

    Raises:
        DataError: names the line and the wrong item.
    """
    found: list[Gold] = []
    for number, line in enumerate(lines, 1):
        links: dict[str, set[Link]] = {"-": set(), "p": set()}
        for item in line.split():
            match = re.fullmatch(r"([1-9][0-9]{0,8})([-p])([1-9][0-9]{0,8})", item)
            if not match:
                raise DataError(f"{where}, line {number}: {item[:40]!r} is no link; write 1-2 or 1p2, words from 1")
            links[match[2]].add((int(match[1]) - 1, int(match[3]) - 1))
        found.append(Gold(frozenset(links["-"]), frozenset(links["-"] | links["p"])))
    return found


def check_links(gold: Gold, source: int, target: int, where: str) -> None:
    """Checks that links join words that there are, so many on each side: others are of text that is split otherwise.

    Raises:
        DataError: names the place and the link.
    """
    for one, two in sorted(gold.possible):
        if one >= source or two >= target:
            raise DataError(
                f"{where}: {one + 1}-{two + 1} links words of {source} in the source and {target} in the target"
            )


def pharaoh(links: Iterable[Link]) -> str:
    """Formats links as `0-0 1-2`: source and target words from 0."""
    return " ".join(f"{source}-{target}" for source, target in sorted(links))


def coverage(weights: Tensor, lengths: Tensor) -> Tensor:
    """Returns the coverage sum_i log(min(sum_j a_ij, 1)) of each sentence (B,): Wu et al. 2016, equation 14.

    Args:
        weights: (B, T, S) attention, zero at padded target positions.
        lengths: (B,) source lengths.
    """
    attended = weights.double().sum(1).clamp(min=1e-9, max=1.0)  # (B, S)
    real = torch.arange(attended.shape[1], device=attended.device) < lengths.to(attended.device)[:, None]
    return attended.log().masked_fill(~real, 0.0).sum(1)
