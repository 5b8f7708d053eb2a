"""What takes too long, is too much, or comes from clients that leave or never finish."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from nmt.errors import NmtError
from nmt.runtime.signals import Stop
from nmt.serving import application
from nmt.serving.reading import Limits
from nmt.serving.server import bound, open_all
from nmt.serving.tasks import Group
from serving import Answer, Gate, Running, running, workers

FIELDS: dict[str, Any] = {"q": "a", "source": "de", "target": "en"}


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _in_thread(server: Running, fields: dict[str, Any]) -> tuple[threading.Thread, list[Answer]]:
    found: list[Answer] = []
    thread = threading.Thread(target=lambda: found.append(server.ask("/translate", fields)))
    thread.start()
    return thread, found


def test_what_takes_too_long_is_given_up() -> None:
    """The status is 504 after the time that a request may take, and the server goes on."""
    gate = Gate()
    with running(gate, limits=Limits(seconds=0.3)) as server:
        answer = server.ask("/translate", FIELDS)
        assert (answer.status, list(answer.json)) == (504, ["error"])
        gate.opened.set()
        assert server.ask("/translate", FIELDS).status == 200


def test_a_full_queue_says_when_to_come_again() -> None:
    """The status is 429 with Retry-After; those that wait get their answers."""
    gate = Gate()
    with running(gate, size=1) as server:
        first, answers = _in_thread(server, FIELDS)
        _until(lambda: bool(gate.tasks))
        second, others = _in_thread(server, FIELDS)
        _until(lambda: server.service.metrics.waiting == 1)
        refused = server.ask("/translate", FIELDS)
        assert refused.status == 429
        assert int(refused.headers["retry-after"]) > 0
        gate.opened.set()
        first.join(20)
        second.join(20)
    assert [answer.json for answer in answers + others] == [{"translatedText": "A"}] * 2


def test_a_client_that_leaves_takes_its_request_with_it() -> None:
    """Lines that nobody waits for any more are not translated."""
    gate = Gate()
    with running(gate) as server:
        first, answers = _in_thread(server, FIELDS)
        _until(lambda: bool(gate.tasks))
        with socket.create_connection(("127.0.0.1", server.port)) as leaving:
            body = b"q=gone&source=de&target=en"
            head = f"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            leaving.sendall(head + body)
            _until(lambda: server.service.metrics.waiting == 1)
        _until(lambda: any("499" in line for line in server.log))
        gate.opened.set()
        first.join(20)
        assert server.ask("/translate", {**FIELDS, "q": "b"}).json == {"translatedText": "B"}
    assert [line.text for task in gate.tasks for line in task.lines] == ["a", "b"]
    assert answers[0].status == 200


def test_half_a_request_holds_up_nobody() -> None:
    """A body that does not come is given up by 408, and others are answered meanwhile."""
    with running(limits=Limits(seconds=0.5)) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
            slow.sendall(b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nq=")
            assert server.ask("/translate", FIELDS).status == 200
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
            slow.sendall(b"POST /trans")
            assert server.ask("/translate", FIELDS).status == 200


def test_a_client_that_leaves_in_its_body_is_no_fault() -> None:
    """The log has one line, with the status of clients that have left."""
    with running() as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
            client.sendall(b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nq=")
            _until(lambda: server.service.metrics.running == 1)
        _until(lambda: bool(server.log))
        (line,) = server.log
        assert line.startswith("POST /translate 499 ")


def test_more_requests_than_a_server_answers_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status is 503, the answer one line of JSON, and the log has it."""
    monkeypatch.setattr(application, "MOST", 1)
    gate = Gate()
    with running(gate) as server:
        first, answers = _in_thread(server, FIELDS)
        _until(lambda: bool(gate.tasks))
        refused = server.ask("/translate", FIELDS)
        assert (refused.status, list(refused.json)) == (503, ["error"])
        gate.opened.set()
        first.join(20)
        assert any(" 503 " in line for line in server.log)
    assert answers[0].status == 200


@pytest.mark.parametrize("junk", [b"\0" * 100, b"GET\r\n\r\n", b"\x16\x03\x01 hello\r\n\r\n"])
def test_what_is_not_http_gets_one_line_too(junk: bytes) -> None:
    """The answer is 400 with an error as JSON."""
    with running() as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(junk)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(1000), b""))
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b'{"error": "Invalid HTTP request received"}')


def test_fifty_megabytes_are_refused_in_a_line() -> None:
    """The client can send all of it and then reads 413; the server keeps none of it."""
    with running() as server:
        answer = server.ask("/translate", b"x" * 50_000_000)
        assert (answer.status, list(answer.json)) == (413, ["error"])
        assert server.ask("/translate", FIELDS).status == 200


def test_a_server_that_stops_says_so() -> None:
    """What has been asked is answered; what comes later gets 503."""
    gate = Gate()
    with running(gate) as server:
        first, answers = _in_thread(server, FIELDS)
        _until(lambda: bool(gate.tasks))
        server.service.stopping = True
        refused = server.ask("/translate", FIELDS)
        assert (refused.status, list(refused.json)) == (503, ["error"])
        gate.opened.set()
        first.join(20)
    assert answers[0].json == {"translatedText": "A"}


def test_a_signal_that_comes_while_models_open_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for the models then, and nothing is left behind that Python would complain of."""
    gate = Gate()
    assert asyncio.run(open_all(workers(gate, 2), Stop(15))) is None
    gate.opened.set()
    gc.collect()
    assert not caplog.records


def test_a_port_that_is_taken_is_one_line() -> None:
    """The error names the port and says what to do."""
    with bound("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(NmtError, match=rf"^port {port} of 127.0.0.1: .*another port$"), bound("127.0.0.1", port):
            pass


def test_clients_side_by_side_get_their_own() -> None:
    """Of 200 requests by 20 clients none is lost or mixed up, and they share batches."""
    gate = Gate()
    gate.opened.set()
    with running(gate, count=2) as server, ThreadPoolExecutor(20) as clients:
        texts = [f"text {number}\n{number}" for number in range(200)]
        found = clients.map(lambda text: server.ask("/translate", {**FIELDS, "q": text}).json["translatedText"], texts)
        assert list(found) == [text.upper() for text in texts]
    assert all(isinstance(task.what, Group) for task in gate.tasks)
    assert len(gate.tasks) < 200
