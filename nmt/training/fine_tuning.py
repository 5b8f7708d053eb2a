"""Fine-tuning: starts from another model's weights and can freeze some of them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from nmt.config.model import ModelConfig
from nmt.config.paths import model_root
from nmt.config.section import dotted
from nmt.corpus.tokenizer import Tokenizer, Tokenizers
from nmt.errors import CheckpointError, ConfigError
from nmt.models import Model
from nmt.storage.bundle import load_model, read_recipe

_FREE = ("dropout", "attention_dropout", "activation_dropout", "word_dropout", "font")
_TIES = ("none", "output", "all")  # each shares what the one before it shares


@dataclass(frozen=True)
class Carried:
    """For each side, how many vocabulary pieces took their rows from the other model, and how many there are."""

    path: str
    source: tuple[int, int]
    target: tuple[int, int]


def initialise(model: Model, config: ModelConfig, tokenizers: Tokenizers, path: Path) -> Carried:
    """Copies the weights of a bundle, run or checkpoint into a fresh model of this configuration.

    If tokenizers differ, rows of embeddings and of the output layer are matched by piece; new pieces keep their fresh rows.

    Raises:
        CheckpointError: the other model computes something else; names the key.
    """
    parent = load_model(path)
    _check(config, parent.recipe.model, path)
    source = _matches(parent.tokenizers.source, tokenizers.source)
    target = _matches(parent.tokenizers.target, tokenizers.target)
    tables = model.tables()
    weights = dict(parent.model.named_parameters(remove_duplicate=False))  # a shared table has several names
    rows = {id(table): target for table in tables.target} | {id(table): source for table in tables.source}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            weight = weights[name].to(parameter)
            if id(parameter) in rows:  # one row per token
                ours, theirs = rows[id(parameter)]
                parameter[ours] = weight[theirs]
            else:
                parameter.copy_(weight)
    return Carried(
        str(path),
        (len(source[0]), tokenizers.source.vocabulary_size),
        (len(target[0]), tokenizers.target.vocabulary_size),
    )


def check_start(config: ModelConfig, path: Path) -> None:
    """Checks that a model of this configuration can start from a bundle, run or checkpoint, without reading its weights.

    Raises:
        CheckpointError: the other model computes something else; names the key.
        NmtError: its recipe is missing or invalid.
    """
    _check(config, read_recipe(model_root(path)).model, path)


def _check(wanted: ModelConfig, start: ModelConfig, path: Path) -> None:
    if found := misfit(wanted, start):
        raise CheckpointError(f"{path}: cannot start this model: it has {found}; use its model section")


def misfit(wanted: ModelConfig, start: ModelConfig) -> str | None:
    """Returns the first key that keeps a model from starting with the weights of another, with both values, or None.

    The same weights would be left out, or mean something else. Dropout and the font may differ. A table that the other model
    shares may be a copy for each use.
    """
    here, there = (dict(dotted({"model": model.model_dump()})) for model in (wanted, start))
    for key, value in here.items():
        name, other = key.rpartition(".")[2], there.get(key)
        if name == "tie" and other is not None and _TIES.index(value) <= _TIES.index(other):
            continue
        if value != other and name not in _FREE:
            return f"{key} = {other!r}, the recipe says {value!r}"
    return None


def freeze(model: Model, patterns: tuple[str, ...]) -> None:
    """Freezes the parameters whose name, or a module's name around them, matches a pattern.

    Raises:
        ConfigError: a pattern matches no parameter, or nothing is left to train.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))  # a shared table has several names
    for pattern in patterns:
        chosen = [name for name in parameters if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")]
        if not chosen:
            groups = sorted({name.partition(".")[0] for name in parameters})
            raise ConfigError(f"training.freeze: {pattern!r} fits no parameter; they begin with {', '.join(groups)}")
        for name in chosen:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError("training.freeze leaves nothing to train")


def _matches(parent: Tokenizer, child: Tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the rows of the pieces that both have: in the child, and in the parent."""
    places = {piece: index for index, piece in enumerate(parent.pieces())}
    pairs = [(index, places[piece]) for index, piece in enumerate(child.pieces()) if piece in places]
    rows = torch.tensor(pairs)
    return rows[:, 0], rows[:, 1]
