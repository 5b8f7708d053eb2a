"""Steps 3 to 5 of beam search, after the best extensions, as compiled code."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from nmt.fast.kernels.layout import Extensions, FinishedTable, Hypotheses

# B sentences still searched, K beam, R = B * K rows, C extensions of a sentence, T tokens so far


@dataclass(frozen=True)
class Going:
    """The hypotheses that continue."""

    scores: Tensor
    """(B, K) log-probabilities, float64; -inf: not alive."""
    rows: Tensor
    """(R,) the row that each row continues."""
    tokens: Tensor
    """(R,) the last token of each row."""
    sentences: Tensor
    """(B,) index of each sentence among all."""
    history: Tensor
    """(R, T) tokens so far."""

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.sentences)

    def first(self, count: int) -> Going:
        """Returns the hypotheses of the first `count` sentences."""
        if count == len(self):
            return self
        rows = count * self.scores.shape[1]
        parts = (self.scores[:count], self.rows[:rows], self.tokens[:rows], self.sentences[:count], self.history[:rows])
        return Going(*parts)


class Settling:
    """`nmt_settle` of beam.c."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._settle = library.nmt_settle
        self._settle.restype = ctypes.c_long
        pointers = ctypes.POINTER(FinishedTable), ctypes.POINTER(Extensions), ctypes.POINTER(Hypotheses)
        self._settle.argtypes = [*pointers[:2], ctypes.c_long, ctypes.c_double, ctypes.c_void_p, pointers[2]]

    def __call__(
        self, finished: FinishedTable, before: Going, best: tuple[Tensor, Tensor, Tensor], worth: float
    ) -> Going:
        """Runs steps 3 to 5 of `nmt.decoding.beam_search`: stores ended hypotheses, keeps the best K others, closes sentences.

        Args:
            finished: finished hypotheses; changed.
            before: the hypotheses that were extended, contiguous.
            best: values, rows within the sentence and tokens, each (B, C), best first; C is at least K.
            worth: done sentences leave when the share of open ones is at most this.

        Returns:
            The hypotheses that continue; no sentences if all are done.
        """
        (sentences, width), beam, count = before.scores.shape, finished.beam, best[0].shape[1]
        length, rows = before.history.shape[1] + 1, sentences * finished.beam
        after = Going(
            torch.empty((sentences, beam), dtype=torch.float64),
            torch.empty(rows, dtype=torch.long),
            torch.empty(rows, dtype=torch.long),
            torch.empty(sentences, dtype=torch.long),
            torch.empty((rows, length), dtype=torch.long),
        )
        closed = torch.empty(sentences, dtype=torch.uint8)
        places = [part.data_ptr() for part in (*best, before.sentences, before.history)]
        extensions = Extensions(sentences, width, count, *places)
        new = (after.scores, after.rows, after.tokens, after.sentences, after.history)
        hypotheses = Hypotheses(*[part.data_ptr() for part in new])
        return after.first(self._settle(finished, extensions, length, worth, closed.data_ptr(), hypotheses))
