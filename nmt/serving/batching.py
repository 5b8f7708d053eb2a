"""The queue: lines of many clients become batches, in turn, and no answer depends on who else asks.

A request is a job. A free worker takes the group of the job that has waited longest, and lines of all jobs of this group: of
each a share, so that a book does not hold up a sentence. Jobs with lines left go to the end of the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nmt.errors import NmtError
from nmt.serving.metrics import Metrics
from nmt.serving.tasks import Group, Line, Look, Results, Task, UnopenedError, Wrong
from nmt.serving.workers import Lost, Worker

SHARE = 64
"""Lines that one job may have in a batch while others wait."""
_GATHER = 0.003  # seconds that an idle worker waits for other clients, if there are any
_KILLED = Wrong(503, "a worker process was killed at this request, twice; if memory ran out, ask for less")
CLOSED = Wrong(503, "the models cannot be opened; the server's log says why")
_BUG = Wrong(500, "the server has a fault; its log says more")


class Full(Exception):  # noqa: N818 - an answer, not a fault
    """There are as many jobs as the queue takes."""


class Job:
    """A request: its lines, and the results as they come."""

    def __init__(self, what: Group | Look, lines: Sequence[Line]) -> None:
        """Begins with nothing done; to be called in the event loop."""
        self.what, self.lines = what, tuple(lines)
        self.results: list[Any] = [None] * len(lines)
        self.future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self.taken = 0
        self._missing = len(lines)

    @property
    def left(self) -> int:
        """Number of lines that no worker has taken."""
        return len(self.lines) - self.taken

    @property
    def is_over(self) -> bool:
        """Whether nobody waits for the results any more, or all are there."""
        return self.future.done()

    def take(self, count: int) -> Piece:
        """Takes the next lines, as many as there are."""
        piece = Piece(self, self.taken, min(count, self.left))
        self.taken += piece.count
        return piece

    def receive(self, piece: Piece, results: Sequence[Any]) -> None:
        """Keeps the results of a piece; the last one ends the job, and so does one that says what is wrong."""
        self.results[piece.first : piece.first + piece.count] = results
        self._missing -= piece.count
        wrong = next((result for result in results if isinstance(result, Wrong)), None)
        if not self.is_over and (wrong or self._missing == 0):
            self.future.set_result([wrong] if wrong else self.results)


@dataclass(frozen=True)
class Piece:
    """Consecutive lines of a job."""

    job: Job
    first: int
    count: int

    @property
    def lines(self) -> tuple[Line, ...]:
        """The lines."""
        return self.job.lines[self.first : self.first + self.count]


class Queue:
    """Jobs that wait, and the workers that do them."""

    def __init__(self, workers: Sequence[Worker], size: int, room: int, metrics: Metrics) -> None:
        """Begins empty.

        Args:
            workers: each does one batch at a time.
            size: jobs that may wait; more are refused.
            room: lines of a batch.
            metrics: counts batches and lines.
        """
        self._workers, self._size, self._room, self._metrics = workers, size, room, metrics
        self._waiting: list[Job] = []
        self._filled = asyncio.Event()  # set while jobs wait
        self._loops: list[asyncio.Task[None]] = []
        self._busy = 0  # workers
        self._shared = False  # whether the last batch had lines of several clients

    def start(self) -> None:
        """Lets the workers begin."""
        self._loops = [asyncio.create_task(self._work(worker)) for worker in self._workers]

    async def stop(self) -> None:
        """Takes no more batches."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    async def do(self, job: Job) -> list[Any]:
        """Returns the results of a job, one per line; a caller that is cancelled takes the job with it.

        Raises:
            Full: too many wait.
        """
        if not job.lines:
            return []
        if self.is_closed:
            return [CLOSED]
        self._drop_ended()
        if len(self._waiting) >= self._size:
            raise Full
        self._waiting.append(job)
        self._drop_ended()
        return await job.future

    @property
    def is_closed(self) -> bool:
        """Whether no worker has the models, so that requests are refused."""
        return not any(worker.is_open for worker in self._workers)

    def _drop_ended(self) -> None:
        """Forgets jobs for which nobody waits any more."""
        self._waiting = [job for job in self._waiting if not job.is_over]
        self._metrics.waiting = len(self._waiting)
        (self._filled.set if self._waiting else self._filled.clear)()

    async def _work(self, worker: Worker) -> None:
        while True:
            pieces = await self._batch()
            self._busy, self._shared = self._busy + 1, len(pieces) > 1
            try:
                await self._run(worker, pieces)
            finally:
                self._busy -= 1
            if not worker.is_open:
                await worker.reopen()

    async def _batch(self) -> list[Piece]:
        """Waits for jobs and takes lines of one group."""
        while True:
            await self._filled.wait()
            if (self._busy or self._shared) and sum(job.left for job in self._waiting) < self._room:
                await asyncio.sleep(_GATHER)
            self._drop_ended()
            if self._waiting:
                return self._taken()

    def _taken(self) -> list[Piece]:
        what = self._waiting[0].what
        alike = [job for job in self._waiting if job.what == what]
        room, pieces = self._room, list[Piece]()
        share = SHARE if len(self._waiting) > 1 else room
        for job in alike:
            if room <= 0:
                break
            pieces.append(job.take(min(share, room)))
            room -= pieces[-1].count
            self._waiting.remove(job)
            if job.left:
                self._waiting.append(job)
        self._drop_ended()
        return pieces

    async def _run(self, worker: Worker, pieces: list[Piece], again: bool = True) -> None:
        """Does a batch. One that fails is done again job by job, so that a job harms no other."""
        pieces = [piece for piece in pieces if not piece.job.is_over]
        if not pieces:
            return
        lines = tuple(line for piece in pieces for line in piece.lines)
        try:
            results = await worker.do(Task(pieces[0].job.what, lines))
        except UnopenedError as error:
            self._metrics.failed(error)
            await self._elsewhere(pieces)
            return
        except Exception as error:  # noqa: BLE001 - a bug is told to the log, and to its client as one line
            if len(pieces) > 1:
                for piece in pieces:
                    await self._run(worker, [piece])
                return
            if isinstance(error, Lost) and again:
                await self._run(worker, pieces, again=False)
                return
            results = [self._explained(error)] * len(lines)
        else:
            self._metrics.batches += 1
            self._metrics.lines += len(lines)
            if isinstance(results, Results):
                self._metrics.happened(results.counts)
        start = 0
        for piece in pieces:
            with suppress(asyncio.InvalidStateError):
                piece.job.receive(piece, results[start : start + piece.count])
            start += piece.count

    async def _elsewhere(self, pieces: list[Piece]) -> None:
        """Gives a batch to a worker that has the models; if there is none, all jobs are refused."""
        worker = next((worker for worker in self._workers if worker.is_open), None)
        if worker is not None:
            await self._run(worker, pieces)
            return
        for job in [*self._waiting, *(piece.job for piece in pieces)]:
            if not job.is_over:
                job.future.set_result([CLOSED])
        self._drop_ended()

    def _explained(self, error: Exception) -> Wrong:
        """Returns what the client is told; what is not its own fault goes to the log."""
        if isinstance(error, NmtError):
            return Wrong(400, str(error))
        self._metrics.failed(error)
        return _KILLED if isinstance(error, Lost) else _BUG
