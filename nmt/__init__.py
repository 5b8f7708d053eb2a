"""Sequence-to-sequence translation: RNNs with one fixed vector or attention, Transformer, ConvS2S, and pictures of text.

import nmt

translator = nmt.load("runs/phrasebook-transformer")
print(translator.translate("Der Hund schläft."))

The names in `__all__` are the public interface; everything else may change from one version to the next.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nmt.errors import NmtError

if TYPE_CHECKING:
    from nmt.config.reading import load_recipe
    from nmt.config.recipe import Recipe
    from nmt.corpus.testset import TestSet
    from nmt.scoring.metrics import score
    from nmt.training.trainer import train
    from nmt.translation.attention import attend
    from nmt.translation.evaluation import evaluate
    from nmt.translation.result import Translation
    from nmt.translation.translator import Translator, load

__version__ = "0.1.0"
__all__ = [
    "NmtError",
    "Recipe",
    "TestSet",
    "Translation",
    "Translator",
    "__version__",
    "attend",
    "evaluate",
    "load",
    "load_recipe",
    "score",
    "train",
]

_PLACES = {
    "Recipe": "nmt.config.recipe",
    "TestSet": "nmt.corpus.testset",
    "Translation": "nmt.translation.result",
    "Translator": "nmt.translation.translator",
    "attend": "nmt.translation.attention",
    "evaluate": "nmt.translation.evaluation",
    "load": "nmt.translation.translator",
    "load_recipe": "nmt.config.reading",
    "score": "nmt.scoring.metrics",
    "train": "nmt.training.trainer",
}


def __getattr__(name: str) -> object:
    """Imports public names, and with them torch, on first use, so that `import nmt` is quick."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'nmt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
