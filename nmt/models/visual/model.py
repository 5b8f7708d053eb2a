"""A model that reads a picture of the source: an image encoder in front of a Transformer or an RNN."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from nmt.config.model import VisualConfig
from nmt.corpus.rendering import Renderer, Strips, renderer_of
from nmt.corpus.tokenizer import spelled_text
from nmt.models.protocol import EncoderDecoder, Forced, Tables, padding_mask
from nmt.models.rnn.model import RnnSeq2Seq
from nmt.models.transformer.model import Transformer
from nmt.models.visual.image import make_image_encoder

# B sentences, S slices, N bytes of a source, T target positions, D width


@dataclass(frozen=True)
class SlicesSeen:
    """Where a model looked on the picture of one source."""

    pixels: Tensor
    """(H, W) the picture up to the end of the last slice: ink 1, paper 0."""
    maps: Tensor
    """(L, heads, T, S) attention to each slice, after each token of a target."""
    window: int
    """Width of a slice in pixels."""
    stride: int
    """Pixels from the beginning of a slice to that of the next."""
    places: Tensor | None
    """(H, W) the weights of spatial attention, from 0 to 1; None: the model has none."""


class Visual(EncoderDecoder[Any, Any]):
    """Draws the source, cuts the picture into slices, and lets its base read one vector per slice (Salesky et al. 2021).

    The base is a whole model of another family; of its source side only the positions and dropout are used.
    """

    def __init__(self, config: VisualConfig, target_vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.base = make_base(config, target_vocabulary)
        self.image = make_image_encoder(config, config.source_width)
        self.output = self.base.output
        self.like: Tensor
        self.register_buffer("like", torch.zeros(()), persistent=False)  # has the device and precision of the weights
        self._initialise()

    @property
    def renderer(self) -> Renderer:
        """Draws the source; see `renderer_of` for errors."""
        return renderer_of(self.config.font, self.config.height, self.config.grid)

    def encode(self, source: Tensor, lengths: Tensor) -> Any:
        """See `Seq2Seq.encode`; the source (B, N) is spelled in bytes. The memory has one position for each slice."""
        return self.base.encode(*self.embed(source, lengths))

    def embed(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Returns a vector for each slice (B, S, D), and the number of slices of each source (B,)."""
        vectors, counts = self.vectors(source, lengths)
        real = padding_mask(counts, int(counts.max()), source.device)  # (B, S)
        padded = vectors.new_zeros((*real.shape, vectors.shape[1])).masked_scatter(real[:, :, None], vectors)
        return padded, counts

    def vectors(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the vectors of all slices, one source after the other: (slices of all sources, D). See `embed`."""
        strips = self.strips(source, lengths)
        counts = strips.slices(self.config.window, self.config.stride)
        return self.image(strips, self.like), torch.from_numpy(counts).to(source.device)

    def strips(self, source: Tensor, lengths: Tensor) -> Strips:
        """Draws sources (B, N)."""
        return self.renderer.strips(self.texts(source, lengths))

    def texts(self, source: Tensor, lengths: Tensor) -> list[str]:
        """Returns the text of sources (B, N)."""
        rows = zip(source.tolist(), lengths.tolist(), strict=True)
        return [spelled_text(tokens[:length]) for tokens, length in rows]

    def forced(self, source: Tensor, lengths: Tensor, target: Tensor) -> Forced:
        """See `EncoderDecoder.forced`."""
        return self.base.decode(self.encode(source, lengths), target)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """See `EncoderDecoder.forward`."""
        return self.forced(source, lengths, target).states

    if TYPE_CHECKING:
        __call__ = forward

    def start(self, memory: Any, beam: int) -> Any:
        """See `Seq2Seq.start`."""
        return self.base.start(memory, beam)

    def step(self, state: Any, tokens: Tensor) -> tuple[Tensor, Any]:
        """See `Seq2Seq.step`; in search the faster step of the base may take its place, see `nmt.fast.inference`."""
        return self.base.step(state, tokens)

    def reorder(self, state: Any, rows: Tensor, beam: int) -> Any:
        """See `Seq2Seq.reorder`."""
        return self.base.reorder(state, rows, beam)

    def attention_maps(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """See `EncoderDecoder.attention_maps`: attention to a slice is shared out among the bytes that it shows."""
        shares = self.shares(source, lengths).to(source.device)  # (B, S, N)
        maps = self.base.attention_to(self.encode(source, lengths), target)  # (B, L, H, T, S)
        return torch.einsum("blhts,bsn->blhtn", maps, shares.to(maps.dtype))

    def seen(self, source: Tensor, lengths: Tensor, target: Tensor) -> SlicesSeen:
        """Returns where the model looks on the picture of one source (1, N), for a target (1, T)."""
        config, strips = self.config, self.strips(source, lengths)
        maps = self.base.attention_to(self.encode(source, lengths), target)[0].float().cpu()
        width = (maps.shape[-1] - 1) * config.stride + config.window
        places = self.image.place_weights(strips, self.like)
        return SlicesSeen(
            torch.from_numpy(strips.padded(max(width, len(strips.pixels)))[0, :width].T.copy()).float() / 255,
            maps,
            config.window,
            config.stride,
            None if places is None else places[0, :, :width].float().cpu(),
        )

    def shares(self, source: Tensor, lengths: Tensor) -> Tensor:
        """Returns the share of each slice's pixels that shows each byte (B, S, N). Paper beyond a line counts as its end."""
        strips = self.strips(source, lengths)
        window, stride = self.config.window, self.config.stride
        counts = strips.slices(window, stride)
        found = torch.zeros((len(source), int(counts.max()), source.shape[1]))
        for row, text in enumerate(self.texts(source, lengths)):
            edges = self.renderer.edges(text)  # (characters + 1,)
            owner = _byte_of_column(text, edges, int((counts[row] - 1) * stride + window))
            for number in range(counts[row]):
                seen = owner[number * stride : number * stride + window].clip(max=int(lengths[row]) - 1)
                found[row, number] = torch.from_numpy(np.bincount(seen, minlength=source.shape[1]) / window)
        return found

    def aligning_layer(self, shifted: bool = False) -> int | None:
        """See `EncoderDecoder.aligning_layer`."""
        return self.base.aligning_layer(shifted)

    def tables(self) -> Tables:
        """See `EncoderDecoder.tables`: there are none for the source."""
        return Tables([], self.base.tables().target)

    def encoder_parts(self) -> Iterable[nn.Module]:
        """See `EncoderDecoder.encoder_parts`."""
        return self.base.encoder_parts()

    def repeated_parts(self) -> Iterable[nn.Module]:
        """See `EncoderDecoder.repeated_parts`."""
        return self.base.repeated_parts()

    def _initialise(self) -> None:
        """Draws convolutions as He et al. 2015 (equation 10) and matrices by Glorot; biases are zero."""
        for module in self.image.modules():
            match module:
                case nn.Conv2d():
                    nn.init.kaiming_uniform_(module.weight, nonlinearity="relu")
                case nn.Linear():
                    nn.init.xavier_uniform_(module.weight)
                case _:
                    continue
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # each has one

    def replace_output(self, output: nn.Linear) -> None:
        """See `EncoderDecoder.replace_output`."""
        self.output = self.base.output = output

    def compile_steps(self) -> None:
        """See `EncoderDecoder.compile_steps`."""
        self.base.compile_steps()


def make_base(config: VisualConfig, target_vocabulary: int) -> Transformer | RnnSeq2Seq:
    """Makes the model behind the image encoder; its table of source embeddings is empty."""
    base: Transformer | RnnSeq2Seq
    if config.base.kind == "transformer":
        base = Transformer(config.base, 0, target_vocabulary)
    else:
        base = RnnSeq2Seq(config.base, 0, target_vocabulary)
    for table in base.tables().source:
        table.requires_grad_(False)
    return base


def _byte_of_column(text: str, edges: Sequence[int] | np.ndarray[Any, Any], width: int) -> np.ndarray[Any, Any]:
    """Returns the number of the byte whose character each of the first columns shows (width,).

    Tokens of a line are a mark of its beginning, then the bytes. Margin counts as the mark; beyond the line is its end.
    """
    sizes = [len(letter.encode()) for letter in text]
    first = 1 + np.cumsum([0, *sizes])  # of each character, and of the end
    column = np.arange(width)
    order = np.searchsorted(np.asarray(edges), column, side="right")  # 0 in the margin
    return np.concatenate([[0], first])[order]
