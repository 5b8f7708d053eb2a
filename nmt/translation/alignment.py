"""From attention over subwords to links between words, and how good such links are."""

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
"""A source word and a target word, from 0."""


def word_numbers(pieces: Sequence[str], unknown: Sequence[bool] = ()) -> list[int]:
    """The word that each piece belongs to, from 0; a piece that starts with the word mark begins a new one.

    A bare mark that no text follows before the next one, or the end, is no word.

    Args:
        pieces: of a line as they stand in it, or of a translation.
        unknown: of a translation, whether each is the unknown token, which then is a word of its own.
    """
    numbers: list[int] = []
    end = max((index for index, piece in enumerate(pieces) if piece != WORD_MARK), default=0)
    for index, piece in enumerate(pieces):
        marked = piece.startswith(WORD_MARK) or (any(unknown) and (unknown[index] or unknown[index - 1]))
        begins = index == 0 or (marked and pieces[index - 1] != WORD_MARK and index <= end)
        numbers.append((numbers[-1] if numbers else -1) + begins)
    return numbers


def merge_words(weights: Tensor, source: Sequence[int], target: Sequence[int]) -> Tensor:
    """Attention between words (..., J, I) from that between pieces (..., T, S).

    Attention to a word is the sum over its pieces; attention of a word is the mean over its pieces. Rows and columns beyond
    the pieces (the end of the sentence) are left out.

    Args:
        weights: a row for each target piece.
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
    """One link for each target word: to the source word that got most of its attention. Arguments as of `merge_words`."""
    if not source or not target:
        return []
    return [(int(best), word) for word, best in enumerate(merge_words(weights, source, target).argmax(1))]


def diagonal(source: int, target: int) -> set[Link]:
    """Each target word to the source word at the same share of the sentence: what knows nothing but lengths."""
    return {(min(source - 1, (2 * word + 1) * source // (2 * target)), word) for word in range(target)}


def grow_diagonal(one: Set[Link], other: Set[Link]) -> set[Link]:
    """Links of both directions, and those of either beside one that is in, if they link a word that has none.

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
    """What annotators linked in one sentence pair."""

    sure: frozenset[Link]
    possible: frozenset[Link]
    """The sure links too."""


@dataclass(frozen=True)
class AlignmentScore:
    """Shares from 0 to 1 (Och and Ney 2003, section 5.1)."""

    error_rate: float
    """1 - (|A and S| + |A and P|) / (|A| + |S|): lower is better."""
    precision: float
    """Of the links found, the possible ones."""
    recall: float
    """Of the sure links, those found."""


def score_links(found: Iterable[Set[Link]], gold: Iterable[Gold]) -> AlignmentScore:
    """Alignment error rate over all sentences together."""
    both = list(zip(found, gold, strict=True))
    links, sure = sum(len(item) for item, _ in both), sum(len(truth.sure) for _, truth in both)
    hits, likely = (
        sum(len(item & truth.sure) for item, truth in both),
        sum(len(item & truth.possible) for item, truth in both),
    )
    return AlignmentScore(1 - (hits + likely) / max(links + sure, 1), likely / max(links, 1), hits / max(sure, 1))


def read_gold(lines: Sequence[str], where: str) -> list[Gold]:
    """Links of each line: `1-2` sure, `1p2` possible, words counted from 1.

    Raises:
        DataError: names the line and what cannot be read.
    """
    found: list[Gold] = []
    for number, line in enumerate(lines, 1):
        links: dict[str, set[Link]] = {"-": set(), "p": set()}
        for item in line.split():
            match = re.fullmatch(r"(\d+)([-p])(\d+)", item)
            if not match or "0" in (match[1], match[3]):
                raise DataError(f"{where}, line {number}: {item!r} is no link; write 1-2 or 1p2, words from 1")
            links[match[2]].add((int(match[1]) - 1, int(match[3]) - 1))
        found.append(Gold(frozenset(links["-"]), frozenset(links["-"] | links["p"])))
    return found


def pharaoh(links: Iterable[Link]) -> str:
    """`0-0 1-2`: source and target words from 0."""
    return " ".join(f"{source}-{target}" for source, target in sorted(links))


def coverage(weights: Tensor, lengths: Tensor) -> Tensor:
    """sum_i log(min(sum_j a_ij, 1)) for each sentence (B,): Wu et al. 2016, equation 14.

    Args:
        weights: (B, T, S) attention, zero at padded target positions.
        lengths: (B,) source lengths.
    """
    attended = weights.double().sum(1).clamp(min=1e-9, max=1.0)  # (B, S)
    real = torch.arange(attended.shape[1], device=attended.device) < lengths.to(attended.device)[:, None]
    return attended.log().masked_fill(~real, 0.0).sum(1)
