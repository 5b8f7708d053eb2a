"""What the folder of a run says about its training, while it goes on and afterwards; nothing is written or locked.

`list_runs` and `show_run` answer a page that asks again and again. They read what is new, in bounded memory, and remember
what a log says as long as it does not change.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nmt.config.paths import real_path
from nmt.errors import CheckpointError
from nmt.report.health import Finding, findings
from nmt.report.remembered import Remembered
from nmt.runtime.owners import SILENT, sign_of_life
from nmt.runtime.untrusted import open_regular, read_object
from nmt.storage.run_log import CARD, LOG, RECIPE, SAMPLES, UNPLANNED, Entry, parse_entry

CHUNK = 2**20
"""Most bytes of a log that are read at once."""
_TAIL = 2**16  # bytes at the end of a log that hold its last figures
_SAMPLED = 2**22  # bytes at the end of the samples that are looked through


@dataclass(frozen=True)
class RunState:
    """How far a training has come."""

    name: str
    state: Literal["training", "finished", "stopped"]
    step: int
    updates: int | None
    """Planned updates; None: not known yet."""
    seconds: float
    """Time of training and validation so far."""
    seconds_left: float | None
    """None: unknown, or it does not train."""


@dataclass(frozen=True)
class _Figures:
    """What the end of a log says of its training."""

    step: int = 0
    updates: int | None = None
    seconds: float = 0.0
    left: float | None = None
    """Seconds to the end, if it trains."""


@dataclass(frozen=True)
class Chunk:
    """A part of a log."""

    offset: int
    """Where to go on reading."""
    entries: list[Entry]
    more: bool = False
    """Whether more can be read at once."""


def find_runs(folders: Sequence[Path]) -> dict[str, Path]:
    """Returns the runs among folders, and those one level inside the other folders, each under a name of its own."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in [folder] if is_run(folder) else _runs_in(folder):
            own = os.fsencode(real_path(path).name).decode("utf-8", "replace")  # an answer is text
            name, number = own, 2
            while name in found and real_path(found[name]) != real_path(path):
                name, number = f"{own} ({number})", number + 1
            found[name] = path
    return found


def is_run(folder: Path) -> bool:
    """Whether a folder looks like that of a run; it may just have begun. One that cannot be read does not."""
    with suppress(OSError):
        return (folder / LOG).is_file() or ((folder / RECIPE).is_file() and (folder / "checkpoints").is_dir())
    return False


def list_runs(folders: Sequence[Path]) -> dict[str, Any]:
    """Answers `GET /v1/runs`: the state of each run, by `RunState`."""
    return finite({"runs": [asdict(run_state(name, path)) for name, path in find_runs(folders).items()]})


def show_run(folders: Sequence[Path], name: str, after: int = 0) -> dict[str, Any] | None:
    """Answers `GET /v1/runs/NAME?after=OFFSET`: what was logged since the offset of an earlier answer.

    Returns:
        The fields of `RunState`, and
        `offset` and `more`: where to go on, and whether there is more to read at once;
        `log`: a name of the log file. A training that resumes replaces the file: if the name changes, begin again at 0;
        `events`: the new entries of the log;
        `validation`: the samples of the validations among them, as `nmt.training.samples` writes them;
        `health`: findings over the end of the log, by `nmt.report.health.Finding`.
        None: there is no such run.
    """
    path = find_runs(folders).get(name)
    if path is None:
        return None
    log, chunk = identity_of(path / LOG), read_after(path / LOG, after)
    steps = {entry["step"] for entry in chunk.entries if entry["kind"] == "validation"}
    sampled = (read_end(path / SAMPLES, _SAMPLED) if steps else None) or []
    answer = {
        **asdict(run_state(name, path)),
        "log": log,
        "offset": chunk.offset,
        "more": chunk.more,
        "events": chunk.entries,
        "validation": [entry for entry in sampled if entry["step"] in steps],
        "health": [asdict(finding) for finding in _HEALTH.of(path / LOG) or []],
    }
    return finite(answer)


def run_state(name: str, folder: Path) -> RunState:
    """Returns how far the training in a folder has come, from the end of its log and the signs of life of its owner."""
    found = _FIGURES.of(folder / LOG) or _Figures()
    silence = sign_of_life(folder / "lock")
    state: Literal["training", "finished", "stopped"] = "stopped"
    if silence is not None and silence < SILENT:
        state = "training"
    elif _made_after(folder) >= found.step > 0:
        state = "finished"
    return RunState(name, state, found.step, found.updates, found.seconds, found.left if state == "training" else None)


def read_after(path: Path, offset: int) -> Chunk:
    """Returns the complete entries of a log behind an offset in bytes, up to `CHUNK`.

    A log that is shorter than the offset, or has no line that begins there, was replaced: reading begins at 0. A line that is
    longer than a chunk is passed over.
    """

    def read(size: int, read_at: Callable[[int, int], bytes]) -> Chunk:
        whole = 0 < offset <= size and read_at(offset - 1, 1) == b"\n"
        begin = offset if whole else 0
        data = read_at(begin, CHUNK)
        end = data.rfind(b"\n") + 1
        if end == 0 and len(data) == CHUNK:
            return Chunk(*_behind_the_line(begin, size, read_at))
        return Chunk(begin + end, _entries(data[:end]), more=len(data) == CHUNK)

    return _opened(path, read) or Chunk(0, [])


def read_end(path: Path, most: int) -> list[Entry] | None:
    """Returns the complete entries among the last bytes of a log; None if it cannot be read."""

    def read(size: int, read_at: Callable[[int, int], bytes]) -> list[Entry]:
        begin = max(0, size - most)
        data = read_at(begin, most)
        return _entries(data if begin == 0 else data[data.find(b"\n") + 1 :])

    return _opened(path, read)


def identity_of(path: Path) -> str:
    """Returns a name of a file that changes if another one takes its place; empty if there is none."""
    try:
        return str(path.stat().st_ino)
    except OSError:
        return ""


def finite(value: Any) -> Any:
    """Returns a value for JSON: numbers that JSON lacks, such as the loss of a diverged model, become None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]  # of JSON
    if isinstance(value, list):
        return [finite(item) for item in value]  # pyright: ignore[reportUnknownVariableType]  # of JSON
    return value


def _figures(log: Path) -> _Figures | None:
    entries = read_end(log, _TAIL)
    if entries is None:
        return None
    trained = [entry for entry in entries if entry["kind"] == "train"]
    timed = [float(entry["seconds"]) for entry in entries if "seconds" in entry]
    start = _start(log, entries)
    plans = [entry.get("updates") for entry in (start, *trained) if entry]
    updates = plans[-1] if plans and type(plans[-1]) is int and plans[-1] < UNPLANNED else None
    step = max((entry["step"] for entry in entries), default=0)
    return _Figures(step, updates, timed[-1] if timed else 0.0, _left(start, trained, entries) if trained else None)


def _health(log: Path) -> list[Finding] | None:
    entries = read_end(log, CHUNK)
    return None if entries is None else findings(entries)


_FIGURES, _HEALTH = Remembered(_figures), Remembered(_health)


def _opened(path: Path, read: Callable[[int, Callable[[int, int], bytes]], Any]) -> Any:
    """Reads parts of a regular file; None if there is none that can be read."""
    try:
        with open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            return read(size, lambda offset, count: os.pread(stream.fileno(), count, offset))
    except OSError:
        return None


def _behind_the_line(begin: int, size: int, read_at: Callable[[int, int], bytes]) -> tuple[int, list[Entry], bool]:
    """Returns the place behind a line that is longer than a chunk; if it does not end yet, its begin."""
    place = begin
    while place < size:
        data = read_at(place, CHUNK)
        if not data:
            break
        if (end := data.find(b"\n") + 1) > 0:
            return place + end, [], True
        place += len(data)
    return begin, [], False


def _entries(data: bytes) -> list[Entry]:
    found: list[Entry] = []
    for line in data.splitlines(keepends=True):
        with suppress(ValueError):
            found.append(parse_entry(line))
    return found


def _runs_in(folder: Path) -> list[Path]:
    with suppress(OSError):
        return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and is_run(path)]
    return []


def _start(log: Path, entries: Sequence[Entry]) -> Entry | None:
    """Returns the last start of the training that can be found without reading all of the log."""
    first = _head(log) if not any(entry["kind"] == "start" for entry in entries) else []
    return next((entry for entry in reversed([*first, *entries]) if entry["kind"] == "start"), None)


def _head(path: Path) -> list[Entry]:
    """Returns the first entries of a log."""

    def read(_: int, read_at: Callable[[int, int], bytes]) -> list[Entry]:
        return _entries(read_at(0, _TAIL))

    return _opened(path, read) or []


def _left(start: Entry | None, trained: Sequence[Entry], entries: Sequence[Entry]) -> float | None:
    """Returns the seconds to the end: what is left of the budget, or by the pace since the training last began."""
    last, budget = trained[-1], (start or {}).get("budget")
    if "seconds" not in last or "updates" not in last:
        return None
    if isinstance(budget, (int, float)):
        return max(0.0, float(budget - last["seconds"]))
    since = next((item for item in entries if item is start), trained[0])
    steps = last["step"] - since["step"]
    if steps <= 0 or "seconds" not in since:
        return None
    return max(0.0, float((last["seconds"] - since["seconds"]) / steps * (last["updates"] - last["step"])))


def _made_after(folder: Path) -> int:
    """Returns the number of updates of the finished model; 0 if there is none."""
    try:
        updates = read_object(folder / "model" / CARD).get("updates")
    except CheckpointError:
        return 0
    return updates if type(updates) is int else 0
