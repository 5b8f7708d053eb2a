"""Paths in a recipe: of corpus cards, and of models to start from. A relative one is looked for beside the recipe first."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

NEW = "new"
"""In the place of a model whose tokenizer is taken: one is trained."""


def is_card_path(corpus: str) -> bool:
    """Whether a corpus is the path of a card, not the name of one that ships with nmt."""
    return corpus.lower().endswith(".toml")


def is_there(path: Path) -> bool:
    """Whether a file or folder exists; a name that none can have is not there."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def found(values: dict[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """The values of a recipe, in which each path that leads somewhere from one of the folders is absolute.

    A path that a run has noted of its surroundings, `../../mine.toml`, is tried without the dots too: the run may have moved.
    """

    def find(path: str) -> str:
        given = _with_home(path)
        places = [Path(folder, given) for folder in folders]
        places += [Path(folder, re.sub(r"^(\.\./)+", "", given)) for folder in folders if given.startswith("../")]
        for place in places:
            if is_there(place):
                return os.path.normpath(place.parent.resolve() / place.name)
        return path

    return _mapped(values, find)


def told(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The values of a recipe as it is saved in a folder: what lies near is named from there, so that both can move together.

    A tokenizer that was taken from another model lies in that folder too.
    """
    here = folder.resolve()

    def tell(path: str) -> str:
        if not Path(path).is_absolute() or os.path.commonpath([path, here]) == os.path.sep:
            return path
        return os.path.relpath(path, here)

    told = _mapped(values, tell)
    tokenizer = _section(told.get("tokenizer"))
    return {**told, "tokenizer": {**tokenizer, "model": "."}} if tokenizer.get("model", NEW) != NEW else told


def model_root(path: Path) -> Path:
    """The folder that holds recipe and tokenizers of a bundle, a run or a checkpoint in a run."""
    return next((root for root in (path, path.parent.parent) if is_there(root / "recipe.toml")), path)


def taken_tokenizer(values: dict[str, Any]) -> str | None:
    """The model whose tokenizer a recipe takes, or None where it trains one."""
    chosen = _section(values.get("tokenizer")).get("model") or _section(values.get("training")).get("initialise")
    return chosen if isinstance(chosen, str) and chosen != NEW else None


def _with_home(path: str) -> str:
    """The path with `~` spelt out, where there is a home."""
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        return path


def _mapped(values: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """The values with every path changed; what is no path where one should be stays, and is refused elsewhere."""
    data, training, tokenizer = (dict(_section(values.get(key))) for key in ("data", "training", "tokenizer"))
    _change(data, "corpus", lambda corpus: change(corpus) if is_card_path(corpus) else corpus)
    if isinstance(more := data.get("more"), (list, tuple)):
        data["more"] = [
            _mapped({"data": item}, change)["data"] if isinstance(item, dict) else item
            for item in cast(Sequence[Any], more)
        ]
    _change(training, "initialise", change)
    _change(tokenizer, "model", lambda model: model if model == NEW else change(model))
    sections = {"data": data, "training": training, "tokenizer": tokenizer}
    return {**values, **{key: section for key, section in sections.items() if isinstance(values.get(key), dict)}}


def _section(value: Any) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _change(section: dict[str, Any], key: str, change: Callable[[str], str]) -> None:
    if isinstance(value := section.get(key), str):
        section[key] = change(value)
