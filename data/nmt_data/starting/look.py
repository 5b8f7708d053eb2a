"""Looks at files: languages, the file of each split, and columns."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from nmt.corpus.languages import base_code
from nmt.errors import DataError
from nmt_data.reading import Unreadable, read_text
from nmt_data.reading.files import kind_of
from nmt_data.reading.gettext import header_language, read_po, telling_names
from nmt_data.reading.languages import is_same
from nmt_data.reading.localisation import languages_of, read_xliff
from nmt_data.reading.pairs import Direction
from nmt_data.reading.split import READERS
from nmt_data.starting.columns import choose_columns, read_table
from nmt_data.starting.inputs import Inputs, in_order, pattern_of, sort_inputs
from nmt_data.starting.languages import guessed_language, language_named, unknown_languages

_SAMPLE = 100  # lines or messages that tell a language


@dataclass(frozen=True)
class Found:
    """What the files are: languages, the file of each split, and columns."""

    languages: tuple[str, str]
    splits: Mapping[str, str]
    columns: Mapping[str, str] = field(default_factory=dict[str, str])


def look(files: Sequence[Path], source: str | None, target: str | None) -> Found:
    """Says what files are.

    Raises:
        DataError: they cannot be told.
    """
    inputs = sort_inputs(files, _wanted(source, target))
    if inputs.both:
        return _look_at_both(inputs.both, source, target)
    if inputs.parallel:
        return _look_at_parallel(inputs, source, target)
    return _look_at_two(inputs.alone, source, target)


def _look_at_both(splits: Mapping[str, list[Path]], source: str | None, target: str | None) -> Found:
    """Looks at files that hold both languages."""
    first, *others = kinds = list(dict.fromkeys(kind_of(path) for paths in splits.values() for path in paths))
    if others:
        raise DataError(
            f"{', '.join(kinds)}: these are several kinds of files; give those of one kind, or one of them at a time"
        )
    path = next(iter(splits.get("train") or next(iter(splits.values()))))
    if first == ".po":
        return _look_at_messages(splits, source, target)
    if first == ".tmx" or READERS[first] is read_xliff:
        pair = _two(path, languages_of(path), source, target)
        return Found(pair, _patterns(splits))
    table = read_table(path, _wanted(source, target))
    one, other = choose_columns(path, table, source, target)
    columns = {str(column.language): column.name for column in (one, other)}
    languages = str(one.language), str(other.language)
    return Found(languages, _patterns(splits), {} if all(key == name for key, name in columns.items()) else columns)


def _look_at_messages(splits: Mapping[str, list[Path]], source: str | None, target: str | None) -> Found:
    """Looks at PO files, whose folder often holds many languages."""
    wanted = _wanted(source, target)
    spoken = {
        path: header_language(path) or _language_by_name(path, wanted) for paths in splits.values() for path in paths
    }
    there = Counter(base_code(language) for language in spoken.values() if language)
    if not there and source and target:  # a program's own language is the source
        return Found((source, target), _patterns(splits), {source: "msgid", target: "msgstr"})
    theirs_wanted = [language for language in reversed(wanted) if any(is_same(language, one) for one in there)]
    if not there:
        raise unknown_languages(", ".join(map(str, list(spoken)[:3])))
    if not theirs_wanted and len(there) != 1:
        raise DataError(f"PO files in {', '.join(sorted(there))}; say which, as in --source en --target {min(there)}")
    theirs = theirs_wanted[0] if theirs_wanted else next(iter(there))
    chosen = {name: [path for path in paths if is_same(theirs, spoken[path] or "")] for name, paths in splits.items()}
    chosen = {name: paths for name, paths in chosen.items() if paths}
    original = target if theirs == source else source
    if original is None:
        direction = Direction("", theirs, {"": "msgid", theirs: "msgstr"})
        pairs = chain.from_iterable(read_po(path, direction, Unreadable()) for path in chosen.get("train", []))
        original = guessed_language([message for message, _ in islice(pairs, _SAMPLE)]) or "en"
    pair = (theirs, original) if source == theirs else (original, theirs)
    return Found(pair, _patterns(chosen), {original: "msgid", theirs: "msgstr"})


def _look_at_parallel(inputs: Inputs, source: str | None, target: str | None) -> Found:
    """Looks at one file a language, whose names tell the languages."""
    train = inputs.parallel.get("train") or next(iter(inputs.parallel.values()))
    wanted = _wanted(source, target)
    words = {str(language_named(word, wanted)): word for word in train}
    pair = _two(next(iter(train.values())), list(words), source, target)
    columns = {language: words[language] for language in pair}
    if all(key == word for key, word in columns.items()):  # then the card has room for the words of other files
        told = ({str(language_named(word, wanted)): word for word in there} for there in inputs.parallel.values())
        others = ({one: there[one] for one in pair} for there in told if set(pair) <= set(there))
        columns = next((there for there in others if there != columns), columns)
    splits = {
        name: inputs.patterns[name]
        for name, there in inputs.parallel.items()
        if any(set(names) <= set(there) for names in (pair, columns.values()))
    }
    return Found(pair, _with_train(splits), {} if all(key == word for key, word in columns.items()) else columns)


def _look_at_two(texts: Sequence[Path], source: str | None, target: str | None) -> Found:
    """Looks at two files whose names tell nothing."""
    if len(texts) != 2:
        names = ", ".join(map(str, texts[:4])) or "nothing"
        raise DataError(
            f"{names}: name two files, line n of one the translation of line n of the other, or one that holds both"
        )
    one, other = _two_told(texts, source, target)
    folder = os.path.commonpath([path.parent for path in texts])
    columns = {language: os.path.relpath(path, folder) for language, path in zip((one, other), texts, strict=True)}
    backwards = source == other or target == one
    return Found((other, one) if backwards else (one, other), {"train": str(Path(folder, "{language}"))}, columns)


def _two_told(texts: Sequence[Path], source: str | None, target: str | None) -> tuple[str, str]:
    """Returns the languages of two files, told by their text, or by their order where a person says both."""
    samples = [list(islice(read_text(path, Unreadable(skip=True)), _SAMPLE)) for path in texts]
    among = _wanted(source, target)
    told = [guessed_language(sample, among if len(among) == 2 else ()) for sample in samples]
    if len(among) == 2 and set(told) != set(among):
        return among[0], among[1]
    if None in told or told[0] == told[1] or any(language not in told for language in among):
        raise unknown_languages(" and ".join(map(str, texts)))
    return str(told[0]), str(told[1])


def _two(path: Path, there: Sequence[str], source: str | None, target: str | None) -> tuple[str, str]:
    """Returns source and target among the languages that files name."""
    plain = list(dict.fromkeys(map(base_code, there)))
    names = plain if len(plain) > 1 else list(dict.fromkeys(there))  # en-GB and en-US
    if missing := [one for one in (source, target) if one and not any(is_same(one, name) for name in there)]:
        raise DataError(f"{path}: nothing in {missing[0]}; there are {', '.join(there) or 'none that are named'}")
    rest = [name for name in names if not any(one and is_same(one, name) for one in (source, target))]
    if len(rest) != 2 - sum(one is not None for one in (source, target)):
        if len(names) < 2:
            raise unknown_languages(str(path))
        if not (source and target):
            raise DataError(
                f"{path}: holds {', '.join(names)}; say which, as in --source {names[0]} --target {names[1]}"
            )
    return source or rest.pop(0), target or rest.pop(0)


def _wanted(source: str | None, target: str | None) -> list[str]:
    return [language for language in (source, target) if language]


def _patterns(splits: Mapping[str, list[Path]]) -> dict[str, str]:
    return _with_train({name: pattern_of(paths) for name, paths in splits.items()})


def _with_train(splits: dict[str, str]) -> dict[str, str]:
    if "train" not in splits:
        raise DataError(f"{', '.join(splits.values())}: nothing to train on; name a file for training too")
    return in_order(splits)


def _language_by_name(path: Path, wanted: Sequence[str]) -> str | None:
    """Returns the language that the name of a PO file or its folder tells."""
    return next((name for name in telling_names(path) if language_named(name, wanted)), None)
