"""Paths in a recipe: of corpus cards, and of models to start from. Relative ones are searched beside the recipe first."""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

FONT = "font"
"""Name of a font file in the folder of a run or bundle."""
PACKED = (".gz", ".xz", ".bz2", ".zst", ".zip")
"""Ends of the names of compressed text, which is found by its name without them too."""
NEW = "new"
"""Value of `tokenizer.model` to train a new tokenizer."""


def is_card_path(corpus: str) -> bool:
    """Whether a corpus is the path of a card, rather than the name of one that ships with nmt."""
    return corpus.lower().endswith(".toml")


def is_there(path: Path) -> bool:
    """Whether a file or folder exists, or a file in a zip archive; an invalid name does not."""
    try:
        return path.exists() or _is_member(*archive_and_member(path))
    except (OSError, ValueError):
        return False


def real_path(path: Path) -> Path:
    """Returns a path without links, as `Path.resolve` does, which raises RuntimeError at circular links before Python 3.13."""
    return Path(os.path.realpath(path))


def archive_and_member(path: Path) -> tuple[Path, str]:
    """Splits the path of a file in a zip archive, `archive.zip/name`; of any other path the second part is empty."""
    for folder in path.parents:
        if folder.suffix.lower() == ".zip" and folder.is_file():
            return folder, path.relative_to(folder).as_posix()
    return path, ""


def _is_member(archive: Path, member: str) -> bool:
    """Whether an archive holds a file; a damaged one may, and what opens it tells more."""
    if not member:
        return False
    try:
        with zipfile.ZipFile(archive) as opened:
            return member in opened.namelist()
    except (ValueError, RuntimeError, struct.error, zipfile.BadZipFile):
        return True


def with_absolute_paths(values: dict[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """Returns the values of a recipe with all paths that exist in one of the folders made absolute.

    A path that a run has saved relative to its folder, `../../mine.toml`, is also tried without dots: the run may have moved.
    """

    def find(path: str, ends: Sequence[str] = ("",)) -> str:
        given = _with_home(path)
        places = [Path(folder, given) for folder in folders]
        places += [Path(folder, re.sub(r"^(\.\./)+", "", given)) for folder in folders if given.startswith("../")]
        for place in places:
            if any(is_there(Path(f"{place}{end}")) for end in ends):
                return os.path.normpath(real_path(place.parent) / place.name)
        return path

    return _mapped(values, find, lambda path: find(path, ("", *PACKED)))


def with_relative_paths(values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Returns the values of a recipe to save in a folder, with paths relative to it, so that all can move together.

    The tokenizer of another model is saved in that folder too, and so is a font.
    """
    here = real_path(folder)

    def tell(path: str) -> str:
        if not Path(path).is_absolute() or os.path.commonpath([path, here]) == os.path.sep:
            return path
        return os.path.relpath(path, here)

    saved = _mapped(values, tell, tell)
    tokenizer, model = _section(saved.get("tokenizer")), _section(saved.get("model"))
    if tokenizer.get("model", NEW) != NEW:
        saved["tokenizer"] = {**tokenizer, "model": "."}
    if model.get("font") is not None:
        saved["model"] = {**model, "font": FONT}
    return saved


def model_root(path: Path) -> Path:
    """Returns the folder with the recipe and tokenizers of a bundle, a run or a checkpoint in a run."""
    roots = (path, real_path(path).parent.parent) if path.is_dir() else ()
    return next((root for root in roots if is_there(root / "recipe.toml")), path)


def taken_tokenizer(values: dict[str, Any]) -> str | None:
    """Returns the model whose tokenizer a recipe uses, or None if it trains one."""
    chosen = _section(values.get("tokenizer")).get("model") or _section(values.get("training")).get("initialise")
    return chosen if isinstance(chosen, str) and chosen != NEW else None


def _with_home(path: str) -> str:
    """Expands `~` in a path, if there is a home folder."""
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        return path


def _mapped(values: dict[str, Any], change: Callable[[str], str], change_text: Callable[[str], str]) -> dict[str, Any]:
    """Applies a change to every path, and another to those of text; values of a wrong type are kept, and refused elsewhere."""
    data, training, tokenizer, model = (
        dict(_section(values.get(key))) for key in ("data", "training", "tokenizer", "model")
    )
    _change(data, "corpus", lambda corpus: change(corpus) if is_card_path(corpus) else corpus)
    if isinstance(more := data.get("more"), (list, tuple)):
        data["more"] = [
            _mapped({"data": item}, change, change_text)["data"] if isinstance(item, dict) else item
            for item in cast(Sequence[Any], more)
        ]
    if isinstance(mono := data.get("mono"), (list, tuple)):
        data["mono"] = [_with_files(item, change_text) for item in cast(Sequence[Any], mono)]
    if isinstance(data.get("cleaning"), dict):
        data["cleaning"] = dict(_section(data["cleaning"]))
        _change(data["cleaning"], "score_with", change)
    _change(training, "initialise", change)
    _change(tokenizer, "model", lambda model: model if model == NEW else change(model))
    _change(model, "font", change)
    sections = {"data": data, "training": training, "tokenizer": tokenizer, "model": model}
    return {**values, **{key: section for key, section in sections.items() if isinstance(values.get(key), dict)}}


def _with_files(text: Any, change: Callable[[str], str]) -> Any:
    """Applies a change to the paths of a section of `data.mono`."""
    files = _section(text).get("files")
    if not isinstance(files, (list, tuple)):
        return text
    return {**text, "files": [change(file) if isinstance(file, str) else file for file in cast(Sequence[Any], files)]}


def _section(value: Any) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _change(section: dict[str, Any], key: str, change: Callable[[str], str]) -> None:
    if isinstance(value := section.get(key), str):
        section[key] = change(value)
