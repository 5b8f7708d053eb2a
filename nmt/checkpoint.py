"""Checkpoints that are whole or not there, and the bundle that a trained model travels in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from nmt.config import Recipe
from nmt.distributed import divided_like, whole
from nmt.errors import CheckpointError
from nmt.files import atomic_folder, file_sha256, write_json
from nmt.models import Model, build_model
from nmt.prepared import Tokenizers
from nmt.recipes import load_recipe, recipe_to_toml

WEIGHTS, STATE, PROGRESS, MANIFEST = "weights.safetensors", "state.safetensors", "state.json", "MANIFEST.json"
_PREFIX = "step-"
_TRAINED = "trained"  # weights of which the checkpoint holds a running mean


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to translate."""

    model: Model
    tokenizers: Tokenizers
    recipe: Recipe
    path: Path
    card: dict[str, Any]
    """Provenance: scores, steps, fingerprints; empty for a checkpoint."""


@dataclass(frozen=True)
class Snapshot:
    """All tensors of a training, whole and on the CPU."""

    weights: dict[str, Tensor]
    """What a checkpoint translates with: the running mean, if there is one."""
    state: dict[str, Tensor]
    """Of the optimizer, and the trained weights where there is a mean: `name|exp_avg` and so on."""

    @classmethod
    def of(
        cls, model: nn.Module, optimizer: torch.optim.Optimizer, mean: Mapping[str, Tensor] | None = None
    ) -> Snapshot:
        """Where the model is divided among processes, all must ask for it."""
        trained = dict(model.named_parameters())
        state = {
            f"{name}|{key}": value for name, part in trained.items() for key, value in optimizer.state[part].items()
        }
        kept = {f"{name}|{_TRAINED}": tensor for name, tensor in trained.items()} if mean else {}
        return cls(_tensors(mean or trained), _tensors(state | kept))


def save_checkpoint(folder: Path, snapshot: Snapshot, progress: dict[str, Any]) -> Path:
    """Writes `step-NNNNNNNN` under `folder` in one rename; `progress` must hold "step"."""
    final = folder / f"{_PREFIX}{progress['step']:08d}"
    with atomic_folder(final) as draft:
        _write(draft / WEIGHTS, save_tensors(snapshot.weights))
        _write(draft / STATE, save_tensors(snapshot.state))
        _write(draft / PROGRESS, json.dumps(progress, indent=1).encode())
        _write_manifest(draft)
    return final


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, mean: Mapping[str, Tensor] | None = None
) -> dict[str, Any]:
    """Restores weights, optimizer state and the running mean, if any, of a verified checkpoint; returns its progress."""
    load_weights(path, model)
    state: dict[str, dict[str, Tensor]] = {}
    for key, value in _read_tensors(path / STATE).items():
        name, _, entry = key.rpartition("|")
        state.setdefault(name, {})[entry] = value
    for name, parameter in model.named_parameters():
        entries = state.get(name, {})
        if mean is not None:
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
    return json.loads((path / PROGRESS).read_text(encoding="utf-8"))


def load_weights(path: Path, model: nn.Module) -> None:
    """Copies the weights of a checkpoint or bundle into a model of the same shape.

    Raises:
        CheckpointError: damaged, or another model's.
    """
    copy_weights(read_weights(path), model, str(path))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a checkpoint or bundle, by name.

    Raises:
        CheckpointError: there are none, or they are damaged.
    """
    return _read_tensors(path / WEIGHTS)


def copy_weights(tensors: Mapping[str, Tensor], model: nn.Module, path: str) -> None:
    """Copies weights by name into a model of the same shape; `path` names their source in errors.

    Raises:
        CheckpointError: they are another model's.
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
    """Finished checkpoints, oldest first."""
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir())


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint or bundle by its manifest, or None."""
    try:
        manifest: dict[str, dict[str, Any]] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        for name, entry in manifest.items():
            if (path / name).stat().st_size != entry["size"]:
                return f"{name} has {(path / name).stat().st_size} bytes, expected {entry['size']}"
            if file_sha256(path / name) != entry["sha256"]:
                return f"{name} was altered"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} cannot be read"
    return None


def verify(path: Path) -> None:
    """Raises CheckpointError if a checkpoint or bundle is not exactly what was written."""
    if reason := damage(path):
        raise CheckpointError(f"{path}: damaged: {reason}")


def rotate(folder: Path, keep: int, best: Path | None) -> None:
    """Removes all but the newest `keep` checkpoints and the best.

    One between validations does not count, and goes when another came after it.
    """
    found = checkpoints(folder)
    validated = [path for path in found if _is_validated(path)]
    for path in [*validated[:-keep], *(path for path in found[:-1] if path not in validated)]:
        if path != best:
            shutil.rmtree(path)


def _is_validated(path: Path) -> bool:
    try:
        return bool(json.loads((path / PROGRESS).read_text(encoding="utf-8")).get("validated", True))
    except (OSError, ValueError):
        return True


def write_best(folder: Path, step: int, scores: Mapping[str, float]) -> None:
    """Names the best checkpoint."""
    content = {"checkpoint": f"{_PREFIX}{step:08d}", **scores}
    write_json(folder / "best.json", content)


def best_checkpoint(folder: Path) -> Path | None:
    """The checkpoint that `best.json` names, if it is there."""
    try:
        name = json.loads((folder / "best.json").read_text(encoding="utf-8"))["checkpoint"]
    except (OSError, ValueError, KeyError):
        return None
    return folder / name if (folder / name).is_dir() else None


def write_bundle(
    folder: Path,
    weights: Mapping[str, Tensor],
    origin: Sequence[str],
    recipe: Recipe,
    tokenizers: Tokenizers,
    card: dict[str, Any],
) -> None:
    """Writes a self-contained model: weights, recipe, tokenizers and card; `origin` names the checkpoints, oldest first."""
    with atomic_folder(folder) as draft:
        _write(draft / WEIGHTS, save_tensors(_tensors(weights)))
        (draft / "recipe.toml").write_text(recipe_to_toml(recipe, folder), encoding="utf-8")
        tokenizers.save(draft)
        identity = {"checkpoint": origin[-1], "checkpoints": list(origin), "vocabulary": tokenizers.fingerprints}
        card = {"format": 1, **identity, **card}
        _write(draft / "card.json", json.dumps(card, indent=1, ensure_ascii=False).encode())
        _write_manifest(draft)


def load_model(path: Path, latest: bool = False) -> LoadedModel:
    """Loads a bundle, a run folder (its best checkpoint, or the latest) or one checkpoint, ready to translate on the CPU.

    Raises:
        CheckpointError: nothing of the kind is there, or it is damaged or does not fit together.
    """
    place = locate(path, latest)
    verify(place)
    root = place if (place / "recipe.toml").exists() else place.parent.parent
    recipe, tokenizers = load_recipe(root / "recipe.toml"), Tokenizers.load(root)
    card: dict[str, Any] = {}
    if (place / "card.json").exists():
        card = json.loads((place / "card.json").read_text(encoding="utf-8"))
        expected = card["vocabulary"]
    else:
        expected = json.loads((place / PROGRESS).read_text(encoding="utf-8"))["vocabulary"]
    if expected != tokenizers.fingerprints:
        raise CheckpointError(f"{root}: the tokenizer is not the one that {place.name} was trained with")
    model = build_model(recipe.model, tokenizers.source.vocabulary_size, tokenizers.target.vocabulary_size)
    load_weights(place, model)
    return LoadedModel(model.eval(), tokenizers, recipe, place, card)


def locate(path: Path, latest: bool = False) -> Path:
    """The bundle or checkpoint that a path given by a user means.

    Raises:
        CheckpointError: there is none.
    """
    if (path / MANIFEST).exists():
        return path
    folder = path / "checkpoints"
    saved = checkpoints(folder) if folder.is_dir() else []
    if saved and latest:
        return saved[-1]
    if saved:
        best = best_checkpoint(folder) or saved[-1]
        return path / "model" if _bundled_checkpoint(path / "model") in (best.name, saved[-1].name) else best
    if (path / WEIGHTS).exists():
        raise CheckpointError(f"{path}: damaged: {MANIFEST} is missing")
    state = "holds no bundle, run or checkpoint" if path.is_dir() else "no such folder"
    raise CheckpointError(f"{path}: {state}; MODEL is a bundle, a run folder or one checkpoint")


def _bundled_checkpoint(bundle: Path) -> str | None:
    """The checkpoint that a run's bundle was made from."""
    try:
        return json.loads((bundle / "card.json").read_text(encoding="utf-8"))["checkpoint"]
    except (OSError, ValueError, KeyError):
        return None


def _tensors(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: whole(tensor.detach()).cpu().contiguous() for name, tensor in named.items()}


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _write_manifest(folder: Path) -> None:
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    entries = {path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)} for path in files}
    _write(folder / MANIFEST, json.dumps(entries, indent=1).encode())


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_tensors(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged: {error}") from None
