"""A convolutional model in search on a CPU with kernels: a step is one call, and only windows follow the hypotheses.

An output layer of a context equals a mean over that layer of the source positions, which is computed once per sentence.
Values between layers are in fp32, whatever the type of the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nmt.fast.cpu.linear import TiledInt8Linear, TiledLinear, like, tiled
from nmt.fast.kernels import Kernels, kernels_for
from nmt.fast.kernels.convolutional import ConvolutionDecoder, ConvolutionLayer, ConvolutionSources
from nmt.fast.kernels.layout import LANES, Matrix, places
from nmt.fast.kernels.stepping import Rows
from nmt.models.convolution import Convolution, ConvolutionDecoderLayer, ConvolutionMemory

# B sentences, S source positions, R = B * beam rows, E embedding, H hidden, W positions that a kernel sees


class ConvolutionByKernels:
    """A convolutional model in the protocol of search; it shares encoder and output layer with the original."""

    def __init__(self, model: Convolution, kernels: Kernels) -> None:
        self.model, self.kernels = model, kernels
        self.encode = model.encode
        self._kept: list[object] = []  # tensors that the structures below point to
        self._positions = model.target_embedding.positions.weight.float()
        self._decoder = self._read()

    def start(self, memory: ConvolutionMemory, beam: int) -> Rows[ConvolutionSources]:
        """See `Seq2Seq.start`."""
        sentences, longest, _ = memory.keys.shape
        config = self.model.config
        lengths = (memory.bias[:, 0] == 0).sum(1)
        scaled = memory.values.float() * memory.scale.float()
        values = [layer.attention.output(scaled).contiguous() for layer in self.model.decoder]  # each (B, S, H)
        kept = (lengths, memory.keys.float().contiguous(), places(values))
        sources = ConvolutionSources(longest, kept[0].data_ptr(), kept[1].data_ptr(), kept[2])
        empty = torch.zeros((sentences, config.decoder_layers * (config.kernel - 1) * config.hidden))
        return Rows.first(sources, (*kept, values), empty, beam)

    def step(self, state: Rows[ConvolutionSources], tokens: Tensor) -> tuple[Tensor, Rows[ConvolutionSources]]:
        """See `Seq2Seq.step`."""
        place = self._positions[min(state.position, len(self._positions) - 1)]
        hidden, states = self.kernels.convolution.step(self._decoder, state, tokens.contiguous(), place)
        return self.model.output(hidden), state.after(states)

    def reorder(self, state: Rows[ConvolutionSources], rows: Tensor, beam: int) -> Rows[ConvolutionSources]:
        """See `Seq2Seq.reorder`."""
        return state.reordered(rows, beam)

    def _read(self) -> ConvolutionDecoder:
        """Describes the decoder to the kernels."""
        config, model = self.model.config, self.model
        table = model.target_embedding.table.weight.float().contiguous()
        layers = (ConvolutionLayer * config.decoder_layers)(*[self._layer(layer) for layer in model.decoder])
        self._kept += [table, layers]
        return ConvolutionDecoder(
            *(config.embedding, config.hidden, config.decoder_layers, config.kernel - 1, table.data_ptr()),
            *(self._matrix(model.target_input), self._matrix(model.target_output), layers),
        )

    def _layer(self, layer: ConvolutionDecoderLayer) -> ConvolutionLayer:
        whole, reach = tiled(layer.convolution.linear), (self.model.config.kernel - 1) * self.model.config.hidden
        past, newest = whole.plain[:, :reach], whole.plain[:, reach:]
        read = ConvolutionLayer(newest=self._matrix(like(whole, newest, whole.parts[1])))
        read.query = self._matrix(layer.attention.query)
        if reach:
            read.past = self._matrix(like(whole, past))
        return read

    def _matrix(self, layer: nn.Module) -> Matrix:
        self._kept.append(layer)
        return tiled(layer).matrix()


def convolution_by_kernels(model: Convolution) -> ConvolutionByKernels | None:
    """Returns the model with kernels; None: a width is no multiple of a vector, or there are no kernels for it."""
    kernels = kernels_for(model.target_embedding.table.weight)
    in_tiles = isinstance(model.target_input, TiledLinear | TiledInt8Linear)
    if kernels is None or not in_tiles or model.config.embedding % LANES or model.config.hidden % LANES:
        return None
    return ConvolutionByKernels(model, kernels)
