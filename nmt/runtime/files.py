"""Files that are there whole or not at all, and fingerprints of what they hold."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

from nmt.errors import NmtError
from nmt.runtime.owners import beating, lock, new_token, seized

_LITTER = ".tmp-"
_PARTS = frozenset(
    [
        "MANIFEST.json",
        "card.json",
        "joint.spm",
        "log.jsonl",
        "recipe.toml",
        "report.json",
        "source.spm",
        "state.json",
        "state.safetensors",
        "target.spm",
        "train.arrow",
        "train.source",
        "train.target",
        "valid.arrow",
        "weights.safetensors",
    ]
)
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)

NAME_A_HOME = "set NMT_HOME to a folder that can be written"


def fingerprint(value: Any) -> str:
    """SHA-256 of a JSON-like value, in 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def home_folder() -> Path:
    """Where prepared corpora and what else is made once are kept: NMT_HOME, or the user's cache folder.

    Raises:
        NmtError: the user has no home, as in some containers, and none is named.
    """
    value, cache = os.environ.get("NMT_HOME"), os.environ.get("XDG_CACHE_HOME")
    try:
        if value:
            return Path(value).expanduser()
        return (Path(cache) if cache else Path.home() / ".cache") / "nmt"
    except RuntimeError:
        raise NmtError(f"no home folder is known here; {NAME_A_HOME}") from None


@contextmanager
def atomic_folder(final: Path, keep: Callable[[Path], bool] = lambda _: False) -> Generator[Path]:
    """Yields an empty folder beside `final`; when the block ends it is fsynced and takes the name in one rename.

    Args:
        final: the folder that is to be there whole or not at all.
        keep: whether what has come to stand there meanwhile is as good, since another process made the same; else it is
            replaced.

    Raises:
        NmtError: a file is in its place, or the disk is full.
    """
    final = final.resolve() if final.is_symlink() else final
    if final.is_file():
        raise NmtError(f"{final}: is a file; a folder is to be written")
    final.parent.mkdir(parents=True, exist_ok=True)
    draft, descriptor = _draft(final, _make_folder)
    try:
        with explain_full_disk(final), beating(draft):
            yield draft
            for path in (*draft.rglob("*"), draft):
                _sync(path)
        _put(draft, final, keep)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)
    _sync(final.parent)


def _put(draft: Path, final: Path, keep: Callable[[Path], bool]) -> None:
    """Gives a draft its name. Other processes may do the same at the same moment."""
    aside = draft.with_name(f"{_LITTER}old-{new_token()}")
    while True:
        try:
            draft.rename(final)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        if keep(final):
            shutil.rmtree(draft)
            return
        with suppress(FileNotFoundError):
            final.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _draft(final: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """A path beside another that bears the token of this owner, and its open descriptor, locked.

    Between its making and the lock it may be taken for litter; then another one is made.
    """
    while True:
        draft = final.parent / f"{_LITTER}{final.name}-{new_token()}"
        descriptor = make(draft)
        with suppress(OSError):
            lock(descriptor)
            if draft.stat().st_ino == os.fstat(descriptor).st_ino:
                return draft, descriptor
        os.close(descriptor)


def _make_folder(path: Path) -> int:
    while True:
        path.mkdir()
        with suppress(FileNotFoundError):  # taken for litter already
            return os.open(path, os.O_RDONLY)


def _make_file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON-like value, indented, as `atomic_write` does."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    atomic_write(
        path, text.encode(errors="backslashreplace")
    )  # a name may hold other bytes: \\udcff means that in JSON too


def atomic_write(path: Path, data: bytes) -> None:
    """Replaces a file by `data` in one rename, or what a link to it names; makes its folder if there is none.

    Raises:
        NmtError: a folder is in its place, or the disk is full.
    """
    path = destination(path)
    if path.exists() and not path.is_file():
        with explain_full_disk(path):
            path.write_bytes(data)
        return
    with explain_full_disk(path):
        draft, descriptor = _draft(path, _make_file)
    try:
        with explain_full_disk(path):
            draft.write_bytes(data)
            os.fsync(descriptor)
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    _sync(path.parent)


def destination(path: Path) -> Path:
    """Where what is written to a path comes to lie: behind its links, in a folder that is made if there is none.

    A pipe or a device, /dev/stdout for one, has no such place: it is written into as it stands.

    Raises:
        NmtError: it is a folder.
    """
    if path.is_dir():
        raise NmtError(f"{path}: is a folder; a file is to be written")
    if path.exists() and not path.is_file():
        return path
    path = _resolved(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def check_output(path: Path, folder: bool = False, hint: str = "") -> None:
    """Makes sure that a file or folder can be written at a path, before the work whose result it is to hold.

    Nothing is left behind, and no folder is made.

    Args:
        path: where the result will lie.
        folder: whether it is a folder.
        hint: what to do if it cannot.

    Raises:
        NmtError: it cannot be written, and why.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe or a device
            if not os.access(path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            if not folder:
                return
        if folder and path.exists() and not path.is_dir():
            raise NmtError(f"{path}: is a file; a folder is to be written")
        if not folder and path.is_dir():
            raise NmtError(f"{path}: is a folder; a file is to be written")
        place = _resolved(path)
        if _is_part(place):
            raise NmtError(f"{path}: is part of a model, a run or a corpus; name another file")
        with tempfile.TemporaryFile(dir=place if place.is_dir() else _nearest(place.parent), prefix=_LITTER) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        raise NmtError(f"{path}: cannot be written ({error.strerror}){hint and f'; {hint}'}") from None


def _is_part(path: Path) -> bool:
    """Whether a file is one of those that a model, a checkpoint, a prepared corpus or a run is made of."""
    made = (path.parent / "MANIFEST.json").exists() or (path.parent / "checkpoints").is_dir()
    return made and path.name in _PARTS and path.is_file()


def drafts(output: Path) -> tuple[Path, Path]:
    """Where lines lie until an output is whole, and the record of how far it is."""
    return output.parent / f"{output.name}.part", output.parent / f"{output.name}.part.json"


def refuse_overwriting(output: Path, inputs: Iterable[Path | None]) -> None:
    """Refuses an output if it, or what is written on the way to it, is one of the files that the work reads.

    Raises:
        NmtError: it is.
    """
    written = (output, *drafts(_resolved(output)))
    for path, file in product(filter(None, inputs), written):
        if file.is_file() and path.exists() and file.samefile(path):
            raise NmtError(f"{file}: is read by this command, so it cannot be its output; name another file")


def explain(error: OSError) -> str:
    """One line about what the operating system has refused, naming the file."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in _FULL:
        reason = f"no room to write ({reason})"
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return ": ".join([*names[:1], reason])


def _resolved(path: Path) -> Path:
    return Path(os.path.realpath(path))  # `Path.resolve` raises at links that go round in circles


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next((place for place in (folder, *folder.parents) if place.exists()), folder)


def clear_litter(folder: Path) -> None:
    """Removes what a killed process left half-written; what a living one writes at this moment stays, wherever it runs."""
    for path in folder.glob(f"{_LITTER}*"):
        with seized(path) as dead:
            if dead and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif dead:
                with suppress(OSError):
                    path.unlink()


@contextmanager
def explain_full_disk(path: Path) -> Generator[None]:
    """Turns a full disk into one line that says how much room is left; what names a draft names the file it was to be."""
    try:
        yield
    except Exception as error:
        # safetensors reports the operating system's error in its text only.
        number = getattr(error, "errno", None)
        if number in _FULL or "os error 28" in str(error).lower():
            free = shutil.disk_usage(_nearest(path.parent)).free
            raise NmtError(
                f"{path}: no room to write ({free / 1e6:.0f} MB free); what was written before is intact"
            ) from None
        if isinstance(error, OSError) and isinstance(error.filename, str) and _LITTER in error.filename:
            raise NmtError(f"{path}: {explain(OSError(error.errno, error.strerror))}") from None
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
