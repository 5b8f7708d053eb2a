"""Attention of a model between the words of two lines, for every layer and head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nmt.corpus.lines import text_line
from nmt.corpus.tokenizer import Tokenizer
from nmt.errors import ConfigError, DataError
from nmt.translation.alignment import Link, grow_diagonal, merge_words, word_numbers
from nmt.translation.translator import Translator

# L layers, H heads, I source words, J target words

END = "</s>"
Way = Literal["target", "source", "both"]


@dataclass(frozen=True)
class Picture:
    """The attention of a model that reads pictures, on the line that it saw."""

    pixels: Tensor
    """(H, W) the line: ink 1, paper 0."""
    columns: Tensor
    """(L, H, J + 1, W) when a target word, or the end, is predicted: the mean attention of the slices that show a column."""
    places: Tensor | None
    """(H, W) weights of places, from 0 to 1; None: the model has no spatial attention."""

    def chosen(self, layer: int | None, head: int | None) -> Tensor:
        """Returns (J + 1, W): one layer and head, counted from 0; None: the mean of all."""
        heads = self.columns.mean(0) if layer is None else self.columns[layer]
        return heads.mean(0) if head is None else heads[head]


@dataclass(frozen=True)
class Attention:
    """The attention of one sentence pair."""

    source: list[str]
    """I words."""
    target: list[str]
    """J words."""
    maps: Tensor
    """(L, H, J + 1, I + 1) when each target word is predicted; the end of sentence is the last word of both sides."""
    shifted: Tensor
    """(L, H, J, I) one step later, when the word is fed: the better alignment (Chen et al. 2020, section 3)."""
    layer: int | None
    """The layer with the best alignment when a word is predicted; None: the mean of all."""
    shifted_layer: int | None
    """The layer with the best alignment one step later."""
    picture: Picture | None = None
    """For a model that reads pictures: where it looks on the line."""

    def chosen(self, layer: int | None = None, head: int | None = None, shifted: bool = False) -> Tensor:
        """Returns (J, I), or (J + 1, I + 1) with the end: one layer and head, counted from 1.

        None chooses the best layer, and the mean of its heads.

        Raises:
            ConfigError: the model has fewer layers or heads.
        """
        maps = self.shifted if shifted else self.maps
        for name, wanted, count in (("layer", layer, maps.shape[0]), ("head", head, maps.shape[1])):
            if wanted is not None and not 1 <= wanted <= count:
                raise ConfigError(f"{name} must be between 1 and {count}, got {wanted}")
        place = self.place(layer, shifted)
        heads = maps.mean(0) if place is None else maps[place]  # (H, J, I)
        return heads.mean(0) if head is None else heads[head - 1]

    def place(self, layer: int | None, shifted: bool) -> int | None:
        """Returns the layer from 0: `layer`, which counts from 1, or the best one; None: the mean of all."""
        if layer is not None:
            return layer - 1
        return self.shifted_layer if shifted else self.layer

    def links(
        self, layer: int | None = None, head: int | None = None, shifted: bool = False, way: Way = "target"
    ) -> set[Link]:
        """Links each target word to the source word with most of its attention, the end of sentence left out.

        `way` "source" links each source word to the target word that attends to it most; "both" joins the two by grow-diag.
        """
        weights = self.chosen(layer, head, shifted)[: len(self.target), : len(self.source)]
        by_target = {(int(best), word) for word, best in enumerate(weights.argmax(1))}
        by_source = {(word, int(best)) for word, best in enumerate(weights.argmax(0))}
        return {"target": by_target, "source": by_source, "both": grow_diagonal(by_target, by_source)}[way]

    @property
    def entropy(self) -> Tensor:
        """(L, H) entropy in bits of the attention of a target word, the mean over all; 0: each attends to one word alone."""
        return self.entropy_of_words.mean(-1)

    @property
    def entropy_of_words(self) -> Tensor:
        """(L, H, J + 1) entropy in bits of the attention of each target word, and of the end."""
        shares = self.maps / self.maps.sum(-1, keepdim=True).clamp(min=1e-9)
        return -torch.special.xlogy(shares, shares).sum(-1) / torch.log(torch.tensor(2.0))


def attend(translator: Translator, source: str, target: str | None = None) -> Attention:
    """Returns the attention between the words of a line and its translation, or another target.

    White space separates words. Attention to a word is the sum over its pieces, attention from a word the mean.

    Args:
        translator: from `nmt.load`.
        source: a line to translate.
        target: a line to use instead of the translation.

    Raises:
        ConfigError: the model has no attention.
        DataError: a side has no words.
        TextError: a side is not one line of text.
    """
    source, target = text_line(source), None if target is None else text_line(target)
    if target is None:
        target = translator.translate([source])[0]
    else:
        translator.report.lines += 1
        translator.report.source_cut += translator.source.is_cut(source)
    ids = [translator.encode(source), translator.encode_target(target)]
    pieces, tag = translator.source.pieces(source)
    written = translator.target.pieces([target])[0]
    if not pieces or not written:
        raise DataError("attention needs words on both sides; the source or the translation has none")
    maps = translator.decoder.attention_maps(*ids)[..., tag:]  # (L, H, T + 1, S + 1) over pieces
    numbers = [word_numbers(part) for part in (pieces, written)]
    with_end = [[*part, part[-1] + 1] for part in numbers]
    return Attention(
        source=joined_words(translator.tokenizers.source, pieces, numbers[0]),
        target=joined_words(translator.tokenizers.target, written, numbers[1]),
        maps=merge_words(maps, *with_end),
        shifted=merge_words(maps[:, :, 1:], *numbers),
        layer=translator.decoder.single.aligning_layer(shifted=False),
        shifted_layer=translator.decoder.single.aligning_layer(shifted=True),
        picture=_picture(translator, ids, with_end[1]),
    )


def _picture(translator: Translator, ids: list[list[int]], words: list[int]) -> Picture | None:
    """Returns the attention of a visual model to pixels, merged by the word of each target token; of others None."""
    seen = translator.decoder.slices_seen(*ids)
    if seen is None:
        return None
    first = seen.stride * torch.arange(seen.maps.shape[-1])[:, None]
    column = torch.arange(seen.pixels.shape[1])
    shows = ((column >= first) & (column < first + seen.window)).double()  # (S, W)
    columns = seen.maps.double() @ (shows / shows.sum(0))  # (L, H, T, W)
    merged = torch.zeros(*columns.shape[:2], words[-1] + 1, columns.shape[-1], dtype=torch.float64)
    merged.index_add_(2, torch.tensor(words), columns)
    return Picture(seen.pixels, merged / torch.bincount(torch.tensor(words))[:, None], seen.places)


def joined_words(tokenizer: Tokenizer, pieces: Sequence[str], numbers: Sequence[int]) -> list[str]:
    """Returns the words that pieces make, given the word of each piece from `nmt.translation.alignment.word_numbers`."""
    words = [list[str]() for _ in range(max(numbers, default=-1) + 1)]
    for piece, number in zip(pieces, numbers, strict=True):
        words[number].append(piece)
    return [text.strip(" ") for text in tokenizer.decode_pieces(words)]
