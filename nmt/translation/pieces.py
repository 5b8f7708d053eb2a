"""The attention between the pieces of a line and its translation, rounded, as pages show it."""

from __future__ import annotations

from dataclasses import dataclass

from nmt.translation.attention import END
from nmt.translation.translator import Translator


@dataclass(frozen=True)
class PieceAttention:
    """The attention while a translation is written; the end of sentence is the last piece of both sides."""

    source: list[str]
    target: list[str]
    weights: list[list[float]]
    """A row for each target piece, of three digits."""


def attend_pieces(translator: Translator, source: str, target: str) -> PieceAttention | None:
    """Returns the attention of the layer that aligns words best, the mean of its heads.

    Args:
        translator: of one model.
        source: a line, with the tag of its language if the model has tags.
        target: its translation.

    Returns:
        None if the model has no attention, or none to pieces because it reads pictures.
    """
    model = translator.recipe.model
    if model.kind == "visual" or not model.attends:
        return None
    layer = translator.decoder.single.aligning_layer(shifted=False)
    pieces, tag = translator.source.pieces(source)
    maps = translator.decoder.attention_maps(translator.encode(source), translator.encode_target(target)).mean(1)
    chosen = (maps.mean(0) if layer is None else maps[layer])[:, tag:]  # (T + 1, S + 1)
    rounded = [[round(weight, 3) for weight in row] for row in chosen.tolist()]
    return PieceAttention([*pieces, END], [*translator.target.pieces([target])[0], END], rounded)
