"""Reads lines from files and pipes in chunks, and writes to stdout or to a file that appears complete."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import stat
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import IO, Any

from nmt.corpus.lines import decode_replacing, split_lines
from nmt.corpus.opening import open_text
from nmt.runtime.stages import Stage, stage, under_way
from nmt_cli.console import note
from nmt_cli.pulse import clock, is_live, pulse
from nmt_cli.standard import binary_input, binary_output

WINDOW = 2048
_PATIENCE = 0.05
_LONG = 60.0  # seconds after which a run ends with a summary


@contextmanager
def reading(file: Path | None) -> Generator[IO[bytes]]:
    """Opens a file, decompressed if needed, or stdin, as bytes."""
    if file is None or str(file) == "-":
        yield binary_input()
        return
    with open_text(file) as stream:
        yield stream


def chunks(stream: IO[bytes], skip: int = 0, window: int = WINDOW, pauses: bool = False) -> Iterator[list[bytes]]:
    """Yields chunks of lines after the first `skip`: windows of a file, or the lines that a pipe has delivered.

    With `pauses` a chunk is empty while a pipe delivers nothing.
    """
    name = getattr(stream, "name", None)
    where = str(name) if isinstance(name, str | Path) and name != "<stdin>" else "standard input"
    if _is_pipe(stream):
        yield from _as_they_come(islice(split_lines(_raw_lines(stream.fileno()), where), skip, None), window, pauses)
        return
    lines = islice(split_lines(stream, where), skip, None)
    while chunk := list(islice(lines, window)):
        yield chunk


def decoded_lines(lines: Iterable[bytes]) -> tuple[list[str], int]:
    """Decodes lines and replaces bytes that are not UTF-8; also returns how many lines had such bytes."""
    found = [decode_replacing(line) for line in lines]
    return [text for text, _ in found], sum(replaced for _, replaced in found)


class Sink:
    """The output for translations; it counts the lines of input that are done."""

    def __init__(self, stream: IO[bytes], record: Path | None = None, job: str = "", done: _Done | None = None) -> None:
        done = done or _Done()
        self.lines, self.kept = done.lines, done.kept
        self._stream, self._record, self._job = stream, record, job

    def write(self, data: bytes, lines: int, kept: dict[str, Any] | None = None) -> None:
        """Writes the output of the next `lines` lines of input, and what a later run of the job is to know."""
        with pulse.saying(heard=False):  # both may be the same terminal
            self._stream.write(data)
            self._stream.flush()
        self.lines += lines
        if self._record is not None:
            entry = {"job": self._job, "lines": self.lines, "bytes": self._stream.tell(), "kept": kept or {}}
            fresh = self._record.with_name(f"{self._record.name}.new")
            fresh.write_text(json.dumps(entry), encoding="utf-8")
            fresh.replace(self._record)  # whole or not at all


@contextmanager
def writing(output: Path | None, job: str | None) -> Generator[Sink]:
    """Opens stdout, or a file that appears complete after the last line; pipes and devices are written directly.

    If a run of the same job was interrupted, its lines are kept and the new run continues after them.

    Args:
        output: the file; None means stdout.
        job: identifies model, settings and input; None if the input cannot be read again.

    Raises:
        NmtError: another process is writing the file.
    """
    if output is None:
        yield Sink(binary_output())
        return
    from nmt.runtime.files import destination, drafts, explain_full_disk
    from nmt.runtime.owners import hold

    output = destination(output)
    if output.exists() and not output.is_file():
        with explain_full_disk(output), output.open("wb") as stream:
            yield Sink(stream)
        return
    draft, record = drafts(output)
    with explain_full_disk(output), draft.open("ab") as stream:
        hold(draft, stream.fileno(), f"{output} is being written by another process")
        done = _done(record, draft, job)
        stream.truncate(done.bytes)
        stream.seek(done.bytes)
        if done.lines:
            note(f"nmt: going on after line {done.lines} of an interrupted run")
        sink = Sink(stream, record if job else None, job or "", done)
        try:
            yield sink
        except KeyboardInterrupt:
            again = f"goes on after line {sink.lines}" if job and sink.lines else "begins anew"
            note(f"\nnmt: interrupted after {sink.lines} lines, which lie in {draft}; the same command {again}")
            raise
        stream.flush()
        os.fsync(stream.fileno())
        draft.replace(output)
        record.unlink(missing_ok=True)


def job_of(*parts: object) -> str:
    """Returns an identifier of everything that decides on the output."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class Meter(Stage):
    """Counts the translated lines of a text, their speed and the time left."""

    def __init__(self, stream: IO[bytes], before: int = 0) -> None:
        """Begins now; the first `before` lines were translated earlier."""
        super().__init__("translating")
        self._before = before
        self._size = os.fstat(stream.fileno()).st_size if _is_file(stream) and _is_plain(stream) else 0
        self._stream, self._share = stream, 0.0
        self._open = ExitStack()

    def __enter__(self) -> Meter:
        self._open.enter_context(under_way(self))
        return self

    def advance(self, lines: int) -> None:
        """Counts more lines as done."""
        self.done += lines
        self._share = self._stream.tell() / self._size if self._size else 0.0

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Prints a summary of a long run."""
        self._open.close()
        seconds = self.seconds
        if kind is None and (seconds >= _LONG or (is_live() and seconds > 1)):
            note(f"nmt: {self.done} lines in {clock(seconds)}, {self.done / seconds:,.1f} lines/s")

    @property
    def left(self) -> float | None:
        """See `Stage.left`; lines are taken to be equally long."""
        speed = self._share * self.done / (self.done + self._before) / self.seconds if self.done else 0
        return (1 - self._share) / speed if speed else None

    def __str__(self) -> str:
        return f"{self.done:,} lines, {self.done / self.seconds:,.1f} lines/s" if self.done else self.text


@dataclass(frozen=True)
class _Done:
    lines: int = 0
    bytes: int = 0
    kept: dict[str, Any] = field(default_factory=dict[str, Any])


def _done(record: Path, draft: Path, job: str | None) -> _Done:
    """Returns how much an interrupted run of the same job has finished."""
    try:
        entry: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        if job is not None and entry["job"] == job and draft.stat().st_size >= entry["bytes"]:
            return _Done(int(entry["lines"]), int(entry["bytes"]), dict(entry.get("kept", {})))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return _Done()


def _mode(stream: IO[bytes]) -> int:
    try:
        return os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):  # a stream in a test has no number
        return 0


def _is_file(stream: IO[bytes]) -> bool:
    return stat.S_ISREG(_mode(stream))


def _is_pipe(stream: IO[bytes]) -> bool:
    return _mode(stream) != 0 and not _is_file(stream)


def _is_plain(stream: IO[bytes]) -> bool:
    """Whether the stream's position is one in the file, which is not so for decompressed data."""
    return isinstance(stream, BufferedReader)


def _raw_lines(number: int) -> Iterator[bytes]:
    """Yields the lines of a file descriptor. A buffered stream would stay locked by the waiting thread at exit."""
    parts: list[bytes] = []
    while data := os.read(number, 1 << 16):
        *lines, rest = data.split(b"\n")
        for line in lines:
            yield b"".join([*parts, line, b"\n"])
            parts = []
        parts.append(rest)
    if last := b"".join(parts):
        yield last


def _as_they_come(lines: Iterator[bytes], window: int, pauses: bool) -> Iterator[list[bytes]]:
    """Yields chunks of a pipe: what a reader thread has collected when input pauses or the window is full."""
    waiting: queue.Queue[bytes | Exception | None] = queue.Queue(maxsize=2 * window)

    def read() -> None:
        try:
            for line in lines:
                waiting.put(line)
            waiting.put(None)
        except Exception as error:  # noqa: BLE001 - passed to the waiting thread, which would wait forever
            waiting.put(error)

    threading.Thread(target=read, daemon=True).start()
    open_ = True
    while open_:
        chunk: list[bytes] = []
        while open_ and len(chunk) < window:
            try:
                with stage("waiting for lines", idle=True):
                    line = waiting.get(timeout=_PATIENCE if chunk or pauses else None)
            except queue.Empty:
                break
            if isinstance(line, Exception):
                raise line
            if line is None:
                open_ = False
            else:
                chunk.append(line)
        if chunk or (pauses and open_):
            yield chunk
