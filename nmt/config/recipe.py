"""The recipe: the one typed config. Every key is checked, and a default lives here and nowhere else."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _file_name(text: str) -> str:
    if not text.strip() or text.startswith(".") or set(text) & set("/:"):
        raise ValueError(f"names files, so it must not be empty, begin with a dot or hold / or :, got {text!r}")
    return text


def _symbols(symbols: tuple[str, ...]) -> tuple[str, ...]:
    for place, symbol in enumerate(symbols):
        if not symbol or not symbol.isprintable() or re.search(r"[\s\u2581]", symbol):
            raise ValueError(
                f"symbols must be printable, without white space or \u2581 (a token ends there), got {symbol!r}"
            )
        if symbol in ("<pad>", "<unk>", "<s>", "</s>") or re.fullmatch("<0x[0-9A-F]{2}>", symbol):
            raise ValueError(f"{symbol!r} is a special token already; text that holds it needs another name for it")
        if symbol in symbols[:place]:
            raise ValueError(f"{symbol!r} is there twice")
    return symbols


FileName = Annotated[str, AfterValidator(_file_name)]
Probability = Annotated[float, Field(ge=0, lt=1)]
# Bounds far above what anybody trains: beyond them numbers overflow, or a computer counts for ever.
Count = Annotated[int, Field(gt=0, le=1_000_000_000)]
Width = Annotated[int, Field(gt=0, le=1_000_000)]
Layers = Annotated[int, Field(gt=0, le=1000)]
Length = Annotated[int, Field(ge=0, le=100_000)]
Factor = Annotated[float, Field(gt=0, le=1_000_000)]
Weight = Annotated[float, Field(ge=0, le=1_000_000_000)]
Tokenization = Literal["13a", "none", "intl", "char", "zh", "ja-mecab", "ko-mecab", "flores200"]
"""sacreBLEU's ways to split words; `none` is for text that is tokenised already."""


class Section(BaseModel):
    """A frozen part of a recipe that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class CleaningConfig(Section):
    """Which training pairs are dropped; validation and test sets are never touched."""

    max_words: Count = 200
    """Longest sentence kept, in words; of scripts without spaces two letters of Han or kana, or four others, are one."""
    max_ratio: Annotated[float, Field(ge=1, le=1_000_000_000)] = 6.0
    """Largest ratio between the two lengths in characters; pairs under 20 characters are not judged."""
    drop_identical: bool = False
    """Drop pairs whose two sides are the same text."""
    duplicates: Literal["keep", "exact", "normalised"] = "keep"
    """Drop repeated pairs: byte for byte, or ignoring case, punctuation and spacing."""
    drop_leaked: bool = False
    """Drop training pairs whose source or target stands in a validation or test set (they are always reported)."""


class CorpusConfig(Section):
    """One more corpus to train on, cleaned and lower-cased as the first."""

    corpus: str
    """Name of a corpus card that ships with nmt, or path of a card (.toml)."""
    source: str
    """Language (column) to translate from."""
    target: str
    """Language (column) to translate into."""
    weight: Factor = 1.0
    """Times that its share of the training pairs is multiplied by."""


class DataConfig(Section):
    """Which corpus, in which direction, and how it is cleaned."""

    corpus: str
    """Name of a corpus card that ships with nmt, or path of a card (.toml)."""
    source: str
    """Language (column) to translate from."""
    target: str
    """Language (column) to translate into."""
    lowercase: bool = False
    """Lower-case both sides before anything else; scores are then lower-cased scores."""
    on_bad_text: Literal["error", "skip"] = "error"
    """What to do with a training line that is not valid UTF-8."""
    limit: Count | None = None
    """Use only the first so many training pairs."""
    cleaning: CleaningConfig = CleaningConfig()
    weight: Factor = 1.0
    """Of this corpus, where there are `more`: times that its share of the training pairs is multiplied by."""
    temperature: Annotated[float, Field(ge=0.1, le=1_000_000)] = 1.0
    """Corpora are drawn from in proportion to size^(1 / temperature); above 1 small ones are seen more often."""
    tag_target: bool = False
    """Each source begins with `<2xx>`, the language to translate into (Johnson et al. 2017): one model, several targets."""
    more: tuple[CorpusConfig, ...] = ()
    """Further corpora, as `[[data.more]]`."""

    @property
    def target_languages(self) -> list[str]:
        """Of all corpora, each once, the first corpus's first."""
        return list(dict.fromkeys([self.target, *(part.target for part in self.more)]))


class TokenizerConfig(Section):
    """How text becomes tokens."""

    kind: Literal["unigram", "bpe", "word", "character"] = "unigram"
    """Subwords (unigram language model or byte-pair encoding), whole words, or characters."""
    vocabulary: Annotated[int, Field(gt=0, le=10_000_000)] = 8000
    """Number of tokens, the four special ones included; for words and characters an upper bound."""
    joint: bool = True
    """One vocabulary for both languages."""
    byte_fallback: bool = False
    """Spell unknown characters as bytes instead of <unk>."""
    character_coverage: Annotated[float, Field(ge=0.5, le=1)] = 1.0
    """Share of the characters of the training text that the vocabulary must cover."""
    normalization: Literal["nfkc", "identity"] = "nfkc"
    """Unicode normalisation; `identity` for text that is already tokenised and normalised."""
    user_symbols: Annotated[tuple[str, ...], AfterValidator(_symbols)] = ()
    """Strings that are always one token; without white space, and none of the special tokens."""
    model: str | None = None
    """A bundle, run or checkpoint whose tokenizer is taken, with its settings, instead of training one. Left out, it is the
    model of `training.initialise`, if there is one; `new` trains one all the same."""


class RnnConfig(Section):
    """RNN encoder-decoder (Sutskever et al. 2014; Cho et al. 2014), with or without attention (Bahdanau et al. 2015)."""

    kind: Literal["rnn"] = "rnn"
    attention: Literal["none", "additive", "dot", "scaled_dot", "bilinear", "location", "multi_head"] = "additive"
    """Score function between decoder state and encoder states; `none`: one fixed vector is the only bridge."""
    weighting: Literal["softmax", "sparsemax", "local_monotonic", "local_predictive", "hard", "gumbel"] = "softmax"
    """From scores to weights: over the whole source, sparse (Martins and Astudillo 2016), in a window (Luong et al. 2015), or
    one position alone, learnt by REINFORCE (Xu et al. 2015) or by the straight-through Gumbel-softmax (Jang et al. 2017)."""
    window: Width = 10
    """Source positions that local attention sees on either side."""
    heads: Width = 4
    """Of multi_head attention; must divide the widths."""
    query: Literal["previous", "current"] = "previous"
    """The state that looks at the source: of the last position (Bahdanau et al. 2015), or of this (Luong et al. 2015)."""
    values: Literal["shared", "projected"] = "shared"
    """What contexts are made of: the encoder's states, or a projection of their own (key-value attention)."""
    input_feeding: bool = False
    """The attentional state goes into the next step (Luong et al. 2015, section 3.3); for `query = "current"`."""
    coverage: bool = False
    """Additive scores know the attention that each position has had (See et al. 2017)."""
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
    """The fixed vector: the last encoder states, or those plus the maximum over positions."""
    feed_summary: Literal["first", "every"] = "every"
    """Without attention: the fixed vector reaches the first decoder state only, or every step (Cho et al. 2014)."""
    readout: Literal["maxout", "plain"] = "maxout"
    """Layer before the softmax: maxout (Bahdanau et al. 2015, appendix A.2.2) or tanh."""
    tie: Literal["none", "output", "all"] = "output"
    """Share embeddings: target with softmax, or source too (joint vocabulary only)."""
    dropout: Probability = 0.2
    """On embeddings, between layers and on the readout."""
    word_dropout: Probability = 0.0
    """Zeroes the whole embedding of a token, source and target (Gal and Ghahramani 2016; Sennrich and Zhang 2019)."""

    @property
    def family(self) -> str:
        """For tables."""
        return f"rnn ({self.attention})"

    @model_validator(mode="after")
    def _bridge_carries_something(self) -> Self:
        if self.attention == "none" and self.bridge == "zero" and self.feed_summary == "first":
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
    """LayerNorm before each sublayer (Xiong et al. 2020) or after it, as in the first paper."""
    normalization: Literal["layer", "rms"] = "layer"
    """LayerNorm, or RMSNorm (Zhang and Sennrich 2019)."""
    positions: Literal["none", "sinusoidal", "learned", "rotary", "alibi"] = "sinusoidal"
    """Where a word stands: added to its embedding, by sinusoids or learnt; turned into queries and keys (Su et al. 2021); or
    as a penalty on distance (Press et al. 2022)."""
    scaled: bool = True
    """Divides attention scores by the root of the width of a head; false shows what that is for."""
    residual: bool = True
    """Adds the input of each sublayer to its output; false shows what that is for."""
    activation: Literal["relu", "gelu"] = "relu"
    """Activation of the feed-forward layers."""
    tie: Literal["none", "output", "all"] = "all"
    """Share embeddings: target with softmax, or source too (joint vocabulary only)."""
    dropout: Probability = 0.1
    """On embeddings and on each sublayer's output."""
    attention_dropout: Probability = 0.0
    """On attention weights."""
    activation_dropout: Probability = 0.0
    """Inside the feed-forward layers."""
    word_dropout: Probability = 0.0
    """Zeroes the whole embedding of a token, source and target (Gal and Ghahramani 2016)."""

    @property
    def family(self) -> str:
        """For tables."""
        return self.kind

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads must divide width, got {self.heads} heads and width {self.width}")
        if self.width % 2:
            raise ValueError(f"width must be even for sinusoidal positions, got {self.width}")
        if self.positions == "rotary" and self.width // self.heads % 2:
            raise ValueError(f"rotary positions need heads of an even width, got {self.width // self.heads}")
        return self


class ConvolutionConfig(Section):
    """Convolutional sequence to sequence (Gehring et al. 2017)."""

    kind: Literal["convolution"] = "convolution"
    embedding: Width = 256
    """Width of the token embeddings, and of what attention compares."""
    hidden: Width = 256
    """Width of the layers."""
    encoder_layers: Layers = 4
    """Gated convolutions of the encoder; each widens what a position sees by `kernel - 1`."""
    decoder_layers: Layers = 3
    """Gated convolutions of the decoder, each with attention."""
    kernel: Width = 3
    """Positions that a convolution sees; odd."""
    positions: Width = 256
    """Positions with an embedding of their own; those beyond share the last."""
    tie: Literal["none", "output", "all"] = "output"
    """Share embeddings: target with softmax, or source too (joint vocabulary only)."""
    dropout: Probability = 0.2
    """On embeddings, on the input of each convolution and before the softmax."""
    word_dropout: Probability = 0.0
    """Zeroes the whole embedding of a token, source and target (Gal and Ghahramani 2016)."""

    @property
    def family(self) -> str:
        """For tables."""
        return self.kind

    @model_validator(mode="after")
    def _kernel_has_a_middle(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that a window has a middle, got {self.kernel}")
        return self


ModelConfig = Annotated[RnnConfig | TransformerConfig | ConvolutionConfig, Field(discriminator="kind")]


class TrainingConfig(Section):
    """How the model is trained. What is left out takes the default of the family, and stands in the resolved recipe."""

    updates: Count = 10_000
    """Optimizer updates; `--budget` replaces this number by what fits into the time."""
    batch_tokens: Count | Literal["auto"] = 4096
    """Target tokens per batch, padding not counted; auto: what fits into a GPU's memory, 4096 on a CPU."""
    accumulate: Annotated[int, Field(gt=0, le=10_000)] = 1
    """Batches per update; gradients are weighted by tokens."""
    max_length: Count = 200
    """Longest training sentence in tokens on either side; longer pairs are left out and counted."""
    optimizer: Literal["adam", "muon"] = "adam"
    """Muon moves the matrices inside of the model, at the rate of Adam, which moves the rest (Jordan et al. 2024)."""
    learning_rate: Factor = 2e-3
    """Peak learning rate."""
    schedule: Literal["cosine", "inverse_square_root", "trapezoid", "plateau", "constant"] = "cosine"
    """Course of the learning rate after warm-up; a trapezoid falls linearly to zero over the last fifth."""
    warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    """Updates of linear warm-up; by family: 200, for Transformers 800 (of `cosine` and `trapezoid` at most a tenth of all)."""
    plateau_patience: Count = 2
    """Validations without improvement before `plateau` halves the learning rate."""
    adam_betas: tuple[Probability, Probability] = (0.9, 0.98)
    """Decay of the two moments of Adam."""
    weight_decay: Weight = 0.0
    """Decoupled weight decay (AdamW) on matrices; 0 is Adam."""
    clip: Factor = 1.0
    """Largest norm of the gradient."""
    label_smoothing: Probability = 0.1
    """Share of the probability spread over the vocabulary (Szegedy et al. 2016)."""
    bpe_dropout: Probability = 0.0
    """Chance of leaving a merge out, drawn anew each epoch on both sides (Provilkov et al. 2020); `bpe` only."""
    r_drop: Weight = 0.0
    """Weight of the divergence between two passes with different dropout (Liang et al. 2021); doubles the work."""
    ema: Probability = 0.0
    """Decay of a running mean of the weights, which then is what is validated and translates; 0: none. 0.999, say."""
    average: Width = 1
    """The model is the mean of that many last checkpoints; 1: the best checkpoint."""
    initialise: str | None = None
    """A bundle, run or checkpoint whose weights training starts from, and whose tokenizer is kept (see `tokenizer.model`);
    embeddings go by piece if tokenizers differ."""
    freeze: tuple[str, ...] = ()
    """Modules or parameters that are not trained, by name or pattern, such as `source_embedding` or `encoder*`."""
    recompute: bool = False
    """Computes each layer again in the backward pass instead of keeping its activations: a third more work, less memory."""
    compile: bool = False
    """Compiles layers, or the step of attention RNNs, once for all shapes; meant for GPUs, slower on the CPUs tried."""
    shard: bool = False
    """Several processes divide weights, gradients and moments among them (FSDP2), for models too large for one device."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of matrix products; auto: bf16 where the device is fast at it."""
    validate_every: Count = 500
    """Updates between validations; each writes a checkpoint."""
    validation_sentences: Count = 1000
    """Validation sentences that are translated (greedily) for the score; the loss uses all of them."""
    metric: Literal["bleu", "chrf", "loss"] = "bleu"
    """What decides on the best checkpoint, on patience and on `plateau`.

    By BLEU or chrF2, and without `--budget`, the recipe's own search decides in the end between the best and the last.
    """
    patience: Count | None = None
    """Stop after so many validations without a better score."""
    keep: Width = 3
    """Newest checkpoints kept, beside the best."""
    log_every: Count = 50
    """Updates between log lines."""


class SearchConfig(Section):
    """How translations are searched for."""

    beam: Annotated[int, Field(gt=0, le=10_000)] = 5
    """Hypotheses kept per sentence; 1 is greedy search."""
    length_penalty: Literal["none", "average", "gnmt"] = "average"
    """Divide the score by length^alpha, or by ((5 + length) / 6)^alpha (Wu et al. 2016, equation 14)."""
    alpha: Annotated[float, Field(ge=0, le=10)] = 1.0
    """Exponent of the length penalty."""
    max_length_ratio: Weight = 2.0
    """Longest translation in tokens: this times the source length plus `max_length_constant`."""
    max_length_constant: Length = 10
    """See `max_length_ratio`."""
    min_length: Length = 0
    """Shortest translation in tokens."""
    no_repeat_ngram: Length = 0
    """No n-gram of this size twice in a translation (Paulus et al. 2018); 0 allows all."""
    repetition_penalty: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Multiplies the log-probability of tokens said before (Keskar et al. 2019); 1 leaves it."""
    coverage_penalty: Weight = 0.0
    """Weight of the coverage penalty when finished hypotheses are ranked (Wu et al. 2016, equation 14)."""
    groups: Width = 1
    """Groups of the beam that avoid each other's words (diverse beam search, Vijayakumar et al. 2018); must divide it."""
    diversity: Weight = 0.5
    """What a word costs for each earlier group that has just chosen it."""
    stopping: Literal["exact", "count"] = "exact"
    """A sentence is done when no better hypothesis can still come, or when as many as the beam is wide have ended."""
    batch_tokens: Count | Literal["auto"] = "auto"
    """Source tokens times beam in one batch, padding counted; auto: 4,096 on a CPU, 32,768 on a GPU."""

    @model_validator(mode="after")
    def _groups_divide_beam(self) -> Self:
        if self.beam % self.groups:
            raise ValueError(f"groups must divide beam, got {self.groups} groups and a beam of {self.beam}")
        return self


class SamplingConfig(Section):
    """How translations are drawn instead of searched for."""

    temperature: Annotated[float, Field(ge=0.0001, le=1000)] = 1.0
    """Divides log-probabilities: below 1 sharper, above 1 flatter."""
    top_k: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """Draw from the k most probable tokens; 0 from all."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Draw from the most probable tokens that together hold this probability."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Draw from tokens of at least this share of the largest probability."""
    epsilon: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Draw from tokens of at least this probability."""
    seed: int = 1
    """Seed of the draws; those of a line depend on it and on the number of the line alone."""


class Recipe(Section):
    """Everything that decides what is trained and how."""

    name: FileName
    """Names the run folder and the reports."""
    seed: int = 1
    """Seed of initialisation, dropout and data order."""
    data: DataConfig
    tokenizer: TokenizerConfig = TokenizerConfig()
    model: ModelConfig
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()

    @model_validator(mode="before")
    @classmethod
    def _fill_family_defaults(cls, values: Any) -> Any:
        """Training defaults that depend on the family become plain values, so that the saved recipe says them."""
        model, training = (
            (values.get(key, {}) for key in ("model", "training")) if isinstance(values, dict) else ({}, {})
        )
        if not (isinstance(model, dict) and isinstance(training, dict)):
            return values
        defaults = FAMILY_TRAINING.get(str(model.get("kind")), {})
        return {**values, "training": {**defaults, **training}}

    @model_validator(mode="after")
    def _tying_needs_one_vocabulary(self) -> Self:
        if self.model.tie == "all" and not self.tokenizer.joint:
            raise ValueError("model.tie = 'all' needs tokenizer.joint = true; use model.tie = 'output'")
        return self

    @model_validator(mode="after")
    def _languages_can_be_told_apart(self) -> Self:
        targets = self.data.target_languages
        if len(targets) > 1 and not self.data.tag_target:
            raise ValueError(f"data.more has several target languages ({', '.join(targets)}): set data.tag_target")
        return self

    @model_validator(mode="after")
    def _training_fits_the_model(self) -> Self:
        training = self.training
        if training.bpe_dropout and self.tokenizer.kind != "bpe":
            raise ValueError(f"training.bpe_dropout needs tokenizer.kind = 'bpe', got {self.tokenizer.kind!r}")
        if training.average > training.keep:
            raise ValueError(
                f"training.keep must be at least training.average = {training.average}, got {training.keep}"
            )
        if training.shard and training.batch_tokens == "auto":
            raise ValueError("training.shard needs a number for training.batch_tokens: one process cannot try alone")
        if training.shard and training.optimizer == "muon":
            raise ValueError(
                "training.optimizer = 'muon' needs whole matrices, which training.shard divides; use 'adam'"
            )
        if training.r_drop and self.model.kind == "rnn" and self.model.weighting == "hard":
            raise ValueError("training.r_drop compares two passes, and weighting = 'hard' draws another path in each")
        if training.recompute and self.model.kind != "transformer":
            raise ValueError(
                f"training.recompute is for Transformers, whose layers repeat; got model.kind = '{self.model.kind}'"
            )
        return self


FAMILY_TRAINING: dict[str, dict[str, Any]] = {
    "rnn": {"warmup": 200},
    "transformer": {"warmup": 800},
    "convolution": {"warmup": 200},
}
