"""Sorts the files that a person has into splits, and says how a card names them."""

from __future__ import annotations

import os
import re
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from itertools import islice
from pathlib import Path

from nmt.config.paths import PACKED, is_there
from nmt.corpus.lines import file_lines
from nmt.corpus.opening import explained, size_of
from nmt.errors import DataError
from nmt_data.reading.files import kind_of
from nmt_data.reading.split import READERS
from nmt_data.starting.languages import language_named

_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev", "devel", "development", "newsdev"), "valid"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation"), "test"),
}
_TESTS = re.compile("dev|test")  # in the names of test sets, as in newstest2014
_ORDER = ("train", "valid", "test")
_OFFICE = frozenset({".xlsx", ".xls", ".ods", ".docx", ".doc", ".odt", ".pdf", ".numbers", ".rtf"})
_MOST = 10_000  # files in a folder
_LINES = 50  # lines that tell a table from plain text


@dataclass
class Inputs:
    """Files by what they are, before languages and columns are known."""

    both: dict[str, list[Path]] = field(default_factory=dict[str, list[Path]])
    """By split: files that hold both languages."""
    parallel: dict[str, dict[str, Path]] = field(default_factory=dict[str, dict[str, Path]])
    """By split: the file of each language; the languages are what stands in the names of the files."""
    patterns: dict[str, str] = field(default_factory=dict[str, str])
    """By split: the name of these files with {language} for the language."""
    alone: list[Path] = field(default_factory=list[Path])
    """Text files whose names tell no language."""


def sort_inputs(files: Sequence[Path], wanted: Sequence[str] = ()) -> Inputs:
    """Sorts files, and those in folders and zip archives, into splits; names may tell any language, or one of those wanted.

    Raises:
        DataError: a file is missing, or cannot be read as text or pairs.
    """
    paths, office = list[Path](), list[Path]()
    for path in expanded(files):
        (office if kind_of(path) in _OFFICE else paths).append(path)
    if office and (not paths or office[0] in files):
        kind = kind_of(office[0])
        raise DataError(f"{office[0]}: save it as .csv, a table, or as .txt, a sentence a line: {kind} cannot be read")
    folders = len({path.parent for path in paths}) > 1
    inputs, both = Inputs(), defaultdict[str, list[Path]](list)
    texts: list[Path] = []
    for path in paths:
        if _holds_both(path):
            both[_split_of(path, folders) or "train"].append(path)
        else:
            texts.append(path)
    _pair(texts, inputs, folders, wanted)
    if both and _bytes(both) >= _bytes(inputs.parallel):  # else it is a list of words, say, beside the text
        return Inputs(both=dict(both))
    return inputs


def _bytes(splits: Mapping[str, Iterable[Path]] | Mapping[str, Mapping[str, Path]]) -> int:
    """Returns the size of all files of some splits."""
    groups = (group.values() if isinstance(group, Mapping) else group for group in splits.values())
    return sum(size_of(path) for group in groups for path in group)


def expanded(files: Iterable[Path]) -> Iterable[Path]:
    """Yields files, with folders and archives of several files replaced by what they hold.

    Raises:
        DataError: a file is missing, an archive damaged, or a folder too large.
    """
    for path in files:
        if path.is_dir():
            inner = list(islice((one for one in path.rglob("[!.]*") if one.is_file()), _MOST + 1))
            if len(inner) > _MOST:
                raise DataError(f"{path}: holds more than {_MOST:,} files; name a smaller folder")
            yield from expanded(sorted(inner))
        elif not is_there(path) or (path.exists() and not path.is_file()):
            raise DataError(f"{path}: no such file or folder")
        elif path.suffix.lower() == ".zip" and path.is_file():
            with explained(path), zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            yield from [path] if len(names) == 1 else [path / name for name in names]
        else:
            yield path


def in_order(splits: Mapping[str, str]) -> dict[str, str]:
    """Returns splits with train first, then valid and test."""
    return {
        name: splits[name] for name in sorted(splits, key=lambda name: (*(name != first for first in _ORDER), name))
    }


def pattern_of(paths: Sequence[Path]) -> str:
    """Returns the path of a file, or a pattern with `*` that matches exactly these files.

    Raises:
        DataError: there is no such pattern.
    """
    if len(paths) == 1:
        return str(paths[0])
    for pattern in _patterns(paths):
        if {Path(name) for name in glob(pattern, recursive=True)} == set(paths):  # noqa: PTH207 - absolute patterns too
            return pattern
    raise DataError(
        f"{', '.join(map(str, paths[:3]))}{' and others' * (len(paths) > 3)}: one split may be one file, or all files of "
        "one kind in a folder; put them into a folder of their own, or join them"
    )


def _patterns(paths: Sequence[Path]) -> Iterable[str]:
    """Yields patterns that match paths: `*` for each part in which they differ, and all of one kind in a folder."""
    ends = {"".join(path.suffixes[-2:]) if path.suffix in PACKED else path.suffix for path in paths}
    if len({len(path.parts) for path in paths}) == 1:
        *folders, names = zip(*(path.parts for path in paths), strict=True)
        parts = [part[0] if len(set(part)) == 1 else "*" for part in folders]
        for name in [names[0]] if len(set(names)) == 1 else [f"*{end}" for end in ends if len(ends) == 1]:
            yield str(Path(*parts, name))
    folder = os.path.commonpath([path.parent for path in paths])
    for tail in (
        {path.name for path in paths} if len({path.name for path in paths}) == 1 else {f"*{end}" for end in ends}
    ):
        yield str(Path(folder, "**", tail))


def _holds_both(path: Path) -> bool:
    """Whether a file holds text and translation, by its kind; plain text does if its lines have tabs."""
    kind = kind_of(path)
    if kind != ".txt":
        return kind in READERS
    lines = [line for line in islice(file_lines(path), _LINES) if line.strip()]
    return bool(lines) and all(b"\t" in line.strip() for line in lines)


def _split_of(path: Path, folders: bool) -> str | None:
    """Returns the split that the name of a file tells, or that of its folder if files lie in several."""
    words = re.split(r"[^a-z]+", path.name.lower())
    by_folder = _SPLITS.get(path.parent.name.lower()) if folders else None
    return next((_SPLITS[word] for word in words if word in _SPLITS), by_folder)


def _pair(texts: Sequence[Path], inputs: Inputs, folders: bool, wanted: Sequence[str]) -> None:
    """Joins text files whose names differ in the language alone."""
    groups = defaultdict[str, dict[str, Path]](dict)
    for path in texts:
        for template, language in _templates(path, wanted):
            groups[template].setdefault(language, path)
    used: set[Path] = set()
    unnamed: list[str] = []
    for template, found in groups.items():  # the last word of a name comes first
        if len(found) < 2 or used & set(found.values()):
            continue
        used |= set(found.values())
        split = _split_of(Path(template), folders)
        if split is None and not _TESTS.search(Path(template).name.lower()):
            unnamed.append(template)
            continue
        if split is None or split in inputs.parallel:
            split = re.sub(r"\W+", "-", Path(template.replace("{language}", "")).name).strip("-") or split or "test"
        inputs.parallel[split], inputs.patterns[split] = found, template
    if unnamed and "train" not in inputs.parallel:  # the largest; what the others are is for the person to say
        template = max(unnamed, key=lambda name: _bytes({"train": groups[name]}))
        inputs.parallel["train"], inputs.patterns["train"] = groups[template], template
    if not used:
        inputs.alone = list(texts)


def _templates(path: Path, wanted: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Yields the path with {language} in place of each word that names one, the last first, and that word."""
    words = re.finditer(r"[^\W_]+(?:[-_][A-Z]{2})?", path.name)
    for match in reversed([word for word in words if language_named(word[0], wanted)]):
        yield str(path.parent / (path.name[: match.start()] + "{language}" + path.name[match.end() :])), match[0]
