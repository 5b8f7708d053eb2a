"""Files that are complete or absent, and fingerprints of their content."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from nmt.config.paths import archive_and_member, real_path
from nmt.errors import NmtError

LITTER = ".tmp-"
_PARTS = frozenset(
    [
        "MANIFEST.json",
        "card.json",
        "font",
        "joint.spm",
        "log.jsonl",
        "recipe.toml",
        "report.json",
        "samples.jsonl",
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
    """Returns the SHA-256 of a JSON-like value, in 16 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]  # paths may hold any bytes


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal; of one in a zip archive, that of the archive and its name."""
    archive, member = archive_and_member(path)
    with archive.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    digest.update(os.fsencode(member))
    return digest.hexdigest()


def home_folder() -> Path:
    """Returns the folder for prepared corpora and other reusable files: NMT_HOME, or nmt in the user's cache folder.

    Raises:
        NmtError: the user has no home, as in some containers, and NMT_HOME is not set.
    """
    value, cache = os.environ.get("NMT_HOME"), os.environ.get("XDG_CACHE_HOME")
    try:
        if value:
            return Path(value).expanduser()
        return (Path(cache) if cache else Path.home() / ".cache") / "nmt"
    except RuntimeError:
        raise NmtError(f"no home folder is known here; {NAME_A_HOME}") from None


def destination(path: Path) -> Path:
    """Returns where a written file ends up: the target of links, in a folder that is made if missing.

    A pipe or device, such as /dev/stdout, is returned unchanged.

    Raises:
        NmtError: the path is a folder.
    """
    if path.is_dir():
        raise NmtError(f"{path}: is a folder; a file is to be written")
    if path.exists() and not path.is_file():
        return path
    path = real_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def check_output(path: Path, folder: bool = False, hint: str = "") -> None:
    """Checks that a file or folder can be written at a path, before the work that produces it.

    Nothing is left behind, and no folder is made.

    Args:
        path: the place of the result.
        folder: whether the result is a folder.
        hint: what to do if it cannot be written.

    Raises:
        NmtError: it cannot be written; gives the reason.
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
        place = real_path(path)
        if _is_part(place):
            raise NmtError(f"{path}: is part of a model, a run or a corpus; name another file")
        with tempfile.TemporaryFile(dir=place if place.is_dir() else nearest(place.parent), prefix=LITTER) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        raise NmtError(f"{path}: cannot be written ({error.strerror}){hint and f'; {hint}'}") from None


def _is_part(path: Path) -> bool:
    """Whether a file belongs to a model, a checkpoint, a prepared corpus or a run."""
    made = (path.parent / "MANIFEST.json").exists() or (path.parent / "checkpoints").is_dir()
    return made and path.name in _PARTS and path.is_file()


def drafts(output: Path) -> tuple[Path, Path]:
    """Returns the files of an unfinished output: its lines, and the record of its progress."""
    return output.parent / f"{output.name}.part", output.parent / f"{output.name}.part.json"


def refuse_overwriting(output: Path, inputs: Iterable[Path | None]) -> None:
    """Refuses an output that is an input of the work, or whose unfinished files are.

    Raises:
        NmtError: it is.
    """
    written = (output, *drafts(real_path(output)))
    for path, file in product(filter(None, inputs), written):
        if file.is_file() and path.exists() and file.samefile(path):
            raise NmtError(f"{file}: is read by this command, so it cannot be its output; name another file")


def is_full(error: OSError) -> bool:
    """Whether there was no room to write."""
    return error.errno in _FULL


def explain_os_error(error: OSError) -> str:
    """Explains an error of the operating system in one line, with the file."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in _FULL:
        reason = f"no room to write ({reason})"
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return ": ".join([*names[:1], reason])


def nearest(folder: Path) -> Path:
    """Returns the folder, or its nearest parent that exists."""
    return next((place for place in (folder, *folder.parents) if place.exists()), folder)


@contextmanager
def explain_full_disk(path: Path) -> Generator[None]:
    """Converts a full disk to one line with the room left; errors about a draft name the final file."""
    try:
        yield
    except Exception as error:
        # safetensors gives the operating system's error only as text.
        number = getattr(error, "errno", None)
        if number in _FULL or "os error 28" in str(error).lower():
            free = shutil.disk_usage(nearest(path.parent)).free
            raise NmtError(
                f"{path}: no room to write ({free / 1e6:.0f} MB free); what was written before is intact"
            ) from None
        if isinstance(error, OSError) and isinstance(error.filename, str) and LITTER in error.filename:
            raise NmtError(f"{path}: {explain_os_error(OSError(error.errno, error.strerror))}") from None
        raise
