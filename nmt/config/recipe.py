"""The recipe: the one typed config. Every key is checked, and every default is defined only here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from nmt.config.data import DataConfig, TokenizerConfig
from nmt.config.model import ModelConfig
from nmt.config.search import SearchConfig
from nmt.config.section import Count, Factor, FileName, Probability, Section, Weight, Width


class DenoisingConfig(Section):
    """The noises of `objective = "denoise"` (Lewis et al. 2020, section 2.2), in the order in which they are applied.

    A word is what stands between spaces, or a token in scripts without spaces.
    """

    permute: bool = False
    """Shuffle the sentences of a line, which end with `.`, `!` or `?`."""
    rotate: bool = False
    """Begin a line with any of its words; what stood before follows at the end."""
    delete: Probability = 0.0
    """Probability that a word is deleted."""
    mask: Probability = 0.0
    """Probability that a word becomes `<mask>`."""
    infill: Probability = 0.3
    """Share of the words in spans that become one `<mask>` each. A span of no words inserts a `<mask>`."""
    span: Annotated[float, Field(ge=1, le=100)] = 3.0
    """Mean of the Poisson distribution of the words of a span."""


class TrainingConfig(Section):
    """How the model is trained. Omitted keys take the family's default, which the resolved recipe contains."""

    updates: Count = 10_000
    """Optimizer updates; `--budget` replaces this number by as many as fit into the time."""
    batch_tokens: Count | Literal["auto"] = 4096
    """Target tokens per batch, without padding; auto: as many as fit into a GPU's memory, 4096 on a CPU."""
    accumulate: Annotated[int, Field(gt=0, le=10_000)] = 1
    """Batches per update; gradients are weighted by tokens."""
    max_length: Count = 200
    """Longest training sentence in tokens on either side; longer pairs are left out and counted."""
    optimizer: Literal["adam", "muon"] = "adam"
    """Muon updates the matrices inside the model, at the learning rate of Adam, which updates the rest (Jordan et al. 2024)."""
    learning_rate: Factor = 2e-3
    """Peak learning rate."""
    schedule: Literal["cosine", "inverse_square_root", "trapezoid", "plateau", "constant"] = "cosine"
    """Schedule of the learning rate after warm-up; a trapezoid falls linearly to zero over the last fifth."""
    warmup: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = None
    """Updates of linear warm-up. Default: 200, for Transformers 800. With `cosine` and `trapezoid` at most a tenth of all."""
    plateau_patience: Count = 2
    """Validations without improvement before `plateau` halves the learning rate."""
    adam_betas: tuple[Probability, Probability] = (0.9, 0.98)
    """Decay of the two moments of Adam."""
    weight_decay: Weight = 0.0
    """Decoupled weight decay (AdamW) on matrices; 0 is Adam."""
    clip: Factor = 1.0
    """Largest gradient norm; larger gradients are scaled down to it."""
    label_smoothing: Probability = 0.1
    """Share of the probability spread over the vocabulary (Szegedy et al. 2016)."""
    objective: Literal["translate", "denoise", "mass"] = "translate"
    """Use of `[[data.mono]]`: the tokenizer's training alone; to restore noised lines (BART, Lewis et al. 2020); or to predict
    a hidden half of each line (MASS, Song et al. 2019). Pairs are always translated.
    """
    denoising: DenoisingConfig = DenoisingConfig()
    bpe_dropout: Probability = 0.0
    """Probability that a BPE merge is left out, drawn anew each epoch on both sides (Provilkov et al. 2020); `bpe` only."""
    typos: Probability = 0.0
    """Probability that a source word gets a typing error, drawn anew each epoch: two letters swapped, one left out, one typed
    twice, or another letter (Belinkov and Bisk 2018).
    """
    r_drop: Weight = 0.0
    """Weight of the divergence between two passes with different dropout (Liang et al. 2021); doubles the work."""
    ema: Probability = 0.0
    """Decay of a running mean of the weights, for example 0.999. The mean is validated and used for translation. 0: no mean."""
    average: Width = 1
    """Number of last checkpoints whose mean is the model; 1: the best checkpoint."""
    initialise: str | None = None
    """A bundle, run or checkpoint to start from: its weights and its tokenizer (see `tokenizer.model`). If tokenizers
    differ, embeddings are matched by piece. Its `model` section must be the same; dropout and the font may differ.
    """
    freeze: tuple[str, ...] = ()
    """Modules or parameters that are not trained, by name or pattern, for example `source_embedding` or `encoder*`."""
    recompute: bool = False
    """Recomputes each layer in the backward pass instead of keeping its activations: a third more work, less memory."""
    compile: bool = False
    """Compiles layers, or the step of attention RNNs, once for all shapes. It switches off the CUDA graph of an update, which
    gains more, and is slower on the CPUs tried.
    """
    shard: bool = False
    """Several processes divide weights, gradients and moments (FSDP2), for models too large for one device."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of matrix products; auto: bf16 where the device is fast at it."""
    validate_every: Count = 500
    """Updates between validations; each writes a checkpoint."""
    validation_sentences: Count = 1000
    """Validation sentences translated (greedily) for the score; the loss uses all within `max_length`."""
    metric: Literal["bleu", "chrf2", "loss"] = "bleu"
    """Metric that decides on the best checkpoint, on patience and on `plateau`.

    With BLEU or chrF2, and without `--budget`, the recipe's own search decides at the end between the best and the last.
    """
    patience: Count | None = None
    """Stop after this many validations without a better score."""
    keep: Width = 3
    """Number of newest checkpoints to keep, besides the best."""
    log_every: Count = 50
    """Updates between log lines."""

    @field_validator("metric", mode="before")
    @classmethod
    def _as_it_is_called_now(cls, value: Any) -> Any:
        return "chrf2" if value == "chrf" else value  # as version 0.1.0 has it


class Recipe(Section):
    """Everything that decides what is trained and how."""

    name: FileName
    """Name of the run folder and in reports."""
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
        """Fills in the defaults of the family for training and tokenizer, so that the saved recipe contains them."""
        model, training = (
            (values.get(key, {}) for key in ("model", "training")) if isinstance(values, dict) else ({}, {})
        )
        if not (isinstance(model, dict) and isinstance(training, dict)):
            return values
        kind = str(model.get("kind"))
        filled = {**values, "training": {**FAMILY_TRAINING.get(kind, {}), **training}}
        if kind in FAMILY_TOKENIZER and isinstance(tokenizer := values.get("tokenizer", {}), dict):
            filled["tokenizer"] = {**FAMILY_TOKENIZER[kind], **tokenizer}
        return filled

    @model_validator(mode="after")
    def _tying_needs_one_vocabulary(self) -> Self:
        if self.model.tie == "all" and not self.tokenizer.joint:
            raise ValueError("model.tie = 'all' needs tokenizer.joint = true; use model.tie = 'output'")
        return self

    @model_validator(mode="after")
    def _pictures_show_every_letter(self) -> Self:
        if self.model.kind == "visual" and (self.tokenizer.joint or self.tokenizer.kinds[0] != "byte"):
            raise ValueError("model.kind = 'visual' needs tokenizer.joint = false and tokenizer.source_kind = 'byte'")
        return self

    @model_validator(mode="after")
    def _there_is_something_to_train_on(self) -> Self:
        data, training = self.data, self.training
        if training.objective != "translate" and not data.mono:
            raise ValueError(f"training.objective = '{training.objective}' needs text: add [[data.mono]]")
        if training.objective != "denoise" and training.denoising != DenoisingConfig():
            raise ValueError(f"training.denoising is for training.objective = 'denoise', got '{training.objective}'")
        if training.objective == "translate" and not data.has_pairs:
            raise ValueError(
                "data.weight = 0 leaves no pairs to train on: add [[data.more]], or set training.objective"
            )
        if not data.has_pairs and (training.patience or training.schedule == "plateau"):
            key = "patience" if training.patience else "schedule = 'plateau'"
            raise ValueError(f"training.{key} waits for better translations, which data.weight = 0 does not teach")
        return self

    @model_validator(mode="after")
    def _text_passes_both_sides(self) -> Self:
        if self.data.mono and self.model.kind == "visual":
            raise ValueError("data.mono needs words to mask in the source, and model.kind = 'visual' reads pictures")
        if self.data.mono and not self.tokenizer.joint:
            raise ValueError("data.mono needs tokenizer.joint = true: each of its lines is both source and target")
        if self.data.mono and self.tokenizer.kind == "byte":
            raise ValueError("data.mono needs a token for <mask>, which tokenizer.kind = 'byte' does not have")
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
        if training.bpe_dropout and (other := [kind for kind in self.tokenizer.kinds if kind != "bpe"]):
            raise ValueError(f"training.bpe_dropout needs tokenizer.kind = 'bpe', got {other[0]!r}")
        if training.bpe_dropout and training.typos:
            raise ValueError(
                "training.typos and training.bpe_dropout both make the tokens of each epoch; use one of them"
            )
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
    "visual": {"warmup": 800, "max_length": 600},  # in bytes of the source
}
FAMILY_TOKENIZER: dict[str, dict[str, Any]] = {"visual": {"joint": False, "source_kind": "byte"}}
