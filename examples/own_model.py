"""A model of your own in twenty lines, behind the protocol that search knows: it says the source backwards."""

import torch
from torch import Tensor

from nmt.config.search import SearchConfig
from nmt.corpus.tokenizer import EOS
from nmt.decoding.beam_search import beam_search

VOCABULARY = 20
State = tuple[Tensor, Tensor, int]  # R sources (R, S), their lengths (R,), and how many words have been said


class Backwards:
    """Gives the last source word first. B sentences, S source positions, R = B * beam rows, V vocabulary."""

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return source, lengths

    def start(self, memory: tuple[Tensor, Tensor], beam: int) -> State:
        source, lengths = memory
        return source.repeat_interleave(beam, 0), lengths.repeat_interleave(beam, 0), 0

    def step(self, state: State, tokens: Tensor) -> tuple[Tensor, State]:
        source, lengths, said = state
        place = lengths - 2 - said  # the last of a source is EOS
        words = source.gather(1, place.clamp(min=0)[:, None]).squeeze(1)  # (R,)
        words = torch.where(place < 0, EOS, words)
        logits = torch.full((len(tokens), VOCABULARY), -9.0).scatter(1, words[:, None], 9.0)  # (R, V)
        return logits, (source, lengths, said + 1)

    def reorder(self, state: State, rows: Tensor, beam: int) -> State:
        source, lengths, said = state
        return source[rows], lengths[rows], said


source = torch.tensor([[5, 6, 7, EOS], [8, 9, EOS, 0]])
for hypotheses in beam_search(Backwards(), source, torch.tensor([4, 3]), SearchConfig(beam=3), 1):
    print(hypotheses[0].tokens, f"{hypotheses[0].log_probability:.4f}")
