"""`nmt serve` as a process: it answers as `nmt translate` does, whoever else asks, and stops in good order."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from command import run, start
from load import Load, load
from nmt.corpus.lines import read_lines
from nmt.serving.server import bound
from nmt_data.synthetic import phrasebook
from serving import Client

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for children under /proc")


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """German sentences that the trained model has not seen."""
    return [source for source, _ in phrasebook.split("test")[:120]]


@contextmanager
def served(*arguments: str | Path) -> Generator[tuple[subprocess.Popen[bytes], Client]]:
    """A server on a free port, once it is ready."""
    with start("serve", *map(str, arguments), "--device", "cpu", "--port", "0") as process:
        assert process.stderr
        reader = threading.Thread(target=process.stderr.readlines)  # a log that nobody reads would stop it
        try:
            for line in process.stderr:
                if found := re.search(rb"http://127.0.0.1:(\d+)/", line):
                    reader.start()
                    yield process, Client(int(found[1]))
                    break
        finally:
            process.kill()
            if reader.ident:
                reader.join(30)  # its stream must not be closed under it


def _translated(model: Path, lines: list[str], folder: Path) -> list[str]:
    """What `nmt translate` writes."""
    (folder / "in").write_text("".join(f"{line}\n" for line in lines))
    assert run("translate", model, folder / "in", "-o", folder / "out", "--device", "cpu").exit_code == 0
    return (folder / "out").read_text().splitlines()


def _children(process: int) -> Iterator[int]:
    for thread in Path(f"/proc/{process}/task").glob("*/children"):
        yield from map(int, thread.read_text().split())


def _lives(process: int) -> bool:
    """Whether it runs; one that is dead but not yet waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def _memory(process: int) -> int:
    """Resident bytes of a process and its children."""
    pages = (int(Path(f"/proc/{number}/statm").read_text().split()[1]) for number in (process, *_children(process)))
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_answers_do_not_depend_on_who_else_asks(trained: Path, tmp_path: Path, lines: list[str]) -> None:
    """Random mixes of lines, sent side by side, get what `nmt translate` writes; so do they without folder or workers."""
    model = tmp_path / "model"
    shutil.copytree(trained / "model", model)
    wanted = dict(zip(lines, _translated(model, lines, tmp_path), strict=True))
    draw = random.Random(1)
    mixes = [draw.choices(lines, k=draw.choice([1, 1, 2, 30])) for _ in range(80)]
    with served(model, "--workers", "2") as (process, client), ThreadPoolExecutor(16) as clients:

        def translated(mix: list[str]) -> list[str]:
            fields = {"q": "\n".join(mix), "source": "de", "target": "en"}
            return client.ask("/translate", fields).json["translatedText"].split("\n")

        for mix, found in zip(mixes, clients.map(translated, mixes), strict=True):
            assert found == [wanted[line] for line in mix]
        os.kill(next(_children(process.pid)), signal.SIGKILL)
        assert list(clients.map(translated, mixes[:8])) == [[wanted[line] for line in mix] for mix in mixes[:8]]
        shutil.rmtree(model)
        assert translated(mixes[0]) == [wanted[line] for line in mixes[0]]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_good_order(trained: Path, lines: list[str], number: int) -> None:
    """What was asked before is answered, no process stays, and the exit code tells the signal."""
    with served(trained, "--workers", "1") as (process, client), ThreadPoolExecutor(1) as clients:
        children = list(_children(process.pid))
        asked = {"q": "\n".join(lines), "source": "de", "target": "en"}
        answer = clients.submit(client.ask, "/translate", asked)
        while "nmt_requests_running 2" not in client.ask("/metrics").body.decode():
            time.sleep(0.01)
        process.send_signal(number)
        assert len(answer.result(60).json["translatedText"].split("\n")) == len(lines)
        assert process.wait(20) == 128 + number
        deadline = time.monotonic() + 10
        while any(map(_lives, children)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.slow
def test_what_cannot_be_served_is_one_line(trained: Path, tmp_path: Path) -> None:
    """A port that is taken, a folder without a model and a wrong address end it with exit code 1, each with one line."""
    with bound("127.0.0.1", 0) as other:
        other.listen()
        port = str(other.getsockname()[1])
        for arguments in (
            [trained, "--port", port],
            [tmp_path, "--port", "0", "--workers", "1"],
            [trained, "--host", "no.where"],
        ):
            shown = run("serve", *arguments, "--device", "cpu")
            assert shown.exit_code == 1
            assert len(shown.stderr.splitlines()) == 1, shown.stderr


@pytest.mark.thorough
@pytest.mark.data
def test_under_load_nothing_is_lost(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """64 clients, 2,000 requests: answers are those of `nmt translate`, at 80 % of one process's speed, in steady memory.

    NMT_SERVED names a model of a usual size. Without it the quickly trained one is served, whose requests cost more than their
    translations: its speed is only printed, and the test says that it was not judged.
    """
    model = Path(os.environ.get("NMT_SERVED") or request.getfixturevalue("trained"))
    lines = read_lines(Path(os.environ["NMT_DATA"], "tatoeba_deen/test.de"))[:2000]
    begun = time.perf_counter()
    wanted = _translated(model, lines, tmp_path)
    alone = time.perf_counter() - begun
    with served(model) as (process, client):
        single = load(client, lines[:200], 1)
        rounds: list[tuple[Load, int]] = []
        for _ in range(3):
            rounds.append((load(client, lines, 64), _memory(process.pid)))
            assert rounds[-1][0].texts == wanted
    begun = time.perf_counter()
    _translated(model, lines, tmp_path)
    alone = min(alone, time.perf_counter() - begun)
    best = min((found for found, _ in rounds), key=lambda found: found.seconds)
    said = [
        f"one client: {single}",
        f"64 clients: {best}",
        f"nmt translate: {len(lines) / alone:.0f} lines a second; memory {[size >> 20 for _, size in rounds]} MiB",
    ]
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(said) + "\n")
    assert rounds[-1][1] < 1.1 * rounds[0][1]
    if "NMT_SERVED" not in os.environ:
        pytest.skip("nothing was lost; NMT_SERVED names no model of a usual size, so the speed was not judged")
    assert alone / best.seconds > 0.8
