"""A page that shows a training while it goes on, served by a process of its own."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from nmt_cli.console import note

_PATIENCE = 5.0  # seconds for the server to stop


@contextmanager
def watched(folder: Path) -> Generator[None]:
    """Shows the training in a folder on a page within the block; its address is said as soon as it can be opened.

    The server is a process that only reads the folder: if it is killed, the training goes on, and it ends with the training,
    however that ends.
    """
    from nmt.runtime.signals import child_environment

    command = [sys.executable, "-m", "nmt_cli", "serve", "--runs", str(folder), "--port", "0"]
    server = subprocess.Popen(  # noqa: S603 - our own command
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**child_environment(), "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    listener = threading.Thread(target=_listen, args=(server,), name="watching", daemon=True)
    listener.start()
    try:
        yield
    finally:
        _stop(server)
        listener.join(_PATIENCE)


def _listen(server: subprocess.Popen[bytes]) -> None:
    """Passes on the address, or what went wrong before; the log of requests is read and dropped, so that no pipe fills."""
    if server.stderr is None:
        return
    listening = False
    for line in server.stderr:
        if not listening and b"so far" not in line:
            note(line.decode(errors="replace").strip())
        listening = listening or b"http://" in line
    if not listening and server.wait():
        note("nmt: the page could not be served; the training goes on without it")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(_PATIENCE)
    server.kill()
    server.wait()
