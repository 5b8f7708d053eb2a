"""The queue: none lost, none mixed up, no job waits for a book, none harms another."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from nmt.errors import NmtError
from nmt.serving import batching
from nmt.serving.batching import Full, Job, Queue
from nmt.serving.metrics import Metrics
from nmt.serving.tasks import Group, Line, Task, UnopenedError, Wrong
from nmt.serving.workers import Worker
from serving import Gate, Work, shout, workers

GROUP = Group("fake")


def _texts(results: list[Any]) -> list[str]:
    return [said[0]["text"] for said in results]


def _lines(*texts: str) -> list[Line]:
    return [Line(text) for text in texts]


def _with_queue(work: Work, body: Any, count: int = 1, size: int = 100, room: int = 8) -> Any:
    async def main() -> Any:
        queue = Queue(workers(work, count), size, room, Metrics())
        queue.start()
        try:
            return await asyncio.wait_for(body(queue), 30)
        finally:
            await queue.stop()

    return asyncio.run(main())


def test_every_line_gets_its_own_answer() -> None:
    """Random jobs of several groups at once, on several workers: each gets the answers to its lines, in order."""
    draw = random.Random(1)
    groups = [Group("one"), Group("two"), Group("one", count=2)]
    asked = [(draw.choice(groups), [f"{job} {line}" for line in range(draw.randrange(30))]) for job in range(60)]

    async def body(queue: Queue) -> list[list[Any]]:
        jobs = [queue.do(Job(group, _lines(*texts))) for group, texts in asked if texts]
        return list(await asyncio.gather(*jobs))

    found = _with_queue(shout, body, count=3)
    wanted = [(group, texts) for group, texts in asked if texts]
    for (group, texts), results in zip(wanted, found, strict=True):
        assert _texts(results) == [text.upper() for text in texts]
        assert all(len(said) == group.count for said in results)


def test_lines_of_several_clients_are_one_batch() -> None:
    """Jobs that come at the same time are asked of the worker together; those of another group are not."""
    gate = Gate()
    gate.opened.set()

    async def body(queue: Queue) -> None:
        await asyncio.gather(*(queue.do(Job(GROUP, _lines(str(number)))) for number in range(5)))
        await queue.do(Job(Group("other"), _lines("x")))

    _with_queue(gate, body)
    assert [len(task.lines) for task in gate.tasks] == [5, 1]


def test_a_worker_waits_for_others_if_there_were_some(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone client is answered at once. After a batch of two, the next waits a moment, and takes who comes meanwhile."""
    monkeypatch.setattr(batching, "_GATHER", 0.3)
    gate = Gate()
    gate.opened.set()

    async def body(queue: Queue) -> float:
        begun = time.perf_counter()
        for text in ("a", "b"):
            await queue.do(Job(GROUP, _lines(text)))
        alone = time.perf_counter() - begun
        await asyncio.gather(*(queue.do(Job(GROUP, _lines(text))) for text in ("c", "d")))
        first = asyncio.create_task(queue.do(Job(GROUP, _lines("e"))))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, queue.do(Job(GROUP, _lines("f"))))
        return alone

    assert _with_queue(gate, body) < 0.3
    assert [len(task.lines) for task in gate.tasks] == [1, 1, 2, 2]


def test_a_sentence_does_not_wait_for_a_book() -> None:
    """A job of one line is done long before one of many lines that came first."""
    gate, done = Gate(), list[str]()

    async def body(queue: Queue) -> None:
        async def ask(name: str, count: int) -> None:
            await queue.do(Job(GROUP, _lines(*["a"] * count)))
            done.append(name)

        book = asyncio.create_task(ask("book", 200))
        while not gate.tasks:
            await asyncio.sleep(0.01)
        sentence = asyncio.create_task(ask("sentence", 1))
        await asyncio.sleep(0.01)
        gate.opened.set()
        await asyncio.gather(book, sentence)

    _with_queue(gate, body)
    assert done == ["sentence", "book"]


def test_a_full_queue_refuses() -> None:
    """More jobs than may wait are refused at once, and those that wait are done."""
    gate = Gate()

    async def body(queue: Queue) -> list[Any]:
        first = asyncio.create_task(queue.do(Job(Group("busy"), _lines("a"))))
        while not gate.tasks:
            await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(queue.do(Job(GROUP, _lines(str(number))))) for number in range(3)]
        await asyncio.sleep(0.02)
        with pytest.raises(Full):
            await queue.do(Job(GROUP, _lines("b")))
        gate.opened.set()
        return list(await asyncio.gather(first, *waiting))

    found = _with_queue(gate, body, size=3)
    assert [_texts(results) for results in found] == [["A"], ["0"], ["1"], ["2"]]


def test_a_job_that_nobody_waits_for_is_dropped() -> None:
    """A caller that is cancelled takes its lines out of the queue, and makes room in it."""
    gate = Gate()

    async def body(queue: Queue) -> None:
        first = asyncio.create_task(queue.do(Job(Group("busy"), _lines("a"))))
        while not gate.tasks:
            await asyncio.sleep(0.01)
        gone = asyncio.create_task(queue.do(Job(GROUP, _lines("gone"))))
        await asyncio.sleep(0.02)
        gone.cancel()
        await asyncio.sleep(0)
        second = asyncio.create_task(queue.do(Job(GROUP, _lines("b"))))
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(first, second)

    _with_queue(gate, body, size=1)
    assert [line.text for task in gate.tasks for line in task.lines] == ["a", "b"]


@pytest.mark.parametrize("error", [BrokenExecutor("killed"), ValueError("a bug"), NmtError("no")])
def test_a_job_that_fails_fails_alone(error: Exception) -> None:
    """Of jobs in one batch only the one whose line kills the worker, finds a bug or cannot be translated is refused."""

    def work(task: Task) -> list[Any]:
        if any(line.text == "bad" for line in task.lines):
            raise error
        return shout(task)

    async def body(queue: Queue) -> list[Any]:
        return list(await asyncio.gather(*(queue.do(Job(GROUP, _lines(text))) for text in ("a", "bad", "b"))))

    one, bad, other = _with_queue(work, body)
    assert (_texts(one), _texts(other)) == (["A"], ["B"])
    assert isinstance(bad[0], Wrong)
    assert bad[0].status in (400, 500, 503)


def test_work_of_a_killed_worker_is_done_again() -> None:
    """A worker that is killed once loses nothing."""
    kills = iter([True])

    def work(task: Task) -> list[Any]:
        if next(kills, False):
            raise BrokenExecutor
        return shout(task)

    async def body(queue: Queue) -> list[Any]:
        return await queue.do(Job(GROUP, _lines("a", "b")))

    assert _texts(_with_queue(work, body)) == ["A", "B"]


@pytest.mark.parametrize("healthy", [0, 1])
def test_a_worker_without_models_tries_again(healthy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that cannot open the models leaves its work to the others; without any, requests are refused till it can."""
    monkeypatch.setattr(Worker.reopen, "__defaults__", ((0.01,),))
    there = threading.Event()

    def work(task: Task) -> list[Any]:
        if not there.is_set():
            raise UnopenedError("the folder is gone")
        return [None] if task.what is None else shout(task)

    async def main() -> None:
        poor = Worker(lambda: ThreadPoolExecutor(1), work)
        queue = Queue([poor, *workers(shout, healthy)], 100, 8, Metrics())
        queue.start()
        try:
            for _ in range(10):
                (found,) = await queue.do(Job(GROUP, _lines("a")))
                assert isinstance(found, Wrong) == (not healthy)
            assert queue.is_closed == (not healthy)
            there.set()
            while not poor.is_open:
                await asyncio.sleep(0.001)
            assert _texts(await queue.do(Job(GROUP, _lines("b")))) == ["B"]
        finally:
            await queue.stop()

    asyncio.run(asyncio.wait_for(main(), 20))
