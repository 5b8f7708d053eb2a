"""Checkpoints, each complete or absent, and the self-contained bundle of a trained model."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, Protocol

import torch
from pydantic import Field, NonNegativeInt, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from typing_extensions import TypedDict

from nmt.config.paths import FONT
from nmt.corpus.tokenizer import LARGEST_MODEL
from nmt.errors import CheckpointError
from nmt.runtime.atomic import atomic_folder, write_json
from nmt.runtime.files import file_sha256
from nmt.runtime.memory import memory_there
from nmt.runtime.processes import divided_like, whole
from nmt.runtime.untrusted import SMALL, open_regular, read_object, read_regular

# The manifest lists files with sizes and hashes alone; that of a prepared folder, in `nmt.storage.manifest`, has more.
WEIGHTS, STATE, PROGRESS, MANIFEST = "weights.safetensors", "state.safetensors", "state.json", "MANIFEST.json"
_PARTS = re.compile(r"(weights|state)\.safetensors|state\.json|card\.json|recipe\.toml|(joint|source|target)\.spm|font")
_PREFIX = "step-"
_TRAINED = "trained"  # trained weights, in checkpoints that hold a running mean


class Listed(TypedDict):
    """The entry of a file in a manifest."""

    size: NonNegativeInt
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


_MANIFEST_OF = TypeAdapter(dict[str, Listed])


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
    final = folder / f"{_PREFIX}{progress['step']:08d}"
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
    """Reads the weights of a checkpoint or bundle, by name.

    Raises:
        CheckpointError: the weights are missing or damaged.
    """
    return _read_tensors(path / WEIGHTS)


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


def damage(path: Path) -> str | None:
    """Returns how a checkpoint or bundle differs from its manifest, or None."""
    try:
        check_hashes(path, check_manifest(path))
    except CheckpointError as error:
        return str(error)
    return None


def verify(path: Path) -> None:
    """Raises CheckpointError if a checkpoint or bundle is not exactly as written."""
    if reason := damage(path):
        raise CheckpointError(f"{path}: damaged: {reason}")


@contextmanager
def damaged(path: Path) -> Generator[None]:
    """Adds the name of the checkpoint or bundle to errors."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: damaged: {error}") from None


def check_manifest(path: Path) -> dict[str, Listed]:
    """Returns the manifest of a folder after checking that its parts are listed, regular files of the right size.

    Raises:
        CheckpointError: a check fails; the message does not name the folder.
    """
    if not (path / MANIFEST).exists():
        raise CheckpointError(f"{MANIFEST} is missing")
    try:
        manifest = _MANIFEST_OF.validate_python(read_object(path / MANIFEST))
    except (CheckpointError, ValidationError):
        raise CheckpointError(f"{MANIFEST} cannot be read") from None
    for name in manifest:
        if not _PARTS.fullmatch(name):
            raise CheckpointError(f"{MANIFEST} lists {name[:80]!r}, which is no part of a checkpoint or model")
    for name in (WEIGHTS, *(part.name for part in path.iterdir() if _PARTS.fullmatch(part.name))):
        if name not in manifest:
            raise CheckpointError(f"{MANIFEST} does not list {name}")
    for name, entry in manifest.items():
        with _part(path / name) as stream:
            size = os.fstat(stream.fileno()).st_size
        if size != entry["size"]:
            raise CheckpointError(f"{name} has {size} bytes, expected {entry['size']}")
        large = LARGEST_MODEL if name.endswith(".spm") or name == FONT else SMALL
        limit = memory_there() if name in (WEIGHTS, STATE) else large
        if size > limit:
            raise CheckpointError(f"{name} has {size:,} bytes, more than the {limit:,} that can be read")
    return manifest


def check_hashes(path: Path, manifest: dict[str, Listed]) -> None:
    """Compares the files with their hashes, smallest first."""
    for name, entry in sorted(manifest.items(), key=lambda item: item[1]["size"]):
        with _part(path / name) as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != entry["sha256"]:
                raise CheckpointError(f"{name} was altered")


@contextmanager
def _part(path: Path) -> Generator[BufferedReader]:
    """Opens a part of a checkpoint or bundle for reading."""
    try:
        with open_regular(path) as stream:
            yield stream
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is missing") from None
    except OSError as error:
        raise CheckpointError(f"{path.name}: {error.strerror}") from None


def rotate(folder: Path, keep: int, best: Path | None) -> None:
    """Removes all but the newest `keep` checkpoints and the best one.

    A checkpoint between validations does not count, and is removed when a later one exists.
    """
    found = checkpoints(folder)
    validated = [path for path in found if _is_validated(path)]
    for path in [*validated[:-keep], *(path for path in found[:-1] if path not in validated)]:
        if path != best:
            shutil.rmtree(path)


def _is_validated(path: Path) -> bool:
    try:
        return bool(read_object(path / PROGRESS).get("validated", True))
    except CheckpointError:
        return True


def write_best(folder: Path, step: int, scores: Mapping[str, float]) -> None:
    """Records which checkpoint is the best."""
    content = {"checkpoint": f"{_PREFIX}{step:08d}", **scores}
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


def write_checkpoint_manifest(folder: Path) -> None:
    """Lists the files of a folder with their sizes and hashes, as the last of what is written."""
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    entries = {path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)} for path in files}
    (folder / MANIFEST).write_bytes(json.dumps(entries, indent=1).encode())


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
