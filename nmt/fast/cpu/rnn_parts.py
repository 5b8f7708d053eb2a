"""The parts of a recurrent model ready for search, in the layout of the kernels."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor, nn

from nmt.fast.cpu.exponential_score import ExponentialScore
from nmt.fast.cpu.linear import Joined, Tiled, like, tiled
from nmt.fast.kernels.layout import Matrix
from nmt.fast.kernels.rnn_search import GATES, SCORES, WEIGHTINGS, Looking, Reader, RnnDecoder
from nmt.models.rnn.decoder import AttentionDecoder, BottleneckDecoder
from nmt.models.rnn.look import CurrentStateDecoder
from nmt.models.rnn.model import RnnSeq2Seq
from nmt.models.rnn.scores import BilinearScore, CoverageScore, DotScore, LocationScore, MultiHeadScore
from nmt.models.rnn.weighting import LocalPredictive

# E embedding, H hidden, G gates, C width of the encoder's states, V vocabulary

KEPT_WORDS = 1 << 26
"""Most bytes to cache of what each word contributes to gates and readout."""


class RecurrentParts:
    """The structures of a model, whose matrices are in tiles; valid while this object lives."""

    def __init__(self, model: RnnSeq2Seq) -> None:
        self.model = model
        self._kept: list[object] = []  # tensors that the structures point to
        self.readers = self._read_encoder()
        """For each encoder layer, its readers in the order of their states."""
        self.context = Joined(self._context_layers())
        """All layers that read a context."""
        self.decoder = self._read_decoder(Joined(self._word_layers()))

    def _read_encoder(self) -> list[list[Reader]]:
        config, encoder = self.model.config, self.model.encoder
        sides = [(encoder.forwards, encoder.reverse_source), (encoder.backwards, not encoder.reverse_source)]
        return [
            [self._reader(side[layer], backwards) for side, backwards in sides if len(side)]
            for layer in range(config.layers)
        ]

    def _reader(self, rnn: nn.Module, backwards: bool) -> Reader:
        config = self.model.config
        layers = [self._linear(*_weights_of(rnn, part, 0), exact=True) for part in ("ih", "hh")]
        return Reader(config.hidden, GATES[config.cell], backwards, *[layer.matrix() for layer in layers])

    def _word_layers(self) -> list[Tiled]:
        """Returns the layers that read a word: the gates of the lowest layer, and the readout."""
        decoder = self.model.decoder
        if isinstance(decoder, AttentionDecoder):
            gates = self._tiled(decoder.input)
        else:
            weight, bias = _weights_of(decoder.rnn, "ih", 0)
            gates = self._linear(weight[:, : self.model.config.embedding], bias)
        return [gates, self._tiled(self.model.readout.embedding)]

    def _context_layers(self) -> list[Tiled]:
        """Returns the layers that read a context: the lowest gates or the attentional state, if they do, and the readout."""
        decoder, readout = self.model.decoder, self._read_context()
        if isinstance(decoder, AttentionDecoder):
            return [self._tiled(decoder.context), readout]
        if isinstance(decoder, BottleneckDecoder):
            rest = _weights_of(decoder.rnn, "ih", 0)[0][:, self.model.config.embedding :]
            return [self._linear(rest), readout] if decoder.every_step else [readout]
        if decoder.attentional is None:
            return [readout]
        return [self._linear(self._tiled(decoder.attentional).plain[:, : decoder.context_width]), readout]

    def _read_context(self) -> Tiled:
        """Returns what the readout makes of a context: zeros if it sees none."""
        readout = self.model.readout
        if readout.context is None:
            return self._linear(torch.zeros(tiled(readout.state).outputs, self.model.config.hidden))
        return self._tiled(readout.context)

    def _read_decoder(self, words: Joined) -> RnnDecoder:
        """Describes the decoder to the kernels."""
        config, decoder, readout = self.model.config, self.model.decoder, self.model.readout
        table = self.model.target_embedding.weight.float().contiguous()
        kept = len(table) * sum(words.widths) * table.element_size() <= KEPT_WORDS
        known = torch.zeros(len(table), dtype=torch.uint8)
        said = torch.empty((len(table) if kept else 0, sum(words.widths)))
        self._kept += [table, words, known, said]
        fed = decoder.attentional if isinstance(decoder, CurrentStateDecoder) else None
        read = RnnDecoder(
            *(config.embedding, config.hidden, config.layers, GATES[config.cell], readout.maxout),
            *(isinstance(decoder, AttentionDecoder), len(self.context.widths) > 1 and fed is None, fed is not None),
            *(sum(words.widths), words.widths[0], sum(self.context.widths), sum(self.context.widths[:-1])),
            *(table.data_ptr(), words.matrix(), said.data_ptr() if kept else None, known.data_ptr() if kept else None),
            read=self._tiled(readout.state).matrix(),
            look=self._attention(),
        )
        if isinstance(decoder, CurrentStateDecoder) and fed is not None:
            states = self._linear(self._tiled(fed).plain[:, decoder.context_width :], self._tiled(fed).parts[1])
            read.fed = self._linear(_weights_of(decoder.rnn, "ih", 0)[0][:, config.embedding :]).matrix()
            read.attentional = states.matrix()
        read.recurrent, read.upper = self._layers()
        return read

    def _layers(self) -> tuple[ctypes.Array[Matrix], ctypes.Array[Matrix]]:
        """Returns the recurrent matrices of all layers, and the input matrices of the upper layers."""
        decoder, recurrent, upper = self.model.decoder, list[Tiled](), list[Tiled]()
        rnn, below = (decoder.upper, 1) if isinstance(decoder, AttentionDecoder) else (decoder.rnn, 0)
        if isinstance(decoder, AttentionDecoder):
            recurrent.append(self._tiled(decoder.recurrent))
        if rnn is not None:
            recurrent += [self._linear(*_weights_of(rnn, "hh", layer)) for layer in range(rnn.num_layers)]
            upper += [self._linear(*_weights_of(rnn, "ih", layer)) for layer in range(1 - below, rnn.num_layers)]
        arrays = [(Matrix * max(len(some), 1))(*[layer.matrix() for layer in some]) for some in (recurrent, upper)]
        self._kept += arrays
        return arrays[0], arrays[1]

    def _attention(self) -> Looking:
        """Describes the attention to the kernels."""
        config, decoder = self.model.config, self.model.decoder
        if isinstance(decoder, BottleneckDecoder):
            return Looking(heads=1)
        look = Looking(SCORES[config.attention], WEIGHTINGS[config.weighting], 1, config.hidden, config.window, 1.0)
        self._score(decoder.score, look)
        if isinstance(decoder.weighting, LocalPredictive):
            look.guess = self._tiled(decoder.weighting.inner).matrix()
            look.towards = self._weights(decoder.weighting.outer, config.hidden)
        return look

    def _score(self, score: nn.Module, look: Looking) -> None:
        match score:
            case ExponentialScore():
                look.query, look.combine = self._tiled(score.query).matrix(), self._vector(score.vector)
            case CoverageScore():
                look.query, look.combine = self._tiled(score.query).matrix(), self._weights(score.combine, look.width)
                look.covering = self._weights(score.coverage, 1)
            case LocationScore():
                look.query, look.width = self._tiled(score.places).matrix(), score.positions
            case MultiHeadScore():
                look.query, look.context = self._tiled(score.query).matrix(), self.context.matrix()
                look.heads, look.scale = score.heads, score.scale
            case DotScore():
                look.scale = score.scale
            case BilinearScore():  # the keys hold all of it
                pass
            case _:
                raise TypeError(f"the kernels do not know {type(score).__name__}; take its name out of SCORES")

    def _weights(self, layer: nn.Module, inputs: int) -> int:
        """Returns the weights of a layer with one input or one output, whatever its layout."""
        unit = torch.eye(inputs, dtype=self.model.target_embedding.weight.dtype)
        return self._vector(layer(unit).flatten())

    def _vector(self, values: Tensor) -> int:
        values = values.detach().float().contiguous()
        self._kept.append(values)
        return values.data_ptr()

    def _tiled(self, layer: nn.Module) -> Tiled:
        self._kept.append(layer)
        return tiled(layer)

    def _linear(self, weight: Tensor, bias: Tensor | None = None, exact: bool = False) -> Tiled:
        """Makes a part of a layer, in the precision of the others; see `like`."""
        return self._tiled(like(tiled(self.model.readout.state), weight, bias, exact))


def _weights_of(rnn: nn.Module, part: str, layer: int) -> tuple[Tensor, Tensor]:
    """Returns weight and bias of a layer for its inputs ("ih") or its last state ("hh")."""
    parameters = dict(rnn.named_parameters())
    return parameters[f"weight_{part}_l{layer}"], parameters[f"bias_{part}_l{layer}"]
