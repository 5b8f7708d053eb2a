"""Where each word of a translation looks in the source, for every layer and head."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image
from torch import Tensor

from nmt.errors import ConfigError, DataError
from nmt.inspection.asking import OneModel, Text, Translators, chosen, rounded
from nmt.translation.attention import END, Picture, attend

_LARGEST = 1_000_000  # weights in an answer

# L layers, H heads, I source words, J target words, W columns of pixels


class AttentionRequest(OneModel):
    """Asks where a model looks."""

    target: Text | None = None
    """A translation to use instead of the model's own."""


def attention(translators: Translators, request: AttentionRequest) -> dict[str, Any]:
    """Returns words and weights (L, H, J + 1, I + 1), both with the end, their entropy in bits, and the layer that aligns best.

    The entropy of target word j is H_j = -sum_i a_ji log2 a_ji. For a model that reads pictures the answer also holds the line
    as the model saw it, and the weight of each column of pixels (J + 1, W): the mean over the slices that show it, in the best
    layer and as the mean of its heads.

    Raises:
        NmtError: the model has no attention, or a side has no words or too many.
    """
    translator = chosen(translators, request.model, request.target_language)
    if not translator.recipe.model.attends:
        raise ConfigError(
            f"{request.model} has no attention; its one vector is all that the decoder knows of the source"
        )
    seen = attend(translator, request.text, request.target)
    if seen.maps.numel() > _LARGEST:
        raise DataError(f"the line is too long to show {seen.maps.numel():,} weights; shorten it")
    answer: dict[str, Any] = {
        "source": [*seen.source, END],
        "target": [*seen.target, END],
        "layers": seen.maps.shape[0],
        "heads": seen.maps.shape[1],
        "weights": rounded(seen.maps),
        "entropy": rounded(seen.entropy),
        "entropy_of_word": rounded(seen.entropy_of_words),
        "best_layer": seen.layer,
    }
    return answer if seen.picture is None else answer | {"picture": _picture(seen.picture, seen.layer)}


def _picture(seen: Picture, layer: int | None) -> dict[str, Any]:
    height, width = seen.pixels.shape
    places = None if seen.places is None else _png(seen.places)
    columns = rounded(seen.chosen(layer, None))
    return {"png": _png(1 - seen.pixels), "width": width, "height": height, "columns": columns, "places": places}


def _png(shades: Tensor) -> str:
    """Returns shades (H, W) from 0, black, to 1, white, as the URL of a PNG."""
    stream = io.BytesIO()
    Image.fromarray((shades * 255).round().byte().numpy()).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
