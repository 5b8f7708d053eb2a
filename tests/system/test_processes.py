"""Children end with their parent, however that ends; a worker that is killed costs no line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from command import environment, heed_signals, run, start
from nmt.config.reading import recipe_to_toml
from tiny import make_recipe

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for children under /proc")

LINE = b"der Hund schl\xc3\xa4ft .\n"
ENDS = [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP]
_CHILD = """
import os, time
from nmt.runtime.signals import follow_parent
follow_parent()
print(os.getpid(), flush=True)
time.sleep(60)
"""
_PARENT = f"""
import subprocess, sys
from nmt.runtime.signals import child_environment
subprocess.run([sys.executable, "-c", {_CHILD!r}], env=child_environment(), start_new_session=True)
"""


def _until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def _lives(process: int) -> bool:
    """Whether it runs; one that is dead but not yet waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def _children(process: int) -> list[int]:
    """All below it."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{process}/task").glob("*/children"):
            for child in map(int, thread.read_text().split()):
                found += [child, *_children(child)]
    return found


@pytest.mark.parametrize("end", ENDS)
def test_a_child_ends_with_the_parent_that_it_follows(end: int) -> None:
    """Also one in a session of its own, which neither the terminal nor the parent's group reaches."""
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT],
        stdout=subprocess.PIPE,
        env=environment(),
        preexec_fn=heed_signals,  # noqa: PLW1509 - as in `start`
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert _lives(child)
        parent.send_signal(end)
    assert _until(lambda: not _lives(child), 5)


def _workers(parent: int) -> list[int]:
    """Those that have begun to use torch."""
    ready = []
    for child in _children(parent):
        with suppress(OSError):  # it may end while it is looked at
            command, maps = (Path(f"/proc/{child}/{name}").read_bytes() for name in ("cmdline", "maps"))
            ready += [child] if b"spawn_main" in command and b"libtorch" in maps else []
    return ready


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGHUP])
def test_workers_end_with_the_command(trained: Path, tmp_path: Path, end: int) -> None:
    """Nothing is left of it that uses memory."""
    (tmp_path / "in").write_bytes(LINE * 200_000)
    process = start("translate", str(trained), str(tmp_path / "in"), "--workers", "2")
    assert _until(lambda: len(_workers(process.pid)) == 2, 120)
    children = _children(process.pid)
    process.send_signal(end)
    process.communicate()
    assert _until(lambda: not any(map(_lives, children)), 10)


@pytest.mark.slow
def test_the_lines_of_a_killed_worker_are_done_again(trained: Path, tmp_path: Path) -> None:
    """The output is that of one process; a worker lost for a second time at the same lines is one line."""
    text = b"".join(b"%d " % number + LINE for number in range(3000))
    (tmp_path / "in").write_bytes(text)
    whole = run("translate", trained, tmp_path / "in")
    process = start("translate", str(trained), str(tmp_path / "in"), "--workers", "2", stdout=subprocess.PIPE)
    assert _until(lambda: bool(_workers(process.pid)), 120)
    os.kill(_workers(process.pid)[0], signal.SIGKILL)
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert output.decode() == whole.stdout
    assert b"a worker process was killed; its work is done again" in errors

    process = start("translate", str(trained), str(tmp_path / "in"), "--workers", "2")
    while process.poll() is None:  # every worker, as soon as it is seen
        for worker in _workers(process.pid):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.05)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert re.match(r"nmt: worker processes were killed twice at lines \d+ to \d+;", errors.decode().splitlines()[-1])
    assert b"Traceback" not in errors


@pytest.mark.slow
def test_a_training_of_several_processes_ends_with_its_launcher(tmp_path: Path, home: Path) -> None:
    """They finish an update, save together, and end."""
    (tmp_path / "tiny.toml").write_text(recipe_to_toml(make_recipe(training={"updates": 1_000_000})))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, "-m", "--", "nmt_cli", "train", "tiny.toml", "--run", "run", "--device", "cpu"]
    process = subprocess.Popen(command, cwd=tmp_path, env={**environment(), "PYTHONWARNINGS": "ignore"})
    log = tmp_path / "run" / "log.jsonl"
    assert _until(lambda: log.exists() and log.read_bytes().count(b"\n") > 3, 120)
    children = _children(process.pid)
    process.kill()
    process.wait()
    assert _until(lambda: not any(map(_lives, children)), 60)
    assert list((tmp_path / "run" / "checkpoints").glob("step-*"))
