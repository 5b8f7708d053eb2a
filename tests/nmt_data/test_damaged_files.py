"""Damaged files of every kind: each gives pairs, or one line that says what is wrong."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from time import perf_counter

import pytest

from corpora import pairs_of
from damage import damaged_files
from nmt.errors import DataError
from nmt_data.reading import Pair, Unreadable


def _try(folder: Path, split: str, files: dict[str, bytes], skip: bool | None) -> list[Pair] | str:
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        return pairs_of(folder, split, unreadable=Unreadable(skip=skip))
    except DataError as error:
        return str(error)
    finally:
        for name in files:
            (folder / name).unlink()


def _check(folder: Path, seed: int, count: int) -> tuple[int, int]:
    """Tries so many files, and returns how many gave pairs and how many were refused."""
    outcomes = [0, 0]
    for number, (split, files) in enumerate(islice(damaged_files(seed), count)):
        start = perf_counter()
        found = _try(folder, split, files, (None, False, True)[number % 3])
        what = f"file {number} of seed {seed}, {split}: {found}"
        assert perf_counter() - start < 10, what
        if isinstance(found, str):
            assert "\n" not in found, what
            assert found.startswith((str(folder), "corpus mine")), what
        else:
            assert all(isinstance(text, str) and text.encode() is not None for pair in found for text in pair), what
        outcomes[isinstance(found, str)] += 1
    return outcomes[0], outcomes[1]


def test_a_few_damaged_files_are_pairs_or_one_line(tmp_path: Path) -> None:
    """Never a traceback; some can still be read, and some cannot."""
    assert min(_check(tmp_path, 1, 400)) > 50


@pytest.mark.thorough
def test_many_damaged_files_are_pairs_or_one_line(tmp_path: Path) -> None:
    """As above, 10,000 times."""
    assert min(_check(tmp_path, 2, 10_000)) > 1000
