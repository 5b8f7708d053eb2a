"""Sequence-to-sequence translation: an RNN with one fixed vector, the same with attention, and the Transformer.

import nmt

translator = nmt.load("runs/phrasebook-transformer")
print(translator.translate("Der Hund schläft."))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nmt.errors import NmtError

if TYPE_CHECKING:
    from nmt.translation.translator import load

__version__ = "0.1.0"
__all__ = ["NmtError", "__version__", "load"]


def __getattr__(name: str) -> object:
    """`nmt.load` brings in torch only when it is asked for."""
    if name == "load":
        from nmt.translation.translator import load

        return load
    raise AttributeError(f"module 'nmt' has no attribute {name!r}")
