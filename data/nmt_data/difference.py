"""Compares the training pairs of two recipes: what one keeps and the other does not, and why."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nmt.config.recipe import Recipe
from nmt.runtime.files import LITTER
from nmt.runtime.stages import stage
from nmt_data.cleaning.checks import check_cleaning
from nmt_data.dropped import Trace
from nmt_data.duplicates import database, parquet, quoted
from nmt_data.means import Means
from nmt_data.parts import parts_of
from nmt_data.shards import packed, unpacked
from nmt_data.texts import TextReader, Texts
from nmt_data.unfinished import Unfinished, corpora_folder

EXAMPLES = 10
NOT_READ = "not read, or other text"
"""The reason where the other recipe has not dropped this text: its limit is smaller, or it writes the text otherwise."""


@dataclass(frozen=True)
class Only:
    """Pairs that only one of two recipes trains on."""

    counts: dict[str, int]
    """By the reason for which the other drops them, the most frequent first."""
    examples: list[tuple[str, str, str]]
    """Reason, source and target: the first of each reason, then the second, in the order of the corpus."""


@dataclass(frozen=True)
class Difference:
    """What two recipes train on."""

    kept: tuple[int, int]
    """Number of training pairs, and lines without translations, of each."""
    first: Only
    """Pairs of the first recipe alone. A pair that one keeps more often than the other counts as often as that."""
    second: Only


def difference(first: Recipe, second: Recipe, means: Means, say: Callable[[str], None] = lambda _: None) -> Difference:
    """Reads and cleans the text of two recipes and compares it on disk, in bounded memory; no tokenizer is trained.

    Raises:
        DataError: a corpus cannot be read or used.
        ConfigError: a filter cannot be used.
    """
    home = corpora_folder()
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=LITTER) as folder:
        places = Path(folder, "first"), Path(folder, "second")
        kept = [_gathered(recipe, place, means, say) for recipe, place in zip((first, second), places, strict=True)]
        with stage("comparing", sum(kept), "pairs"):
            only = _only(*places, means), _only(places[1], places[0], means)
        return Difference((kept[0], kept[1]), only[0], only[1])


def _gathered(recipe: Recipe, folder: Path, means: Means, say: Callable[[str], None]) -> int:
    """Writes the training text of a recipe, and what it drops, below a folder; returns the number of pairs."""
    parts = parts_of(recipe)
    check_cleaning(recipe.data, parts, say)
    for name in ("work", "dropped", "kept"):
        (folder / name).mkdir(parents=True)
    reader = TextReader(recipe, parts, means, say, Trace(folder / "dropped"))
    return _write(reader.read(Unfinished(folder / "work"), lambda: None), folder / "kept")


def _write(texts: Texts, folder: Path) -> int:
    total = 0
    for number, suspect in texts.selection.suspects("writing what is kept"):
        source, target = unpacked(suspect.shard, suspect.kept)
        (folder / f"{number:08d}.parquet").write_bytes(packed(source, target, number, source))
        total += len(source)
    return total


def _only(own: Path, other: Path, means: Means) -> Only:
    """Compares what two folders hold."""
    with _tables(own, other, means) as execute:
        execute(
            "CREATE TABLE alone AS SELECT own.source, own.target, own.row, own.times - coalesce(other.times, 0) AS times "
            "FROM own LEFT JOIN other USING (source, target) WHERE own.times > coalesce(other.times, 0)"
        )
        execute(
            f"CREATE TABLE told AS SELECT alone.*, coalesce(reason, '{NOT_READ}') AS reason "  # noqa: S608 - words of ours
            "FROM alone LEFT JOIN reasons USING (source, target)"
        )
        counts = execute("SELECT reason, sum(times) AS n FROM told GROUP BY reason ORDER BY n DESC, reason")
        examples = execute(
            "SELECT reason, source, target FROM (SELECT *, row_number() OVER (PARTITION BY reason ORDER BY row) AS place "  # noqa: S608
            f"FROM told) ORDER BY place, row LIMIT {EXAMPLES}"
        )
        return Only({reason: int(count) for reason, count in counts}, examples)


@contextmanager
def _tables(own: Path, other: Path, means: Means) -> Generator[Callable[[str], list[Any]]]:
    """Yields what executes SQL on `own`, `other` (pairs) and `reasons` (why the other drops a pair); tables lie on disk."""
    with tempfile.TemporaryDirectory(dir=own) as folder, database(Path(folder), means.memory // 4) as connection:
        connection.execute(f"ATTACH {quoted(Path(folder, 'tables.duckdb'))} AS disk; USE disk")
        for name, place in (("own", own), ("other", other)):
            connection.execute(
                f"CREATE TABLE {name} AS SELECT source, target, count(*) AS times, min(row) AS row "  # noqa: S608 - paths of ours
                f"FROM {parquet(place / 'kept', '*.parquet')} GROUP BY source, target"
            )
        dropped = list((other / "dropped").iterdir())
        rows = parquet(other / "dropped", "*.parquet") if dropped else "(SELECT '' source, '' target, '' reason)"
        connection.execute(
            f"CREATE TABLE reasons AS SELECT source, target, min(reason) AS reason FROM {rows} GROUP BY source, target"  # noqa: S608
        )
        yield lambda query: connection.execute(query).fetchall()
