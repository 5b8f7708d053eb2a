"""Finds the files of a corpus, beside its card or under NMT_DATA, and tells their kind by their names."""

from __future__ import annotations

from glob import glob
from pathlib import Path

from nmt.config.paths import PACKED, is_there
from nmt.corpus.opening import only_member
from nmt_data.cards import CorpusCard, data_folder


def find_file(name: str, card: CorpusCard) -> Path | None:
    """Finds a file beside the user's card or under NMT_DATA, packed or not; an absolute path wherever it is.

    A zip archive counts as a folder: `archive.zip/name`.
    """
    for folder in _folders(name, card):
        for suffix in ("", *PACKED):
            path = folder / (name + suffix)
            if path.is_file() or (is_there(path) and not path.exists()):
                return path
    return None


def find_files(pattern: str, card: CorpusCard) -> list[Path]:
    """Finds the file of that name, or those that match a pattern with `*`, in the order of their names."""
    if "*" not in pattern:
        return [path for path in (find_file(pattern, card),) if path]
    for folder in _folders(pattern, card):
        names = sorted(glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207 - one that takes absolute patterns too
        if paths := [folder / name for name in names if (folder / name).is_file()]:
            return paths
    return []


def kind_of(path: Path) -> str:
    """Returns the ending that tells the kind of a file, in lower case, without that of its packing."""
    suffixes = [suffix for suffix in map(str.lower, path.suffixes) if suffix not in PACKED]
    if not suffixes and path.suffix.lower() == ".zip" and path.is_file():
        return kind_of(Path(only_member(path)))
    return suffixes[-1] if suffixes else ""


def _folders(name: str, card: CorpusCard) -> list[Path]:
    folders = (Path(),) if Path(name).is_absolute() else (card.folder, data_folder())
    return [folder for folder in folders if folder is not None]
