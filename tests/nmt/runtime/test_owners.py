"""Two at once: what is alive is left alone, what is dead is cleared, and one of them has the work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from command import environment
from nmt.errors import NmtError
from nmt.runtime import owners
from nmt.runtime.atomic import atomic_folder, atomic_write, clear_litter
from nmt.runtime.owners import SILENT, claim
from nmt_cli.text_files import writing

_WRITES = """
import sys
from pathlib import Path
from nmt.runtime.atomic import atomic_folder
with atomic_folder(Path(sys.argv[1])) as draft:
    (draft / "half").touch()
    print(draft.name, flush=True)
    input()
"""
_CLAIMS = """
import sys
from pathlib import Path
from nmt.runtime.owners import claim
with claim(Path(sys.argv[1]), "it is done"):
    print("held", flush=True)
    input()
"""


def _start(program: str, path: Path, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A process that has begun to write or to hold a path."""
    command = [*prefix, sys.executable, "-c", program, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout
    assert process.stdout.readline()
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def _old(path: Path, seconds: float) -> None:
    moment = path.stat().st_mtime - seconds
    os.utime(path, (moment, moment))


def test_litter_of_the_dead_is_cleared_and_what_the_living_write_stays(tmp_path: Path) -> None:
    """Also where they have been quiet for long, as one whose process was suspended."""
    process = _start(_WRITES, tmp_path / "corpus")
    (draft,) = tmp_path.iterdir()
    _old(draft, 100 * SILENT)
    clear_litter(tmp_path)
    assert list(tmp_path.iterdir()) == [draft]
    _end(process)
    clear_litter(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_written_again_takes_the_place_of_its_dead_drafts(tmp_path: Path) -> None:
    """What else lies there stays, whatever its name begins with."""
    process = _start(_WRITES, tmp_path / "corpus[1]")
    _end(process)
    (tmp_path / ".tmp-somebody's").touch()
    with atomic_folder(tmp_path / "corpus[1]"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-somebody's", "corpus[1]"]


def test_process_numbers_decide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two containers two processes may have one number, and do not see each other's."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with atomic_folder(tmp_path / "x") as mine:
        clear_litter(tmp_path)
        with atomic_folder(tmp_path / "x") as other:
            assert mine != other
            clear_litter(tmp_path)
            (other / "second").touch()
        (mine / "first").touch()
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["first"]
    with claim(tmp_path / "lock", "x is done"), pytest.raises(NmtError, match="x is done by process 1 on "):
        claim(tmp_path / "lock", "x is done").__enter__()


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_containers_leave_each_other_alone(tmp_path: Path) -> None:
    """Processes with numbers of their own, which share a folder."""
    apart = ("unshare", "--user", "--pid", "--fork", "--kill-child")
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespaces here")
    writer = _start(_WRITES, tmp_path / "corpus", apart)
    holder = _start(_CLAIMS, tmp_path / "lock", apart)
    clear_litter(tmp_path)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1
    with pytest.raises(NmtError, match="it is done by process"):
        claim(tmp_path / "lock", "it is done").__enter__()
    _end(writer)
    _end(holder)


@given(age=st.integers(0, 3000))
def test_between_machines_a_sign_of_life_decides(age: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Locks may not reach from one to another: what was touched lately is alive, and work is taken over after a silence."""
    folder = tmp_path_factory.mktemp("machines")
    draft, file, lock = folder / ".tmp-x-00000000-11111111", folder / ".tmp-y-00000000-11111111", folder / "lock"
    draft.mkdir()
    file.touch()
    lock.write_text("7 on elsewhere 00000000-11111111")
    for path in (draft, file, lock):
        _old(path, age)
    if not 9.9 * SILENT < age < 10.1 * SILENT:
        clear_litter(folder)
        assert [draft.exists(), file.exists()] == [age < 10 * SILENT] * 2
    if age > 1.1 * SILENT:
        with claim(lock, "x is done") as held:
            held.check()
        assert lock.read_text() == ""
    elif age < 0.9 * SILENT:
        with pytest.raises(NmtError, match=r"x is done by process 7 on elsewhere .*; if it was killed, wait [0-9]+ s"):
            claim(lock, "x is done").__enter__()


def test_an_owner_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it owns is touched as long as it is at work, and no longer."""
    monkeypatch.setattr(owners, "BEAT", 0.01)
    with atomic_folder(tmp_path / "x") as draft, claim(tmp_path / "lock", "x is done"):
        for path in (draft, tmp_path / "lock"):
            _old(path, 1000)
            for _ in range(500):
                if path.stat().st_mtime > time.time() - 500:
                    break
                threading.Event().wait(0.01)
            assert path.stat().st_mtime > time.time() - 500


def test_who_was_silent_for_too_long_does_not_write_over_the_next(tmp_path: Path) -> None:
    """A machine that slept finds that another has taken its work over, and stops."""
    with claim(tmp_path / "lock", "x is done") as held:
        held.check()
        (tmp_path / "lock").write_text("7 on elsewhere 00000000-11111111")
        with pytest.raises(NmtError, match=r"x is done by process 7 on elsewhere: .* took over"):
            held.check()
        held.beat()
        (tmp_path / "lock").rename(tmp_path / "other")
        with pytest.raises(NmtError, match="was moved or removed while it was worked in"):
            held.check()
        (tmp_path / "other").rename(tmp_path / "lock")
    assert (tmp_path / "lock").read_text() == "7 on elsewhere 00000000-11111111"


def test_a_killed_owner_frees_its_work_at_once(tmp_path: Path) -> None:
    """On one machine nobody waits for a silence."""
    process = _start(_CLAIMS, tmp_path / "lock")
    with pytest.raises(NmtError, match=f"it is done by process {process.pid} on "):
        claim(tmp_path / "lock", "it is done").__enter__()
    _end(process)
    with claim(tmp_path / "lock", "it is done"):
        pass


def test_many_that_write_one_place_leave_it_whole(tmp_path: Path) -> None:
    """Each renames at its own moment, others clear litter meanwhile; every rename finds its way, and nothing is left."""
    errors: list[BaseException] = []

    def work(name: str, keeps: bool) -> None:
        try:
            for _ in range(30):
                with atomic_folder(tmp_path / "x", keep=lambda _: keeps) as draft:
                    for part in ("a", "b"):
                        (draft / part).write_text(name)
                atomic_write(tmp_path / "y", name.encode())
                clear_litter(tmp_path)
        except BaseException as error:  # noqa: BLE001 - of any thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(str(number), number % 2 == 0)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "y"]
    assert len({(tmp_path / "x" / part).read_text() for part in ("a", "b")}) == 1


def test_two_do_not_write_one_output(tmp_path: Path) -> None:
    """The second is refused, and what the first has written stays; afterwards the way is free."""
    with writing(tmp_path / "out", "a") as sink:
        sink.write(b"first\n", 1)
        for job in ("a", "b"):
            with pytest.raises(NmtError, match="out is being written by another process"):
                writing(tmp_path / "out", job).__enter__()
        sink.write(b"second\n", 1)
    assert (tmp_path / "out").read_bytes() == b"first\nsecond\n"
    with writing(tmp_path / "out", "b") as sink:
        sink.write(b"third\n", 1)
    assert (tmp_path / "out").read_bytes() == b"third\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_links_to_folders_stay_and_files_are_not_replaced(tmp_path: Path) -> None:
    """A folder is written where a link to it points; a file in its place is one line."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    with atomic_folder(tmp_path / "link") as draft:
        (draft / "new").touch()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(NmtError, match="file: is a file; a folder is to be written"):
        atomic_folder(tmp_path / "file").__enter__()
