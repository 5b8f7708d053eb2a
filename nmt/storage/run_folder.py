"""A run on disk: its recipe, its log, and the checkpoints that training resumes from."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from nmt.config.paths import FONT
from nmt.config.reading import load_recipe, recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.config.section import dotted
from nmt.corpus.rendering import same_font, save_font
from nmt.corpus.tokenizer import Tokenizers
from nmt.errors import CheckpointError, ConfigError, NmtError
from nmt.runtime.atomic import atomic_write, clear_litter
from nmt.runtime.device import process_count
from nmt.runtime.files import explain_full_disk, fingerprint
from nmt.runtime.signals import only_trainer
from nmt.runtime.untrusted import open_regular, read_object
from nmt.storage import checkpoint as store
from nmt.storage.bundle import read_recipe
from nmt.storage.integrity import damage
from nmt.storage.run_log import LOG, RECIPE, SAMPLES, Entry, read_log

_FILES = (LOG, SAMPLES, RECIPE, "joint.spm", "source.spm", "target.spm", FONT)
_NAMES = (*_FILES, "checkpoints", "model")

# A run may resume with other values of these keys, as they do not affect what was learnt so far.
_HARMLESS = (
    "search.",
    "tokenizer.model",  # the pieces are compared instead
    "training.updates",
    "training.keep",
    "training.average",
    "training.patience",
    "training.log_every",
)
# With other values of these keys the same is learnt.
_WITHOUT_EFFECT = ("search.", "tokenizer.model", "training.keep", "training.log_every")


class RunFolder:
    """The folder of a run: `recipe.toml`, tokenizers, `log.jsonl`, `checkpoints/` and at the end `model/`."""

    def __init__(self, path: Path) -> None:
        self.path, self.checkpoints, self.log = path, path / "checkpoints", path / LOG
        self.samples = path / SAMPLES

    def create(self) -> None:
        """Makes the folder unless it exists."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    def check_owner(self) -> None:
        """Refuses a folder with files of the user under names that training writes, which would be lost.

        Raises:
            ConfigError: names the file.
        """
        begun = _is_ours(self.path / RECIPE) or len(self.entries()) > 0
        taken = [] if begun else [name for name in _NAMES if _holds_something(self.path / name)]
        if taken:
            raise ConfigError(
                f"{self.path / taken[0]} is there, but no run of nmt: training would replace it; "
                f"use another folder for the run, such as {self.path / 'run'}"
            )

    def check_there(self) -> None:
        """Refuses to go on if the folder was removed: the run would no longer be complete.

        Raises:
            NmtError: the folder is gone.
        """
        if not self.checkpoints.is_dir():
            raise NmtError(
                f"{self.path} is gone: its folder or its checkpoints were removed while it was being trained"
            )

    def check_recipe(self, recipe: Recipe) -> None:
        """Refuses to resume with a recipe that changes what is learnt.

        Raises:
            ConfigError: names the keys.
        """
        if store.checkpoints(self.checkpoints) and (changed := self._changed(recipe, _HARMLESS)):
            details = ", ".join(changed)
            raise ConfigError(f"{self.path} was begun with another recipe: {details}; use another folder for the run")

    def set_aside(self, recipe: Recipe) -> str:
        """Moves the run away if it was trained otherwise than the recipe says, so that a result is the recipe's own.

        A training that goes on with another number of updates has another schedule than one that begins with it.

        Returns:
            What happened, for people; empty: nothing.

        Raises:
            NmtError: another process trains there.
            ConfigError: torchrun has started several processes, and each would move it.
        """
        if not store.checkpoints(self.checkpoints) or not (changed := self._changed(recipe, _WITHOUT_EFFECT)):
            return ""
        if process_count() > 1:
            done = f"{self.path} was trained with {', '.join(changed)}"
            raise ConfigError(
                f"{done}: move it away, as each of the processes of torchrun would, or use another folder"
            )
        names = (self.path.with_name(f"{self.path.name}.before-{number}") for number in itertools.count(1))
        place = next(path for path in names if not path.exists())
        with only_trainer(self.path):
            pass
        self.path.rename(place)
        return f"{self.path} was trained with {', '.join(changed)}: it is {place.name} now, and is trained anew"

    def _changed(self, recipe: Recipe, free: tuple[str, ...]) -> list[str]:
        """Returns the keys that another recipe than this trained the run with, and their values; some keys may differ."""
        earlier, now = (dict(dotted(item.model_dump(mode="json"))) for item in (read_recipe(self.path), recipe))
        changed = [key for key in sorted({*earlier, *now}) if earlier.get(key) != now.get(key)]
        if "model.font" in changed and same_font(earlier.get("model.font"), now.get("model.font")):
            changed.remove("model.font")
        told = ((key, f"{key} (was {earlier.get(key)!r}, now {now.get(key)!r})") for key in changed)
        return [text for key, text in told if not key.startswith(free)]

    def check_corpus(self, corpus: str, vocabulary: Mapping[str, str]) -> None:
        """Refuses to resume with other data than those of the newest checkpoint.

        Args:
            corpus: fingerprint of the prepared corpus.
            vocabulary: fingerprints of its tokenizers.

        Raises:
            CheckpointError: they are others.
        """
        if not (saved := store.checkpoints(self.checkpoints)):
            return
        state = read_object(saved[-1] / store.PROGRESS)
        if (state.get("corpus"), state.get("vocabulary")) != (corpus, vocabulary):
            raise CheckpointError(
                f"{saved[-1]}: was trained on another corpus or tokenizer; use another folder for the run"
            )

    def tidy(self) -> None:
        """Removes remains of a killed process.

        Raises:
            CheckpointError: one of the names is not a regular file, so that writing might go elsewhere.
        """
        for path in (self.path / name for name in (*_FILES, "checkpoints/best.json")):
            try:
                open_regular(path).close()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise CheckpointError(f"{path}: {error.strerror}") from None
        clear_litter(self.checkpoints)
        clear_litter(self.path)

    def begin(self, recipe: Recipe, tokenizers: Tokenizers) -> None:
        """Writes the recipe and tokenizers of the run.

        Raises:
            ConfigError: the recipe has a path that is not UTF-8, which TOML has to be.
        """
        try:
            text = recipe_to_toml(recipe, self.path).encode()
        except UnicodeEncodeError:
            raise ConfigError(
                f"{self.path}: its recipe would name a path that is not UTF-8; rename that folder, or let the run lie in it"
            ) from None
        atomic_write(self.path / RECIPE, text)
        tokenizers.save(self.path)
        save_font(recipe.model, self.path)

    def drop_damaged(self, report: Callable[[str, str], None]) -> None:
        """Removes the checkpoints that are not whole; reports the name and damage of each.

        Raises:
            UnreadableError: one cannot be read now; it stays.
        """
        for path in reversed(store.checkpoints(self.checkpoints)):
            if reason := damage(path):
                report(path.name, reason)
                shutil.rmtree(path)

    def can_resume(self) -> bool:
        """Whether a checkpoint is whole.

        Raises:
            UnreadableError: one cannot be read now.
        """
        return any(not damage(path) for path in reversed(store.checkpoints(self.checkpoints)))

    def append(self, entry: Entry) -> None:
        """Adds a line to the log."""
        self._append(self.log, entry)

    def append_samples(self, entry: Entry) -> None:
        """Adds a line to the samples of validations."""
        self._append(self.samples, entry)

    def entries(self) -> list[Entry]:
        """Returns the entries of the log."""
        return [entry for _, entry in read_log(self.log)]

    def sampled(self) -> list[Entry]:
        """Returns the samples of validations."""
        return [entry for _, entry in read_log(self.samples)]

    def trim_log(self, step: int, kinds: Collection[str] = ()) -> None:
        """Drops entries of the log and the samples after an update, those of some kinds at it, and incomplete lines."""
        for path in (self.log, self.samples):
            kept = (
                line
                for line, entry in read_log(path)
                if entry["step"] < step or (entry["step"] == step and entry["kind"] not in kinds)
            )
            atomic_write(path, b"".join(kept))

    def _append(self, path: Path, entry: Entry) -> None:
        self.check_there()
        with explain_full_disk(path), path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")


def identity(recipe: Recipe) -> str:
    """Returns a fingerprint of all keys in a recipe that affect what is learnt."""
    keys = dotted(recipe.model_dump(mode="json"))
    return fingerprint({key: value for key, value in keys if not key.startswith(_HARMLESS)})


def _holds_something(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _is_ours(path: Path) -> bool:
    """Whether a recipe file is as training writes it: a training killed at its start leaves nothing else."""
    try:
        return path.read_bytes() == recipe_to_toml(load_recipe(path), path.parent).encode()
    except (OSError, ConfigError):
        return False
