"""Chooses the vocabulary, the model and the training that fit the size of a corpus, as recipes of this project do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from nmt.config.toml import toml_line
from nmt.corpus.words import MANY_REWRITTEN, count_words, rewritten, rough_words
from nmt_data.reading import Pair
from nmt_data.sizes import is_too_large

_TARGETS, _SHOWN = 5_000, 5  # lines looked at for letters that NFKC rewrites, and letters shown
_MEASURED = 200_000  # pairs whose words and characters are counted
_FREQUENT, _PARTS = 5, 1.2  # times that a word occurs that gets a piece; pieces of a word. See the test of sizes
_SPECIAL = 8  # pieces that are no text, and some room
_ALPHABET = 200  # characters that an alphabet has at most, with its signs
_COVERED = 0.9995  # share of the text whose characters get a token of their own, if there are many
_SMALL_TRANSFORMER = {
    "kind": "transformer",
    "width": 128,
    "feed_forward": 256,
    "heads": 4,
    "encoder_layers": 4,
    "decoder_layers": 4,
}
_MUON = {"optimizer": "muon", "batch_tokens": 4096, "learning_rate": 0.006, "schedule": "trapezoid"}
_LARGE = {"learning_rate": 0.0007, "schedule": "inverse_square_root", "warmup": 4000, "average": 5, "keep": 5}


@dataclass
class Size:
    """What is counted of a corpus: all pairs, and the words and characters of the first."""

    pairs: int = 0
    sources: set[int] = field(default_factory=set[int])
    """Hashes of different sources."""
    words: Counter[str] = field(default_factory=Counter[str])
    target_words: int = 0
    characters: Counter[str] = field(default_factory=Counter[str])
    targets: list[str] = field(default_factory=list[str])
    """The first ones."""

    def add(self, pairs: Iterable[Pair]) -> Iterable[Pair]:
        """Counts pairs, and passes them on."""
        for pair in pairs:
            self.pairs += 1
            if self.pairs <= _MEASURED:
                self.sources.add(hash(pair[0]))
                self.target_words += count_words(pair[1])
                if len(self.targets) < _TARGETS:
                    self.targets.append(pair[1])
                for text in pair:
                    self.words.update(rough_words(text))
                    self.characters.update(text)
            yield pair

    @property
    def tokens(self) -> float:
        """Target tokens of the training text: as many as words at least, of the pairs that are not held out."""
        return self.target_words * (self.pairs - 2 * self.held_out) / max(min(self.pairs, _MEASURED), 1)

    def vocabulary(self, most: int) -> int:
        """Returns how many pieces the text can fill: one for each character and each word that is not rare, and some."""
        frequent = sum(count >= _FREQUENT for count in self.words.values())
        pieces = min(_SPECIAL + round(_PARTS * frequent), len(self.words) // 2)
        return max(40, min(most, len(self.characters) + pieces))

    @property
    def held_out(self) -> int:
        """Pairs to hold out for validation, and as many for a test: a twentieth, at most 1,000."""
        return max(1, min(1000, len(self.sources) // 20))


@dataclass(frozen=True)
class Plan:
    """The settings for corpora of up to so many pairs."""

    below: float
    like: str
    """The recipe of this project that has these settings."""
    why: str
    kind: str
    vocabulary: int
    model: Mapping[str, Any]
    training: Mapping[str, Any]
    parameters: tuple[int, int]
    """Of the model without its vocabulary, and for each piece of it: torch, which counts them, takes seconds to load."""

    def is_too_large(self, size: Size) -> bool:
        """Whether the model has more parameters than a corpus can teach."""
        inner, each = self.parameters
        return is_too_large(inner + each * size.vocabulary(self.vocabulary), size.tokens)


PLANS = (
    Plan(
        2_000,
        "phrasebook-attention",
        "so few pairs teach words and short phrases; a small RNN with much dropout learns them within minutes",
        "bpe",
        1000,
        {"kind": "rnn", "attention": "additive", "embedding": 128, "hidden": 192, "dropout": 0.3},
        {"updates": 700, "batch_tokens": 512, "learning_rate": 0.003, "warmup": 100, "validate_every": 350},
        (1_142_976, 257),
    ),
    Plan(
        15_000,
        "low-resource-ende",
        "a small Transformer with much dropout: few pairs are soon learnt by heart",
        "bpe",
        4000,
        {**_SMALL_TRANSFORMER, "dropout": 0.3},
        {**_MUON, "updates": 2500, "warmup": 300, "validate_every": 250},
        (1_325_568, 129),
    ),
    Plan(
        100_000,
        "multi30k-ende-transformer-raw",
        "a small Transformer with much dropout, for two hours of a CPU core",
        "bpe",
        8000,
        {**_SMALL_TRANSFORMER, "dropout": 0.3},
        {**_MUON, "updates": 6000, "warmup": 400, "validate_every": 500},
        (1_325_568, 129),
    ),
    Plan(
        400_000,
        "tatoeba-deen",
        "a small Transformer with wider layers and less dropout: this corpus is harder to learn by heart",
        "unigram",
        8000,
        {**_SMALL_TRANSFORMER, "feed_forward": 512, "dropout": 0.1},
        {**_MUON, "updates": 4000, "warmup": 400, "validate_every": 500},
        (1_851_904, 129),
    ),
    Plan(
        3_000_000,
        "iwslt17-deen",
        "a larger Transformer, which needs a GPU",
        "bpe",
        16000,
        {
            "kind": "transformer",
            "width": 512,
            "feed_forward": 1024,
            "heads": 4,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "norm": "pre",
            "dropout": 0.3,
        },
        {**_LARGE, "updates": 50000, "batch_tokens": 4096, "validate_every": 2000},
        (31_545_344, 513),
    ),
    Plan(
        float("inf"),
        "wmt14-ende",
        "a base Transformer, which needs a GPU for a day",
        "bpe",
        37000,
        {
            "kind": "transformer",
            "width": 512,
            "feed_forward": 2048,
            "heads": 8,
            "encoder_layers": 6,
            "decoder_layers": 6,
            "norm": "pre",
            "dropout": 0.1,
        },
        {**_LARGE, "updates": 100000, "batch_tokens": 25000, "validate_every": 2500},
        (44_140_544, 513),
    ),
)
"""Settings by size, the smallest first; each is what a recipe of this project has, but for the dropout of the first."""


NARROW = tuple(
    replace(
        PLANS[0],
        why="so little text teaches some words at best; this tiny RNN is a start, more text is what it lacks",
        model={**PLANS[0].model, "embedding": embedding, "hidden": hidden},
        parameters=parameters,
    )
    for embedding, hidden, parameters in ((64, 96, (286_816, 129)), (32, 48, (72_240, 65)), (16, 24, (18_328, 33)))
)
"""The smallest plan with narrower models, for text that has fewer tokens than its pairs let hope."""


def plan_for(size: Size) -> Plan:
    """Returns the settings for a corpus; they are those of a smaller one if its text is too short for so many parameters."""
    fitting = next(number for number, plan in enumerate(PLANS) if size.pairs < plan.below)
    smaller = [*PLANS[fitting::-1], *NARROW]
    return next((plan for plan in smaller if not plan.is_too_large(size)), smaller[-1])


def recipe_text(name: str, languages: tuple[str, str], size: Size, unreadable: int = 0) -> str:
    """Returns a recipe as TOML, with the reason of each choice; so many lines of the corpus are not UTF-8."""
    plan = plan_for(size)
    model = "a smaller model than that" if plan in NARROW else "the model"
    lines = [
        f"# Made by `nmt init` for {size.pairs:,} pairs, with {model} of recipes/{plan.like}:",
        f"# {plan.why}.",
        toml_line("name", name),
        "",
        "[data]",
        'corpus = "corpus.toml" # the card beside this recipe; it names your files',
        f"{toml_line('source', languages[0])} # for the other direction, exchange the two",
        toml_line("target", languages[1]),
        *([f'on_bad_text = "skip" # {unreadable:,} lines are not UTF-8, and are left out'] if unreadable else []),
        "",
        "[tokenizer]",
        *_tokenizer_lines(plan, size),
        "",
        "[model]",
        *(_setting(key, value, _MODEL) for key, value in plan.model.items()),
        "",
        "[training]",
        *(_setting(key, value, _TRAINING) for key, value in plan.training.items()),
    ]
    return "\n".join(lines) + "\n"


_MODEL = {
    "attention": "the decoder looks back at every source word",
    "width": "of every vector between layers; raise it for a larger model",
    "norm": "before each layer, which deep models need",
    "dropout": "the less text, the more; lower it if the losses of train and validation stay close",
}
_TRAINING = {
    "updates": "more if the validation score still rises at the end; `--budget 15m` sets a time instead",
    "optimizer": "as in the recipe above; adam is the usual one",
    "batch_tokens": "target tokens in an update",
    "learning_rate": "the peak, after the warm-up",
    "average": "the model is the mean of the last checkpoints",
    "validate_every": "updates between scores; each keeps a checkpoint",
}


def _setting(key: str, value: Any, reasons: Mapping[str, str]) -> str:
    return toml_line(key, value) + (f" # {reasons[key]}" if key in reasons else "")


def _tokenizer_lines(plan: Plan, size: Size) -> list[str]:
    """Returns the settings of a vocabulary that the text can fill, and that has room for its characters.

    Letters stay as they are where the default would rewrite many of the target, as Chinese punctuation.
    """
    share, rewrites = rewritten(size.targets)
    kept = f'normalization = "identity" # keeps {" ".join(rewrites[:_SHOWN])} as they are; the default rewrites them'
    return [*_vocabulary_lines(plan, size), *([kept] if share > MANY_REWRITTEN else [])]


def _vocabulary_lines(plan: Plan, size: Size) -> list[str]:
    letters = sorted(size.characters.values(), reverse=True)
    vocabulary = size.vocabulary(plan.vocabulary)
    reason = "the smaller the corpus, the fewer, so that each is seen often enough"
    if vocabulary < plan.vocabulary:
        reason = f"few, so that each is seen often enough in this text of {size.words.total():,} words"
    if len(letters) <= max(_ALPHABET, vocabulary // 3):
        return [f'kind = "{plan.kind}"', f"vocabulary = {vocabulary} # pieces of words; {reason}"]
    needed, covered, total = 0, 0, sum(letters)
    while covered < _COVERED * total:
        covered, needed = covered + letters[needed], needed + 1
    return [
        f'kind = "{plan.kind}"',
        f"vocabulary = {max(vocabulary, 2 * needed + 300)} # for {needed:,} frequent characters and pieces of words",
        f"character_coverage = {_COVERED} # of {len(letters):,} different characters the rarest",
        "byte_fallback = true # are spelled in bytes",
    ]
