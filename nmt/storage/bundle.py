"""The bundle that a trained model travels in, and what a path given by a user means."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from safetensors.torch import save as save_tensors
from torch import Tensor

from nmt.config.paths import real_path
from nmt.config.reading import explain_errors, load_recipe, recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.corpus.rendering import save_font
from nmt.corpus.tokenizer import Tokenizers
from nmt.errors import CheckpointError
from nmt.models import Model, build_model
from nmt.models.size import parameter_count
from nmt.runtime.atomic import atomic_folder
from nmt.runtime.memory import check_memory
from nmt.runtime.untrusted import SMALL, read_object, read_regular
from nmt.storage.checkpoint import PROGRESS, best_checkpoint, checkpoint_named, checkpoints, load_weights, plain_tensors
from nmt.storage.integrity import (
    MANIFEST,
    WEIGHTS,
    check_hashes,
    check_manifest,
    damaged,
    write_checkpoint_manifest,
)
from nmt.storage.run_log import CARD


class ModelCard(BaseModel):
    """Provenance of a bundle; unknown entries are kept but not used."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    format: Literal[1] = 1
    name: str = ""
    checkpoint: str = ""
    checkpoints: list[str] = []
    vocabulary: dict[str, str] = {}
    parameters: int = 0
    updates: int = 0
    target_tokens: int = 0
    seconds: int | float = 0
    tokens_per_second: int | float = 0
    validation: dict[str, int | float] = {}
    synthetic: bool = False
    longest_source_words: int | None = None
    device: str = ""


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to translate."""

    model: Model
    tokenizers: Tokenizers
    recipe: Recipe
    path: Path
    card: dict[str, Any]
    """Provenance: scores, steps, fingerprints; empty for a checkpoint."""


_CARD_OF = TypeAdapter(ModelCard)


def write_bundle(
    folder: Path,
    weights: Mapping[str, Tensor],
    origin: Sequence[str],
    recipe: Recipe,
    tokenizers: Tokenizers,
    card: dict[str, Any],
) -> None:
    """Writes a self-contained model: weights, recipe, tokenizers, card. `origin` names the checkpoints, oldest first."""
    with atomic_folder(folder) as draft:
        (draft / WEIGHTS).write_bytes(save_tensors(plain_tensors(weights)))
        (draft / "recipe.toml").write_text(recipe_to_toml(recipe, folder), encoding="utf-8")
        tokenizers.save(draft)
        save_font(recipe.model, draft)
        identity = {"checkpoint": origin[-1], "checkpoints": list(origin), "vocabulary": tokenizers.fingerprints}
        card = {"format": 1, **identity, **card}
        (draft / CARD).write_bytes(json.dumps(card, indent=1, ensure_ascii=False).encode())
        write_checkpoint_manifest(draft)


def load_model(path: Path, latest: bool = False) -> LoadedModel:
    """Loads a bundle, a run folder (its best checkpoint, or the latest) or one checkpoint, ready to translate on the CPU.

    Raises:
        CheckpointError: there is no model, or it is damaged or inconsistent.
    """
    place = locate(path, latest)
    with damaged(place):
        manifest = check_manifest(place)
        check_hashes(place, {name: entry for name, entry in manifest.items() if entry["size"] <= SMALL})
    root = place if "recipe.toml" in manifest else run_of(place)
    recipe, tokenizers = read_recipe(root), Tokenizers.load(root)
    sizes = tokenizers.sizes
    with damaged(place):
        _check_size(recipe, sizes, manifest[WEIGHTS]["size"])
        check_hashes(place, {name: entry for name, entry in manifest.items() if entry["size"] > SMALL})
    card = read_card(place) if CARD in manifest else {}
    check_vocabulary(place, tokenizers, card if CARD in manifest else None)
    model = build_model(recipe.model, *sizes)
    load_weights(place, model)
    return LoadedModel(model.eval(), tokenizers, recipe, place, card)


def run_of(checkpoint: Path) -> Path:
    """Returns the run of a checkpoint, which may be named by a path that does not spell it, such as `.` or `step-00000700`."""
    return real_path(checkpoint).parent.parent


def check_vocabulary(place: Path, tokenizers: Tokenizers, card: Mapping[str, Any] | None = None) -> None:
    """Checks that tokenizers are those of a bundle with this card, or of a checkpoint.

    Raises:
        CheckpointError: they are others.
    """
    expected = (read_object(place / PROGRESS) if card is None else card).get("vocabulary")
    if expected != tokenizers.fingerprints:
        raise CheckpointError(f"{place}: the tokenizer is not the one that it was trained with")


def read_recipe(root: Path) -> Recipe:
    """Reads the recipe of a bundle or run.

    Raises:
        NmtError: the recipe is missing or invalid.
    """
    path = root / "recipe.toml"
    try:
        read_regular(path)
        return load_recipe(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    except RecursionError:
        raise CheckpointError(f"{path}: nested too deeply") from None


def read_card(place: Path) -> dict[str, Any]:
    """Reads the card of a bundle.

    Raises:
        CheckpointError: the card is invalid.
    """
    try:
        return _CARD_OF.validate_python(read_object(place / CARD)).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise CheckpointError(explain_errors(error, ModelCard, f"{place / CARD}: ")) from None


def _check_size(recipe: Recipe, sizes: tuple[int, int], weights: int) -> None:
    """Refuses a model that is too large for memory, and weights of the wrong size, before they are read."""
    count = parameter_count(recipe.model, *sizes)
    check_memory(f"the model has {count:,} parameters", 2 * 4 * count)
    if not count <= weights <= 8 * count + SMALL:
        raise CheckpointError(f"{WEIGHTS} has {weights:,} bytes, and the recipe's model {count:,} parameters")


def locate(path: Path, latest: bool = False) -> Path:
    """Returns the bundle or checkpoint of a path given by the user.

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
        return path / "model" if checkpoint_named(path / "model" / CARD) in (best.name, saved[-1].name) else best
    if (path / WEIGHTS).exists():
        raise CheckpointError(f"{path}: damaged: {MANIFEST} is missing")
    state = "holds no bundle, run or checkpoint" if path.is_dir() else "no such folder"
    raise CheckpointError(f"{path}: {state}{nearest_run(path)}; a model is a bundle, a run folder or one checkpoint")


def nearest_run(path: Path) -> str:
    """Returns a question that suggests a run or bundle of a similar name, for a path that is none; or nothing."""
    known: dict[str, Path] = {}
    for place in (Path("runs"), path.parent):
        with contextlib.suppress(OSError):  # a missing or unreadable folder
            runs = (
                entry for entry in place.iterdir() if (entry / "checkpoints").is_dir() or (entry / MANIFEST).is_file()
            )
            known |= {entry.name: entry for entry in runs}
    close = difflib.get_close_matches(path.name, list(known), n=1)
    return f" (did you mean {known[close[0]]}?)" if close and known[close[0]] != path else ""
