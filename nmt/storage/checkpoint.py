"""Checkpoints, each complete or absent; `bundle.py` has the self-contained model that a training ends in."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from nmt.errors import CheckpointError
from nmt.runtime.atomic import atomic_folder, write_json
from nmt.runtime.memory import memory_there
from nmt.runtime.processes import divided_like, whole
from nmt.runtime.untrusted import read_object, read_regular
from nmt.storage.integrity import STATE, WEIGHTS, verify, write_checkpoint_manifest

PROGRESS = "state.json"
_PREFIX = "step-"
_TRAINED = "trained"  # trained weights, in checkpoints that hold a running mean


class HasState(Protocol):
    """An optimizer, as far as checkpoints care."""

    state: defaultdict[nn.Parameter, dict[str, Tensor]]
    """What it keeps of each parameter, by name."""


@dataclass(frozen=True)
class Snapshot:
    """All tensors of a training state, complete and on the CPU."""

    weights: dict[str, Tensor]
    """Weights that a checkpoint translates with: the running mean, if there is one."""
    state: dict[str, Tensor]
    """Optimizer state, as `name|exp_avg` and so on; and the trained weights if there is a mean."""

    @classmethod
    def of(cls, model: nn.Module, optimizer: HasState, mean: Mapping[str, Tensor] | None = None) -> Snapshot:
        """Collects the tensors. Where processes divide the model, all of them must call this."""
        trained = dict(model.named_parameters())
        state = {
            f"{name}|{key}": value for name, part in trained.items() for key, value in optimizer.state[part].items()
        }
        kept = {f"{name}|{_TRAINED}": tensor for name, tensor in trained.items()} if mean else {}
        return cls(plain_tensors(mean or trained), plain_tensors(state | kept))


def save_checkpoint(folder: Path, snapshot: Snapshot, progress: dict[str, Any]) -> Path:
    """Writes `step-NNNNNNNN` under `folder`, complete by one rename; `progress` must contain "step"."""
    final = folder / name_of(progress["step"])
    with atomic_folder(final) as draft:
        (draft / WEIGHTS).write_bytes(save_tensors(snapshot.weights))
        (draft / STATE).write_bytes(save_tensors(snapshot.state))
        (draft / PROGRESS).write_bytes(json.dumps(progress, indent=1).encode())
        write_checkpoint_manifest(draft)
    return final


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: HasState, mean: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """Restores weights, optimizer state and running mean, if any, of a verified checkpoint; returns its progress."""
    load_weights(path, model)
    state: dict[str, dict[str, Tensor]] = {}
    for key, value in _read_tensors(path / STATE).items():
        name, _, entry = key.rpartition("|")
        state.setdefault(name, {})[entry] = value
    for name, parameter in model.named_parameters():
        entries = state.get(name, {})
        if any(value.shape not in (parameter.shape, ()) for value in entries.values()):
            raise CheckpointError(f"{path}: holds optimizer state of {name} that is of another shape")
        if mean is not None:
            if _TRAINED not in entries:
                raise CheckpointError(f"{path}: holds no trained weights of {name}")
            mean[name].copy_(parameter.detach())
            parameter.detach().copy_(divided_like(entries.pop(_TRAINED), parameter))
        if not entries and parameter.requires_grad:
            raise CheckpointError(f"{path}: holds no optimizer state of {name}")
        if parameter.requires_grad:
            optimizer.state[parameter] = {
                key: value.to(parameter.device)
                if key == "step"
                else divided_like(value.to(parameter.device), parameter)
                for key, value in entries.items()
            }
    return read_object(path / PROGRESS)


def load_weights(path: Path, model: nn.Module) -> None:
    """Copies the weights of a checkpoint or bundle into a model of the same shape.

    Raises:
        CheckpointError: the weights are damaged or belong to another model.
    """
    copy_weights(read_weights(path), model, str(path))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Reads the weights of a checkpoint or bundle, by name, and takes them for whole if they can be read.

    Raises:
        CheckpointError: the weights are missing, or cannot be read.
    """
    return _read_tensors(path / WEIGHTS)


def read_verified(path: Path) -> dict[str, Tensor]:
    """Reads the weights of a checkpoint or bundle, by name, after `verify`.

    Raises:
        CheckpointError: it is not exactly as written, or cannot be read.
    """
    verify(path)
    return read_weights(path)


def copy_weights(tensors: Mapping[str, Tensor], model: nn.Module, path: str) -> None:
    """Copies weights by name into a model of the same shape; `path` names their source in errors.

    Raises:
        CheckpointError: the weights belong to another model.
    """
    parameters = dict(model.named_parameters())
    if tensors.keys() != parameters.keys():
        missing, surplus = sorted(parameters.keys() - tensors.keys()), sorted(tensors.keys() - parameters.keys())
        detail = f"{missing[0]} is missing" if missing else f"{surplus[0]} is not part of this model"
        raise CheckpointError(f"{path}: another model's weights ({detail})")
    with torch.no_grad():
        for name, parameter in parameters.items():
            if parameter.shape != tensors[name].shape:
                shapes = f"{tuple(tensors[name].shape)}, the recipe says {tuple(parameter.shape)}"
                raise CheckpointError(f"{path}: another model's weights ({name} has shape {shapes})")
            parameter.copy_(divided_like(tensors[name], parameter))


def checkpoints(folder: Path) -> list[Path]:
    """Returns the finished checkpoints, oldest first."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir() and not path.is_symlink())


def name_of(step: int) -> str:
    """Returns the name of the checkpoint after an update."""
    return f"{_PREFIX}{step:08d}"


def rotate(folder: Path, keep: int, best: Path | None) -> None:
    """Removes all but the newest `keep` checkpoints and the best one.

    A checkpoint between validations does not count, and is removed when a later one exists.
    """
    found = checkpoints(folder)
    validated = [path for path in found if is_validated(path)]
    for path in [*validated[:-keep], *(path for path in found[:-1] if path not in validated)]:
        if path != best:
            shutil.rmtree(path)


def is_validated(path: Path) -> bool:
    """Whether a validation has judged a checkpoint; one that a stop left behind serves only to resume."""
    try:
        return bool(read_object(path / PROGRESS).get("validated", True))
    except CheckpointError:
        return True


def write_best(folder: Path, step: int, scores: Mapping[str, float]) -> None:
    """Records which checkpoint is the best."""
    content = {"checkpoint": name_of(step), **scores}
    write_json(folder / "best.json", content)


def best_checkpoint(folder: Path) -> Path | None:
    """Returns the checkpoint that `best.json` names, if it exists."""
    return next((path for path in checkpoints(folder) if path.name == checkpoint_named(folder / "best.json")), None)


def checkpoint_named(path: Path) -> object:
    """Returns the checkpoint that a JSON file names."""
    try:
        return read_object(path).get("checkpoint")
    except CheckpointError:
        return None


def plain_tensors(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, whole and on the CPU, as they are saved."""
    return {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in named.items()}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_tensors(read_regular(path, memory_there()))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except KeyError as error:
        raise CheckpointError(f"{path}: damaged: numbers of type {error.args[0]}, which torch does not know") from None
    except (SafetensorError, ValueError, RuntimeError, OverflowError, TypeError) as error:
        raise CheckpointError(f"{path}: damaged: {str(error).splitlines()[0]}") from None
    if wrong := next((name for name, tensor in tensors.items() if not tensor.is_floating_point()), None):
        raise CheckpointError(f"{path}: damaged: {wrong[:80]!r} holds {tensors[wrong].dtype}, not floating point")
    return tensors
