"""A run on disk: its recipe, its log, and the checkpoints that a training goes on from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from nmt import checkpoint as store
from nmt.config import Recipe
from nmt.errors import ConfigError
from nmt.files import atomic_write, clear_litter, fingerprint
from nmt.prepared import Tokenizers
from nmt.recipes import load_recipe, recipe_to_toml

Entry = dict[str, Any]

# Changing these between two starts of a run changes nothing that was learnt so far.
_HARMLESS = (
    "search.",
    "training.updates",
    "training.keep",
    "training.average",
    "training.patience",
    "training.log_every",
)


class RunFolder:
    """`recipe.toml`, tokenizers, `log.jsonl`, `checkpoints/` and in the end `model/`."""

    def __init__(self, path: Path) -> None:
        self.path, self.checkpoints, self.log = path, path / "checkpoints", path / "log.jsonl"

    def create(self) -> None:
        """Makes the folder if it is not there."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    def check_recipe(self, recipe: Recipe) -> None:
        """Refuses to go on with a recipe that would have learnt otherwise.

        Raises:
            ConfigError: naming the keys.
        """
        if not store.checkpoints(self.checkpoints):
            return
        earlier, now = _flat(load_recipe(self.path / "recipe.toml")), _flat(recipe)
        changed = [key for key in sorted({*earlier, *now}) if earlier.get(key) != now.get(key)]
        if refused := [key for key in changed if not key.startswith(_HARMLESS)]:
            details = ", ".join(f"{key} (was {earlier.get(key)!r}, now {now.get(key)!r})" for key in refused)
            raise ConfigError(f"{self.path} was begun with another recipe: {details}; use another --run folder")

    def begin(self, recipe: Recipe, tokenizers: Tokenizers) -> None:
        """Clears what a killed process left, and writes what a checkpoint is read with."""
        clear_litter(self.checkpoints)
        clear_litter(self.path)
        atomic_write(self.path / "recipe.toml", recipe_to_toml(recipe, self.path).encode())
        tokenizers.save(self.path)

    def drop_damaged(self, report: Callable[[Entry], None]) -> None:
        """Removes checkpoints from the newest on until one is whole."""
        for path in reversed(store.checkpoints(self.checkpoints)):
            reason = store.damage(path)
            if not reason:
                return
            report({"kind": "damaged", "step": 0, "checkpoint": path.name, "reason": reason})
            shutil.rmtree(path)

    def append(self, entry: Entry) -> None:
        """Adds a line to the log."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")

    def entries(self) -> list[Entry]:
        """What was logged."""
        return [json.loads(line) for line in self._lines()]

    def trim_log(self, step: int) -> None:
        """Drops what was logged after an update, and a line that was not finished."""
        atomic_write(self.log, b"".join(line for line in self._lines() if json.loads(line)["step"] <= step))

    def _lines(self) -> list[bytes]:
        """Of the log, without one that is not finished."""
        lines = self.log.read_bytes().splitlines(keepends=True) if self.log.exists() else []
        return [line for line in lines if line.endswith(b"\n")]


def identity(recipe: Recipe) -> str:
    """Fingerprint of all in a recipe that decides on what is learnt."""
    return fingerprint({key: value for key, value in _flat(recipe).items() if not key.startswith(_HARMLESS)})


def _flat(recipe: Recipe) -> dict[str, Any]:
    """A recipe as dotted keys."""

    def walk(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            for key, child in value.items():
                yield from walk(f"{prefix}.{key}" if prefix else str(key), child)
        else:
            yield prefix, value

    return dict(walk("", recipe.model_dump(mode="json")))
