"""Starting from another model's weights, and leaving part of them as they are."""

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
    """How many pieces of each side's vocabulary a model has taken over with their rows, and of how many."""

    path: str
    source: tuple[int, int]
    target: tuple[int, int]


def initialise(model: Model, tokenizers: Tokenizers, path: Path) -> Carried:
    """Copies the weights of a bundle, run or checkpoint into a fresh model.

    Where tokenizers differ, rows of embeddings and of the output layer go by piece, and pieces that are new keep their fresh
    rows.

    Raises:
        CheckpointError: the other model is of another shape; says where.
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
    """Excludes from training the parameters whose name, or that of a module around them, fits a pattern.

    Raises:
        ConfigError: a pattern fits no parameter, or nothing is left to train.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))  # a shared table by each of its names
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
    """Rows of the pieces that both have: in the child, and in the parent."""
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
    """Copies a parameter, or of a table the rows of the pieces that both models have."""
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
