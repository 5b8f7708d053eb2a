"""The server: opens the models in worker processes, listens, and stops in good order."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from nmt.errors import NmtError
from nmt.runtime.signals import Stop, stop_signals
from nmt.runtime.stages import stage
from nmt.serving.application import HEADERS, Application
from nmt.serving.batching import Queue
from nmt.serving.metrics import Metrics
from nmt.serving.reading import Keys, Limits
from nmt.serving.service import Service
from nmt.serving.tasks import Opened, Setup
from nmt.serving.workers import Worker, kill_workers, process_workers

_ROOM = {"cpu": 128, "cuda": 2048}  # lines of a batch
_GLANCE = 0.1  # seconds between two checks of signals
_HEAD = 30.0  # seconds for the head of a request


class Stopped(NmtError):  # noqa: N818 - nothing went wrong
    """A signal ended the server."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; what had been asked before was answered")
        self.exit_code = 128 + number


@dataclass(frozen=True)
class Serving:
    """How to serve."""

    setup: Setup
    workers: int = 1
    host: str = "127.0.0.1"
    port: int = 5000
    """0: any that is free."""
    queue: int = 256
    limits: Limits = field(default_factory=Limits)
    keys: Keys = field(default_factory=Keys)
    runs: tuple[Path, ...] = ()
    """Folders of trainings to show."""
    log_text: bool = False


def serve(serving: Serving, say: Callable[[str], None]) -> None:
    """Serves until a signal comes.

    Args:
        serving: what and how.
        say: receives lines for the log.

    Raises:
        NmtError: a model or the port cannot be used.
        Stopped: a signal came.
    """
    with bound(serving.host, serving.port) as listener, stop_signals(kill_workers) as stop:
        try:
            asyncio.run(_served(serving, listener, say, stop))
        finally:
            kill_workers()
    if stop.number:
        raise Stopped(stop.number)


@contextmanager
def bound(host: str, port: int) -> Generator[socket.socket]:
    """Takes the port, before anything else is done.

    Raises:
        NmtError: it cannot be taken.
    """
    try:
        ((family, *_, address), *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        listener = socket.socket(family)
    except OSError as error:
        raise NmtError(f"host {host}: {error.strerror}") from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            raise NmtError(f"port {port} of {host}: {error.strerror}; choose another port") from None
        yield listener


async def _served(serving: Serving, listener: socket.socket, say: Callable[[str], None], stop: Stop) -> None:
    metrics = Metrics(say)
    workers = process_workers(serving.setup, serving.workers)
    opened = await open_all(workers, stop)
    if opened is None:
        return
    queue = Queue(workers, serving.queue, _ROOM.get(opened.device, 128), metrics)
    service = Service(opened, queue, metrics, serving.keys, serving.limits, serving.runs, serving.log_text)
    server = http_server(Application(service))
    queue.start()
    running = asyncio.create_task(server.serve([listener]))
    while not server.started and not running.done():
        await asyncio.sleep(0.01)
    host = f"[{serving.host}]" if ":" in serving.host else serving.host
    names = ", ".join(model.name for model in opened.models)
    address = f"http://{host}:{listener.getsockname()[1]}/"
    say(f"serving {names} at {address}" if names else f"showing trainings at {address}")
    if not serving.keys and serving.host not in ("127.0.0.1", "localhost", "::1"):
        say("whoever reaches this computer may ask; --api-key-file lets in only those with a key")
    with stage("serving", idle=True):
        while not stop.number and not running.done():
            await asyncio.sleep(_GLANCE)
        service.stopping = True
        await _finished(metrics, serving.limits.seconds, say)
    server.should_exit = True
    await running
    await queue.stop()
    service.files.close()


async def open_all(workers: list[Worker], stop: Stop) -> Opened | None:
    """Waits for all workers; None: a signal came before."""
    with stage("opening models"):
        opening = asyncio.gather(*(worker.open() for worker in workers))
        while not opening.done() and not stop.number:
            await asyncio.wait([opening], timeout=_GLANCE)
        if not opening.done():
            opening.cancel()
            with suppress(asyncio.CancelledError):
                await opening
            return None
        return next(iter(opening.result()), Opened([], [], "cpu"))


async def _finished(metrics: Metrics, seconds: float, say: Callable[[str], None]) -> None:
    """Waits until all requests are answered; not longer than a request may take."""
    if metrics.running:
        say(f"stopping; {metrics.running} requests are finished first")
    for _ in range(int(seconds / _GLANCE)):
        if not metrics.running:
            return
        await asyncio.sleep(_GLANCE)


def http_server(application: Application) -> uvicorn.Server:
    """Returns the server of HTTP; it leaves signals to us, and its log too."""
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it would tell of each broken form
    return _Server(
        uvicorn.Config(
            application,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Captures none."""
        yield


class _Protocol(H11Protocol):
    """HTTP, with errors as JSON, and without patience for clients that begin a request and do not go on."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for the head of the first request, but not for ever."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(_HEAD, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Reads on; the clock goes on too until a head is there."""
        clock = self.timeout_keep_alive_task
        self.timeout_keep_alive_task = None
        super().data_received(data)
        if clock is not None and self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = clock
        elif clock is not None:
            clock.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP."""
        body = json.dumps({"error": msg.rstrip(".")}).encode()
        headers = {
            **HEADERS,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            fields = [(name.encode(), value.encode()) for name, value in headers.items()]
            for event in (h11.Response(status_code=400, headers=fields), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
