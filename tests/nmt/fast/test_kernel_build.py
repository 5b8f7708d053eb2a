"""Compiled kernels are built once, and only what this user has built is loaded."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nmt.fast import kernels as module
from nmt.fast.kernels import build
from nmt.runtime import cpu
from nmt.runtime.cpu import instructions, paths


@pytest.fixture(autouse=True)
def home_(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, a folder of temporary files and a library of one line, which compiles at once."""
    if module.kernels() is None:
        pytest.skip("no C compiler")
    (tmp_path / "temporary").mkdir()
    (tmp_path / "one.c").write_text("int nmt_one(void) { return 1; }\n")
    monkeypatch.setattr(build, "_SOURCES", (tmp_path / "one.c",))
    monkeypatch.setenv("NMT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "temporary"))
    return tmp_path / "home" / "kernels"


def _made() -> tuple[module.Kernels | None, str | None]:
    return module._made.__wrapped__(instructions())


def test_kernels_are_built_once(home_: Path) -> None:
    """In the cache folder, whole; the second process finds them."""
    first = build.library(instructions())
    assert first is not None
    assert first.parent.parent == home_
    before = first.stat().st_mtime_ns
    assert build.library(instructions()) == first
    assert first.stat().st_mtime_ns == before


def test_their_name_follows_the_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    """A home that several machines share holds one of each."""
    monkeypatch.setattr(build, "_build", lambda _, final: final.mkdir())
    names = [path and build.library(path) for path in paths()]
    assert len({name.parent.name for name in names if name}) == len(paths())


def test_a_smaller_cpu_takes_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a larger one has built in a shared home is never loaded there: it would end the process."""
    known = paths()
    if len(known) < 2:
        pytest.skip("this CPU has the plainest instructions alone")
    monkeypatch.delenv("NMT_ISA", raising=False)
    larger = build.library(known[-1])
    for smaller in known[:-1]:
        monkeypatch.setattr(cpu, "_listed", lambda smaller=smaller: set(smaller.needs))
        chosen = cpu.instructions.__wrapped__()
        assert chosen == smaller
        own = build.library(chosen)
        assert own is not None
        assert own != larger
        assert own.parent.name.startswith(f"{smaller.name}-")


def test_a_compiler_that_is_older_than_the_cpu_builds_for_plainer_instructions(
    home_: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not know the options of the best; the next are taken, and nothing is said to be missing."""
    known = paths()
    if len(known) < 2:
        pytest.skip("this CPU has the plainest instructions alone")
    unknown = next(option for option in known[-1].options if option not in known[-2].options)
    old = tmp_path / "old-compiler"
    old.write_text(f'#!/bin/sh\ncase "$*" in *{unknown}*) exit 1;; esac\nexec cc "$@"\n')
    old.chmod(0o700)
    monkeypatch.setenv("CC", str(old))
    found = build.library(known[-1])
    assert found is not None
    assert found.parent.name.startswith(f"{known[-2].name}-")


FAULTS: dict[str, Callable[[pytest.MonkeyPatch, Path], None]] = {
    "no C compiler": lambda patch, _: patch.setattr(shutil, "which", lambda _: None),
    "fails": lambda patch, _: patch.setenv("CC", "false"),
    "no folder": lambda patch, path: patch.setattr(build, "_places", lambda: iter([path / "file" / "kernels"])),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_without_kernels_search_goes_on(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says why there are none."""
    (tmp_path / "file").write_text("no folder")
    if fault == "fails":
        (tmp_path / "cc").write_text("#!/bin/sh\n[ \"$1\" = --version ] && printf 'Versi\\303\\363n\\377' || exit 1\n")
        (tmp_path / "cc").chmod(0o755)
        monkeypatch.setenv("CC", str(tmp_path / "cc"))
    else:
        FAULTS[fault](monkeypatch, tmp_path)
    found, reason = _made()
    assert found is None
    assert reason is not None
    assert fault in reason


def test_they_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is said of it."""
    monkeypatch.setenv("NMT_KERNELS", "0")
    assert _made() == (None, None)


def test_a_home_that_cannot_be_written_leaves_the_temporary_files(tmp_path: Path) -> None:
    """In a folder of this user's."""
    (tmp_path / "home").write_text("a file")
    found = build.library(instructions())
    assert found is not None
    assert tmp_path / "temporary" / f"nmt-{os.getuid()}" in found.parents


@pytest.mark.parametrize("what", ["library", "hash", "both emptied", "cut short", "a link"])
def test_what_was_changed_is_built_anew(what: str, tmp_path: Path) -> None:
    """A library whose bytes are not those of its hash is never loaded: it could end the process, or do another's will."""
    found = build.library(instructions())
    assert found is not None
    good = found.read_bytes()
    match what:
        case "library":
            found.write_bytes(good[:-1] + b"!")
        case "hash":
            (found.parent / "sha256").write_bytes(b"\xff\xfe")
        case "both emptied":
            found.write_bytes(b"")
            (found.parent / "sha256").write_bytes(b"")
        case "cut short":
            found.write_bytes(good[: len(good) // 2])
        case _:
            shutil.copytree(found.parent, tmp_path / "planted")
            shutil.rmtree(found.parent)
            found.parent.symlink_to(tmp_path / "planted")
    assert build.library(instructions()) == found
    assert build._is_whole(found.parent)


@pytest.mark.parametrize("part", ["kernels", "home", "the library's folder"])
def test_where_others_may_write_nothing_is_loaded(part: str, tmp_path: Path) -> None:
    """The folder among the temporary files takes its place, or the library is built anew."""
    found = build.library(instructions())
    assert found is not None
    place = {"kernels": found.parent.parent, "home": tmp_path / "home", "the library's folder": found.parent}[part]
    place.chmod(0o777)
    again = build.library(instructions())
    assert again is not None
    assert not again.parent.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    assert (again == found) is (part == "the library's folder")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_what_somebody_else_owns_is_not_loaded(tmp_path: Path) -> None:
    """Neither the library nor the folder, whoever runs this."""
    found = build.library(instructions())
    assert found is not None
    os.chown(found, 54321, 54321)
    assert not build._is_whole(found.parent)
    assert build.library(instructions()) == found
    assert build._is_whole(found.parent)
    os.chown(tmp_path / "home" / "kernels", 54321, 54321)
    again = build.library(instructions())
    assert again is not None
    assert tmp_path / "temporary" in again.parents


def test_litter_of_a_killed_compiler_goes(home_: Path) -> None:
    """That of an hour ago; a compiler at work keeps its folder."""
    home_.mkdir(parents=True, mode=0o700)
    for name, age in ((".tmp-old", 7200), (".tmp-new", 0)):
        (home_ / name).mkdir()
        os.utime(home_ / name, (time.time() - age, time.time() - age))
    build.library(instructions())
    assert [path.name for path in home_.glob(".tmp-*")] == [".tmp-new"]


def test_processes_may_build_at_the_same_time() -> None:
    """All of them find the library, and none leaves anything behind."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: build.library(instructions()), range(4)))
    assert len(set(found)) == 1
    assert found[0] is not None
    assert list(found[0].parent.parent.iterdir()) == [found[0].parent]
