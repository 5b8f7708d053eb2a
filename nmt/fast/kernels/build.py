"""Compiles the kernels and stores them, so that only what this user has built is ever loaded.

A folder `<instructions>-<fingerprint>` holds the library and the hash of its bytes, and appears by one rename. It is in the
user's cache folder. If others may write there, or nobody may, it is in this user's folder of temporary files.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import repeat
from pathlib import Path

from nmt.errors import NmtError
from nmt.runtime.cpu import InstructionSet, plainer, usable_cores
from nmt.runtime.files import file_sha256, fingerprint, home_folder
from nmt.runtime.stages import stage

_FOLDER = Path(__file__).parent
_HEADERS, _SOURCES = sorted(_FOLDER.glob("*.h")), sorted(_FOLDER.glob("*.c"))
_LIBRARY, _HASH, _LITTER = "kernels.so", "sha256", ".tmp-"
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_HOUR = 3600


class NotBuilt(Exception):  # noqa: N818 - the caller does without
    """The kernels cannot be compiled; gives the reason."""


class Refused(NotBuilt):
    """The compiler fails for these instructions."""


def library(path: InstructionSet) -> Path | None:
    """Returns the shared library for these instructions, built if necessary; None: NMT_KERNELS=0 switches it off.

    A compiler older than the CPU may not know its instructions; then a smaller set is used.

    Raises:
        NotBuilt: there is no C compiler, it fails, or there is no safe folder to build in.
    """
    if os.environ.get("NMT_KERNELS") == "0":
        return None
    compiler, failures = _compiler(), list[Refused]()
    for known in (path, *plainer(path)):
        try:
            return _kept(known, compiler)
        except Refused as failure:
            failures.append(failure)
    raise failures[0]


def _kept(path: InstructionSet, compiler: str) -> Path:
    """Returns the library for these instructions, from the first folder that can hold it."""
    command = [compiler, "-O3", *path.options, "-ffp-contract=fast", "-shared", "-fPIC", "-w"]
    texts = [file.read_text(encoding="utf-8") for file in (*_HEADERS, *_SOURCES)]
    name = f"{path.name}-{fingerprint([*texts, command, _version(compiler)])}"
    for place in _places():
        with suppress(OSError):
            _make_private(place)
            if not _is_whole(place / name):
                _build(command, place / name)
            return place / name / _LIBRARY
    raise NotBuilt("there is no folder to build the kernels in that only this user may write; set NMT_HOME")


def _compiler() -> str:
    names = [os.environ.get("CC", ""), "cc", "gcc", "clang"]
    for name in names:
        if name and (found := shutil.which(name)):
            return found
    raise NotBuilt("there is no C compiler (cc, gcc or clang)")


def _version(compiler: str) -> str:
    try:
        done = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        raise NotBuilt(f"the C compiler {compiler} does not work ({error})") from None
    return done.stdout.decode("utf-8", "replace")


def _places() -> Iterator[Path]:
    """Yields the folders for libraries, best first."""
    with suppress(NmtError):  # there is no home folder
        yield home_folder() / "kernels"
    yield Path(tempfile.gettempdir()) / f"nmt-{os.getuid()}" / "kernels"


def _make_private(folder: Path) -> None:
    """Makes the folder if missing, accessible to this user only.

    Raises:
        OSError: it cannot be made, belongs to another user, or others may write there or in a parent folder.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    here = folder.absolute()
    for part in (here, *here.parents):
        found = part.stat()
        trusted = found.st_uid == os.getuid() or (found.st_uid == 0 and part != here)
        if not trusted or (found.st_mode & _OTHERS_MAY_WRITE and not found.st_mode & stat.S_ISVTX):
            raise PermissionError(f"{part}: others than this user may write there")


def _is_whole(folder: Path) -> bool:
    """Whether the folder holds an unchanged library built by this user."""
    file = folder / _LIBRARY
    try:
        own = all(_is_own(part) for part in (folder, file, folder / _HASH))
        return own and file_sha256(file) == (folder / _HASH).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return False


def _is_own(path: Path) -> bool:
    """Whether the path is a file or folder of this user, not a link, that no other user may write."""
    found = path.lstat()
    kind = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
    return kind and found.st_uid == os.getuid() and not found.st_mode & _OTHERS_MAY_WRITE


def _build(command: list[str], final: Path) -> None:
    """Compiles in a temporary folder and renames it, so that several processes may build at once.

    Raises:
        NotBuilt: the compiler fails.
        OSError: the folder cannot be written.
    """
    _clear_litter(final.parent)
    draft = Path(tempfile.mkdtemp(dir=final.parent, prefix=_LITTER))
    try:
        target = draft / _LIBRARY
        with stage("compiling the kernels"):
            _compile(command, target)
        target.chmod(0o600)
        (draft / _HASH).write_text(file_sha256(target), encoding="ascii")
        if final.is_symlink() or final.is_file():
            final.unlink()
        elif final.exists() and not _is_whole(final):
            shutil.rmtree(final)
        with suppress(OSError):  # another process was faster
            draft.rename(final)
        if not _is_whole(final):
            raise PermissionError(f"{final}: cannot be made")
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _compile(command: list[str], target: Path) -> None:
    try:
        for options in (["-fopenmp"], []):  # not all compilers have OpenMP
            failure = _compiled([*command, *options], target)
            if failure is None and target.exists():
                return
    except (OSError, subprocess.SubprocessError) as error:
        raise NotBuilt(f"the C compiler does not work ({error})") from None
    last = (failure or "").strip().splitlines()
    raise Refused(f"the C compiler {command[0]} fails" + (f": {last[-1]}" if last else ""))


def _compiled(command: list[str], target: Path) -> str | None:
    """Compiles the sources on all cores and links them; returns what the compiler complains of, if it fails."""
    objects = [target.with_name(f"{source.stem}.o") for source in _SOURCES]

    def run(output: Path, *work: Path | str) -> str | None:
        full = [*command, "-o", str(output), *map(str, work)]
        done = subprocess.run(full, capture_output=True, check=False, timeout=600)  # noqa: S603
        return done.stderr.decode("utf-8", "replace") if done.returncode else None

    with ThreadPoolExecutor(usable_cores()) as pool:
        failures = list(pool.map(run, objects, _SOURCES, repeat("-c")))
    failure = next((found for found in failures if found is not None), None)
    if failure is None:
        failure = run(target, *objects, "-lm")
    for file in objects:
        file.unlink(missing_ok=True)
    return failure


def _clear_litter(folder: Path) -> None:
    """Removes remains of compilers that were killed at least an hour ago."""
    for path in folder.glob(f"{_LITTER}*"):
        with suppress(OSError):
            if path.lstat().st_mtime < time.time() - _HOUR:
                shutil.rmtree(path, ignore_errors=True)
