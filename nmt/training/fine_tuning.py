"""Fine-tuning: starts from another model's weights and can freeze some of them."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from nmt.corpus.tokenizer import Tokenizer, Tokenizers
from nmt.errors import CheckpointError, ConfigError
from nmt.models import Model
from nmt.storage.bundle import LoadedModel, load_model


@dataclass(frozen=True)
class Carried:
    """For each side, how many vocabulary pieces took their rows from the other model, and how many there are."""

    path: str
    source: tuple[int, int]
    target: tuple[int, int]


def initialise(model: Model, tokenizers: Tokenizers, path: Path) -> Carried:
    """Copies the weights of a bundle, run or checkpoint into a fresh model.

    If tokenizers differ, rows of embeddings and of the output layer are matched by piece; new pieces keep their fresh rows.

    Raises:
        CheckpointError: the other model has another shape; names the parameter.
    """
    parent = load_model(path)
    source = _matches(parent.tokenizers.source, tokenizers.source)
    target = _matches(parent.tokenizers.target, tokenizers.target)
    tables, weights = model.tables(), dict(parent.model.named_parameters())
    rows = {id(table): target for table in tables.target} | {id(table): source for table in tables.source}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name not in weights:
                raise CheckpointError(f"{path}: has no {name}, so it cannot start this model: use its model section")
            _copy(name, parameter, weights[name].to(parameter), rows.get(id(parameter)), parent)
    return Carried(
        str(path),
        (len(source[0]), tokenizers.source.vocabulary_size),
        (len(target[0]), tokenizers.target.vocabulary_size),
    )


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


def _copy(
    name: str,
    parameter: torch.Tensor,
    weight: torch.Tensor,
    rows: tuple[torch.Tensor, torch.Tensor] | None,
    parent: LoadedModel,
) -> None:
    """Copies a parameter; for a table with one row per token, only the rows of common pieces."""
    if rows is not None:
        ours, theirs = rows
        if parameter.shape[1:] == weight.shape[1:]:
            parameter[ours] = weight[theirs]
            return
    elif parameter.shape == weight.shape:
        parameter.copy_(weight)
        return
    shapes = f"{tuple(weight.shape)}, the recipe says {tuple(parameter.shape)}"
    raise CheckpointError(f"{parent.path}: cannot start this model: {name} has shape {shapes}")
