"""Sequence-to-sequence translation: RNNs with one fixed vector or attention, Transformer, ConvS2S, and pictures of text.

import nmt

translator = nmt.load("runs/phrasebook-transformer")
print(translator.translate("Der Hund schläft."))

The names in `__all__` are the public interface; everything else may change from one version to the next.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from nmt.errors import CheckpointError, ConfigError, DataError, NmtError, TextError

if TYPE_CHECKING:
    from nmt.config.reading import load_recipe
    from nmt.config.recipe import Recipe
    from nmt.config.search import SamplingConfig
    from nmt.corpus.prepared import Prepared
    from nmt.corpus.testset import TestSet
    from nmt.runtime.signals import Interrupted
    from nmt.scoring.evaluation import Evaluation
    from nmt.scoring.metrics import Score, score
    from nmt.training.trainer import train
    from nmt.translation.attention import Attention, attend
    from nmt.translation.evaluation import evaluate
    from nmt.translation.loading import load
    from nmt.translation.result import Options, Report, TargetScore, Translation
    from nmt.translation.translator import Translator
    from nmt_data.prepare import prepare

__version__ = "0.1.0"
__all__ = [
    "Attention",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Evaluation",
    "Interrupted",
    "NmtError",
    "Options",
    "Prepared",
    "Recipe",
    "Report",
    "SamplingConfig",
    "Score",
    "TargetScore",
    "TestSet",
    "TextError",
    "Translation",
    "Translator",
    "__version__",
    "attend",
    "evaluate",
    "load",
    "load_recipe",
    "prepare",
    "score",
    "train",
]

_PLACES = {
    "Attention": "nmt.translation.attention",
    "Evaluation": "nmt.scoring.evaluation",
    "Interrupted": "nmt.runtime.signals",
    "Options": "nmt.translation.result",
    "Prepared": "nmt.corpus.prepared",
    "Recipe": "nmt.config.recipe",
    "Report": "nmt.translation.result",
    "SamplingConfig": "nmt.config.search",
    "Score": "nmt.scoring.metrics",
    "TargetScore": "nmt.translation.result",
    "TestSet": "nmt.corpus.testset",
    "Translation": "nmt.translation.result",
    "Translator": "nmt.translation.translator",
    "attend": "nmt.translation.attention",
    "evaluate": "nmt.translation.evaluation",
    "load": "nmt.translation.loading",
    "load_recipe": "nmt.config.reading",
    "prepare": "nmt_data.prepare",
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
