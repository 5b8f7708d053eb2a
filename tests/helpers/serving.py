"""A server in a thread, with workers that do what a test says, and a client."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from nmt.serving.application import Application
from nmt.serving.batching import Queue
from nmt.serving.metrics import Metrics
from nmt.serving.reading import Keys, Limits
from nmt.serving.server import bound, http_server
from nmt.serving.service import Service
from nmt.serving.tasks import Group, Look, Opened, ServedModel, Task
from nmt.serving.workers import Worker

Work = Callable[[Task], list[Any]]


def model(name: str = "fake", source: str = "de", *targets: str) -> ServedModel:
    """A model that is served, with a beam of 4."""
    into = list(targets or ("en",))
    pairs = [(source, target) for target in into]
    return ServedModel(name, source, into[0], into, "rnn", 1, 1, 1000, True, False, 4, pairs)


def shout(task: Task) -> list[Any]:
    """Translates a line to capitals with the name of the model; the next best has one more sign."""
    if isinstance(task.what, Look):
        return [{"seen": task.what.body}]
    assert isinstance(task.what, Group)
    said = [
        [{"text": f"{line.prefix}{line.text.upper()}{'!' * rank}", "score": -rank} for rank in range(task.what.count)]
        for line in task.lines
    ]
    return list(said)


@dataclass
class Gate:
    """Work that waits until it is opened, and keeps what it was asked."""

    inner: Work = shout
    opened: threading.Event = field(default_factory=threading.Event)
    tasks: list[Task] = field(default_factory=list[Task])

    def __call__(self, task: Task) -> list[Any]:
        """Does the work once the gate is open."""
        self.tasks.append(task)
        assert self.opened.wait(30)
        return self.inner(task)


def workers(work: Work, count: int = 1) -> list[Worker]:
    """Workers that are threads."""
    return [Worker(lambda: ThreadPoolExecutor(1), work) for _ in range(count)]


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


@dataclass
class Client:
    """Asks a server."""

    port: int

    def ask(self, path: str, body: bytes | dict[str, Any] | None = None, method: str = "", **headers: str) -> Answer:
        """Sends a request; a body that is a dict goes as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if isinstance(body, dict):
            body, sent = json.dumps(body).encode(), {"content-type": "application/json", **sent}
        connection.request(method or ("GET" if body is None else "POST"), path, body, sent)
        found = connection.getresponse()
        answer = Answer(found.status, {name.lower(): value for name, value in found.getheaders()}, found.read())
        connection.close()
        return answer


@dataclass
class Running(Client):
    """A server that runs."""

    service: Service
    log: list[str]


@contextmanager
def running(
    work: Work = shout,
    models: Sequence[ServedModel] | None = None,
    count: int = 1,
    size: int = 100,
    room: int = 8,
    keys: Sequence[str] = (),
    limits: Limits | None = None,
    views: Sequence[str] = (),
    log_text: bool = False,
) -> Generator[Running]:
    """Runs a server of fake models; by default of one."""
    ready, found, log = threading.Event(), list[Running](), list[str]()
    ends: list[Callable[[], object]] = []

    async def serve() -> None:
        metrics = Metrics(log.append)
        queue = Queue(workers(work, count), size, room, metrics)
        opened = Opened([model()] if models is None else list(models), list(views), "cpu")
        service = Service(opened, queue, metrics, Keys(keys), limits or Limits(seconds=20), log_text=log_text)
        server = http_server(Application(service))
        with bound("127.0.0.1", 0) as listener:
            queue.start()
            task = asyncio.create_task(server.serve([listener]))
            while not server.started:
                await asyncio.sleep(0.001)
            found.append(Running(listener.getsockname()[1], service, log))
            loop = asyncio.get_running_loop()
            ends.append(lambda: loop.call_soon_threadsafe(setattr, server, "should_exit", True))
            ready.set()
            await task
            await queue.stop()
            service.files.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(20)
        yield found[0]
    finally:
        for end in ends:
            end()
        thread.join(20)
