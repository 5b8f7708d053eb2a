"""The files of a bootstrap: its recipes as its stages change them, and its texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nmt.config.paths import real_path, taken_tokenizer
from nmt.config.reading import load_recipe, parse_recipe
from nmt.config.recipe import Recipe
from nmt.config.toml import toml_text
from nmt.corpus.lines import decode_strict, file_lines
from nmt.errors import ConfigError, DataError
from nmt.experiments.bootstrap import Plan, Stage, Training, Translation
from nmt.runtime.files import file_sha256
from nmt.runtime.stages import counted
from nmt_data.cards import file_beside

CARD = "corpus.toml"


@dataclass(frozen=True)
class Text:
    """A text to translate, and what is known of it."""

    path: Path
    lines: int
    sha256: str
    """Hash of its lines."""


@dataclass(frozen=True)
class Site:
    """A plan with the places of its files."""

    plan: Plan
    folder: Path
    """Holds the recipes, and perhaps the texts."""
    runs: Path
    """Holds a folder for each stage that was begun."""
    overrides: Sequence[str] = ()
    """Changes to the recipe of every training."""

    def place(self, stage: Stage | str) -> Path:
        """Returns the folder of a stage: a run, or a corpus."""
        return self.runs / (stage if isinstance(stage, str) else stage.name)

    def model(self, name: str) -> Path:
        """Returns the folder of a training's model."""
        return self.runs / name / "model"

    def recipe(self, stage: Training) -> Recipe:
        """Returns the recipe of a stage, with the tags of the plan in its vocabulary and the corpora that it adds.

        Raises:
            ConfigError: the recipe is missing or wrong.
        """
        start = [f"training.initialise={_text(self.model(stage.initialise))}"] if stage.initialise else []
        changes = [f"name={_text(stage.name)}", *stage.set, *self.overrides, *start]
        values = load_recipe(self.folder / stage.train, changes).model_dump(mode="json")
        data, tokenizer = values["data"], values["tokenizer"]
        for part in (data, *data["more"]) if stage.reverse else ():
            part["source"], part["target"] = part["target"], part["source"]
        sides = {key: data[key] for key in ("source", "target")}
        cards = [str(real_path(self.place(name) / CARD)) for name in stage.add]
        data["more"] = [*data["more"], *({"corpus": card, **sides, "weight": stage.weight} for card in cards)]
        kinds = (tokenizer["kind"], tokenizer["source_kind"])
        if "byte" not in kinds and not taken_tokenizer(values):  # bytes spell a tag as they are
            tokenizer["user_symbols"] = list(dict.fromkeys([*tokenizer["user_symbols"], *self.plan.tags]))
        return parse_recipe(values, f"stage {stage.name}")

    def languages(self, stage: Stage) -> tuple[str, str]:
        """Returns the languages that a stage translates from and into."""
        trained = stage if isinstance(stage, Training) else self.plan.training(stage.by[0])
        data = self.recipe(trained).data
        return data.source, data.target

    @cached_property
    def texts(self) -> dict[str, Text]:
        """The text of each translation, by its name in the plan.

        Raises:
            DataError: a text is missing, empty or not UTF-8.
        """
        names = dict.fromkeys(stage.translate for stage in self.plan.stages if isinstance(stage, Translation))
        return {name: self._read(name) for name in names}

    def _read(self, name: str) -> Text:
        path, lines, digest = file_beside(self.folder, name, "plan"), 0, hashlib.sha256()
        for line in counted(file_lines(path), f"reading {path.name}"):
            lines += 1
            decode_strict(line, f"{path}, line {lines}")
            digest.update(line + b"\n")
        if not lines:
            raise DataError(f"{path}: is empty; there is nothing to translate")
        return Text(path, lines, digest.hexdigest())


def font_sha256(recipe: Recipe) -> str | None:
    """Returns the hash of the font that a recipe names, if it does.

    Raises:
        ConfigError: the font cannot be read.
    """
    font = recipe.model.font if recipe.model.kind == "visual" else None
    try:
        return file_sha256(Path(font)) if font else None
    except OSError as error:
        raise ConfigError(f"model.font: {font}: {error.strerror}") from None


def _text(value: Any) -> str:
    """Writes a string or path as TOML."""
    return toml_text(real_path(value) if isinstance(value, Path) else value)
