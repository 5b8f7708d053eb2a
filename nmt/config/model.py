"""Settings of the model families."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from nmt.config.section import Layers, Probability, Section, Width

ScoreName = Literal["additive", "dot", "scaled_dot", "bilinear", "location", "multi_head"]
"""How a decoder state is compared with the encoder's states; see `nmt.models.rnn.scores`."""
WeightingName = Literal["softmax", "sparsemax", "local_monotonic", "local_predictive", "hard", "gumbel"]
"""How scores become weights; see `nmt.models.rnn.weighting`."""
PositionName = Literal["none", "sinusoidal", "learned", "rotary", "alibi"]
"""How a Transformer encodes word positions; see `nmt.models.transformer.positions`."""


class RnnConfig(Section):
    """RNN encoder-decoder (Sutskever et al. 2014; Cho et al. 2014), with or without attention (Bahdanau et al. 2015)."""

    kind: Literal["rnn"] = "rnn"
    attention: Literal["none", ScoreName] = "additive"
    """Score function between decoder state and encoder states; `none`: one fixed vector is the only link."""
    weighting: WeightingName = "softmax"
    """From scores to weights: over the whole source, sparse (Martins and Astudillo 2016), in a window (Luong et al. 2015),
    or on one position, learnt by REINFORCE (Xu et al. 2015) or straight-through Gumbel-softmax (Jang et al. 2017).
    """
    window: Width = 10
    """Source positions that local attention sees on either side."""
    heads: Width = 4
    """Number of heads of multi_head attention; must divide the widths."""
    query: Literal["previous", "current"] = "previous"
    """The decoder state that queries the source: the previous (Bahdanau et al. 2015) or the current (Luong et al. 2015)."""
    values: Literal["shared", "projected"] = "shared"
    """The vectors that contexts average: the encoder's states, or a separate projection of them (key-value attention)."""
    input_feeding: bool = False
    """Feeds the attentional state into the next step (Luong et al. 2015, section 3.3); for `query = "current"`.

    A layer of its own makes that state. In the paper the layer that predicts makes it.
    """
    coverage: bool = False
    """Additive scores include the attention that each position has had so far (See et al. 2017)."""
    cell: Literal["gru", "lstm"] = "gru"
    """Recurrent unit."""
    embedding: Width = 256
    """Width of the token embeddings."""
    hidden: Width = 256
    """Width of the decoder state, and of the encoder state in each direction."""
    layers: Layers = 1
    """Recurrent layers in the encoder and in the decoder."""
    bidirectional: bool = True
    """Read the source in both directions."""
    reverse_source: bool = False
    """Feed the source in reverse order (Sutskever et al. 2014, section 3.3)."""
    bridge: Literal["dense", "zero"] = "dense"
    """First decoder state: tanh of a linear map of the fixed vector, or zeros."""
    summary: Literal["last", "max_and_last"] = "last"
    """The fixed vector: the last encoder states, or these plus the maximum over positions."""
    feed_summary: Literal["state", "first", "every"] = "every"
    """The fixed vector goes to the first state alone (Sutskever et al. 2014), to the readout too, or to every state as well."""
    readout: Literal["maxout", "plain"] = "maxout"
    """Layer before the softmax: maxout (Bahdanau et al. 2015, appendix A.2.2) or tanh."""
    tie: Literal["none", "output", "all"] = "output"
    """Share embeddings: target with softmax, or source too (joint vocabulary only)."""
    dropout: Probability = 0.2
    """Dropout on embeddings, between layers and on the readout."""
    word_dropout: Probability = 0.0
    """Zeroes whole embeddings, source and target, each drawn by itself (Sennrich and Zhang 2019; Gal and Ghahramani 2016)."""

    @property
    def family(self) -> str:
        """For tables."""
        return f"rnn ({self.attention})"

    @property
    def attends(self) -> bool:
        """Whether the decoder attends to the source."""
        return self.attention != "none"

    @model_validator(mode="after")
    def _bridge_carries_something(self) -> Self:
        if self.attention == "none" and self.bridge == "zero" and self.feed_summary != "every":
            raise ValueError("nothing would reach the decoder: set bridge = 'dense' or feed_summary = 'every'")
        return self

    @model_validator(mode="after")
    def _attention_fits(self) -> Self:
        width = self.hidden * (2 if self.bidirectional else 1)
        if self.attention in ("dot", "scaled_dot") and width != self.hidden:
            raise ValueError(
                f"{self.attention} attention needs equal widths, got state {self.hidden} and encoder {width}: "
                "use attention = 'bilinear' or bidirectional = false"
            )
        if self.attention == "multi_head" and self.weighting not in ("softmax", "sparsemax"):
            raise ValueError(f"multi_head attention has no weighting = {self.weighting!r}: use softmax or sparsemax")
        if self.attention == "multi_head" and (self.hidden % self.heads or width % self.heads):
            raise ValueError(f"heads must divide hidden = {self.hidden} and the encoder's {width}, got {self.heads}")
        if self.coverage and self.attention != "additive":
            raise ValueError(f"coverage is a part of additive attention, got attention = {self.attention!r}")
        if self.input_feeding and self.query != "current":
            raise ValueError(
                "input_feeding needs query = 'current': with 'previous' the context is in the recurrence already"
            )
        return self

    @model_validator(mode="after")
    def _switches_have_an_attention(self) -> Self:
        plain = {"weighting": "softmax", "query": "previous", "values": "shared", "input_feeding": False}
        changed = [key for key, value in plain.items() if getattr(self, key) != value]
        if self.attention == "none" and changed:
            raise ValueError(f"{changed[0]} is a switch of attention, and attention = 'none'")
        return self


class TransformerConfig(Section):
    """Transformer encoder-decoder (Vaswani et al. 2017)."""

    kind: Literal["transformer"] = "transformer"
    width: Width = 256
    """Width of the residual stream (d_model)."""
    feed_forward: Width = 1024
    """Inner width of the feed-forward layers (d_ff)."""
    heads: Width = 4
    """Attention heads; must divide the width."""
    encoder_layers: Layers = 3
    """Layers of the encoder."""
    decoder_layers: Layers = 3
    """Layers of the decoder."""
    norm: Literal["pre", "post"] = "pre"
    """LayerNorm before each sublayer (Xiong et al. 2020), or after it as in the original paper."""
    normalization: Literal["layer", "rms"] = "layer"
    """LayerNorm, or RMSNorm (Zhang and Sennrich 2019)."""
    positions: PositionName = "sinusoidal"
    """Word positions: added to the embedding, sinusoidal or learned; rotated into queries and keys (Su et al. 2021); or a
    penalty on distance (Press et al. 2022).
    """
    scaled: bool = True
    """Divides attention scores by the square root of the head width; false shows its effect."""
    residual: bool = True
    """Adds the input of each sublayer to its output; false shows its effect."""
    activation: Literal["relu", "gelu"] = "relu"
    """Activation of the feed-forward layers."""
    tie: Literal["none", "output", "all"] = "all"
    """Share embeddings: target with softmax, or source too (joint vocabulary only)."""
    dropout: Probability = 0.1
    """Dropout on embeddings and on each sublayer's output."""
    attention_dropout: Probability = 0.0
    """Dropout on attention weights."""
    activation_dropout: Probability = 0.0
    """Dropout inside the feed-forward layers."""
    word_dropout: Probability = 0.0
    """Zeroes whole embeddings, source and target, each drawn by itself (Sennrich and Zhang 2019; Gal and Ghahramani 2016)."""

    @property
    def family(self) -> str:
        """For tables."""
        return self.kind

    @property
    def attends(self) -> bool:
        """Whether the decoder attends to the source."""
        return True

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads must divide width, got {self.heads} heads and width {self.width}")
        if self.width % 2:
            raise ValueError(f"width must be even, got {self.width}")
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise ValueError(f"rotary positions need heads of an even width, got {self.width // self.heads}")
        return self


class ConvolutionConfig(Section):
    """Convolutional sequence to sequence (Gehring et al. 2017)."""

    kind: Literal["convolution"] = "convolution"
    embedding: Width = 256
    """Width of the token embeddings, and of the vectors that attention compares."""
    hidden: Width = 256
    """Width of the layers."""
    encoder_layers: Layers = 4
    """Gated convolutions of the encoder; each widens the view of a position by `kernel - 1`."""
    decoder_layers: Layers = 3
    """Gated convolutions of the decoder, each with attention."""
    kernel: Width = 3
    """Positions that a convolution sees; odd."""
    positions: Width = 256
    """Positions with a separate embedding; later ones share the last."""
    tie: Literal["none", "output", "all"] = "output"
    """Share embeddings: target with softmax, or source too (joint vocabulary only)."""
    dropout: Probability = 0.2
    """Dropout on embeddings, on the input of each convolution and before the softmax."""
    word_dropout: Probability = 0.0
    """Zeroes whole embeddings, source and target, each drawn by itself (Sennrich and Zhang 2019; Gal and Ghahramani 2016)."""

    @property
    def family(self) -> str:
        """For tables."""
        return self.kind

    @property
    def attends(self) -> bool:
        """Whether the decoder attends to the source."""
        return True

    @model_validator(mode="after")
    def _kernel_has_a_middle(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that a window has a middle, got {self.kernel}")
        return self


ImageEncoderName = Literal["slices", "visrep", "cnn"]
"""How a strip of pixels becomes one vector per slice; see `nmt.models.visual.image`."""
ChannelAttentionName = Literal["none", "se", "cbam"]
"""How the channels of a convolution are weighed; see `nmt.models.visual.gates`."""
SpatialAttentionName = Literal["none", "cbam"]
"""How the places of a picture are weighed; see `nmt.models.visual.gates`."""


class VisualConfig(Section):
    """Reads a picture of the source text in place of tokens (Salesky et al. 2021)."""

    kind: Literal["visual"] = "visual"
    image_encoder: ImageEncoderName = "visrep"
    """What makes a vector of a slice: a linear map of its pixels (`slices`, as in Dosovitskiy et al. 2021), a convolution of
    each slice and a linear map (`visrep`, Salesky et al. 2021), or three convolutions over the whole line (`cnn`).
    """
    channel_attention: ChannelAttentionName = "none"
    """Weighs the channels of a convolution: squeeze-and-excitation (Hu et al. 2018), or as in CBAM (Woo et al. 2018)."""
    spatial_attention: SpatialAttentionName = "none"
    """Weighs the places of a picture, after the channels (Woo et al. 2018)."""
    font: str | None = None
    """A font file. Default: DejaVu Sans, which comes with matplotlib."""
    height: Annotated[int, Field(ge=8, le=256)] = 12
    """Height of a line of text in pixels; the font is scaled to it."""
    window: Annotated[int, Field(ge=2, le=1024)] = 16
    """Width of a slice in pixels."""
    stride: Annotated[int, Field(ge=1, le=1024)] = 16
    """Pixels from the beginning of a slice to that of the next."""
    words: Literal["aligned", "running"] = "aligned"
    """Where a word begins: with a slice, so that it always looks the same (Lotz et al. 2023), or right after the space."""
    base: Annotated[RnnConfig | TransformerConfig, Field(discriminator="kind")] = TransformerConfig(tie="output")
    """The model that reads the slices and writes the translation: the `model` section of that family."""

    @property
    def family(self) -> str:
        """For tables."""
        return f"visual ({self.image_encoder}), {self.base.family}"

    @property
    def attends(self) -> bool:
        """Whether the decoder attends to the source."""
        return self.base.attends

    @property
    def grid(self) -> int:
        """Pixels of which a word begins at a multiple."""
        return self.stride if self.words == "aligned" else 1

    @property
    def source_width(self) -> int:
        """Width of the vectors that the base reads."""
        return self.base.width if self.base.kind == "transformer" else self.base.embedding

    @property
    def tie(self) -> Literal["none", "output", "all"]:
        """See `TransformerConfig.tie`; there are no source embeddings to share."""
        return self.base.tie

    @model_validator(mode="after")
    def _slices_fit(self) -> Self:
        if self.stride > self.window:
            raise ValueError(f"stride must be at most window = {self.window}, or pixels are skipped; got {self.stride}")
        if self.image_encoder == "cnn" and (self.height % 4 or self.window % 4 or self.stride % 4):
            raise ValueError(
                "height, window and stride must be multiples of 4: image_encoder = 'cnn' shrinks a picture so"
            )
        return self

    @model_validator(mode="after")
    def _attention_has_a_convolution(self) -> Self:
        if self.image_encoder == "slices" and (self.channel_attention != "none" or self.spatial_attention != "none"):
            raise ValueError(
                "channel_attention and spatial_attention weigh what a convolution finds: use image_encoder = 'cnn'"
            )
        return self

    @model_validator(mode="after")
    def _base_reads_vectors(self) -> Self:
        if self.base.tie == "all":
            raise ValueError("base.tie = 'all' shares source embeddings, and a visual model has none; use 'output'")
        return self


ModelConfig = Annotated[RnnConfig | TransformerConfig | ConvolutionConfig | VisualConfig, Field(discriminator="kind")]
