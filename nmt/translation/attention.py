"""What a model looks at while it writes: attention of every layer and head, between the words of two lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from nmt.corpus.tokenizer import WORD_MARK
from nmt.errors import ConfigError, DataError
from nmt.translation.alignment import Link, grow_diagonal, merge_words, word_numbers
from nmt.translation.translator import Translator

# L layers, H heads, I source words, J target words

END = "</s>"
Way = Literal["target", "source", "both"]


@dataclass(frozen=True)
class Attention:
    """Of one sentence pair."""

    source: list[str]
    """I words."""
    target: list[str]
    """J words."""
    maps: Tensor
    """(L, H, J + 1, I + 1) while each target word is being predicted; the end is the last word of both sides."""
    shifted: Tensor
    """(L, H, J, I) one step later, with the word already read: the better alignment (Chen et al. 2020, section 3)."""
    layer: int | None
    """The layer that aligns best while predicting; None: the mean of all."""
    shifted_layer: int | None
    """The same one step later."""

    def chosen(self, layer: int | None = None, head: int | None = None, shifted: bool = False) -> Tensor:
        """(J, I) or with the end (J + 1, I + 1): one layer and head, from 1; None: the best layer, the mean of its heads.

        Raises:
            ConfigError: the model has fewer.
        """
        maps = self.shifted if shifted else self.maps
        for name, wanted, count in (("layer", layer, maps.shape[0]), ("head", head, maps.shape[1])):
            if wanted is not None and not 1 <= wanted <= count:
                raise ConfigError(f"--{name} must be between 1 and {count}, got {wanted}")
        place = self.place(layer, shifted)
        heads = maps.mean(0) if place is None else maps[place]  # (H, J, I)
        return heads.mean(0) if head is None else heads[head - 1]

    def place(self, layer: int | None, shifted: bool) -> int | None:
        """Which layer, from 0: the one wanted, from 1, or the best; None: the mean of all."""
        if layer is not None:
            return layer - 1
        return self.shifted_layer if shifted else self.layer

    def links(
        self, layer: int | None = None, head: int | None = None, shifted: bool = False, way: Way = "target"
    ) -> set[Link]:
        """Each target word to the source word that gets most of its attention, the end left out.

        Or each source word to the target word that gives it most, or both, joined by grow-diag.
        """
        weights = self.chosen(layer, head, shifted)[: len(self.target), : len(self.source)]
        by_target = {(int(best), word) for word, best in enumerate(weights.argmax(1))}
        by_source = {(word, int(best)) for word, best in enumerate(weights.argmax(0))}
        return {"target": by_target, "source": by_source, "both": grow_diagonal(by_target, by_source)}[way]

    @property
    def entropy(self) -> Tensor:
        """(L, H) bits of the attention of a target word over the source words, the mean over all: 0 is one word alone."""
        shares = self.maps / self.maps.sum(-1, keepdim=True).clamp(min=1e-9)
        return -torch.special.xlogy(shares, shares).sum(-1).mean(-1) / torch.log(torch.tensor(2.0))


def attend(translator: Translator, source: str, target: str | None = None) -> Attention:
    """Attention between the words of a line and its translation, or another target.

    Words are what white space separates; attention to a word is the sum over its pieces, of a word the mean.

    Args:
        translator: from `nmt.load`.
        source: a line to translate.
        target: a line to look at instead of the translation.

    Raises:
        ConfigError: the model has no attention.
        DataError: a side has no words.
    """
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
        source=_words(pieces, numbers[0]),
        target=_words(written, numbers[1]),
        maps=merge_words(maps, *with_end),
        shifted=merge_words(maps[:, :, 1:], *numbers),
        layer=translator.decoder.single.aligning_layer(shifted=False),
        shifted_layer=translator.decoder.single.aligning_layer(shifted=True),
    )


def _words(pieces: Sequence[str], numbers: Sequence[int]) -> list[str]:
    """The words that pieces make."""
    words = [""] * (numbers[-1] + 1)
    for piece, number in zip(pieces, numbers, strict=True):
        words[number] += piece.replace(WORD_MARK, "")
    return words
