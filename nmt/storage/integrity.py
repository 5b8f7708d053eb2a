"""Whether a checkpoint or bundle is exactly as it was written, by the manifest that lists its files with their hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, TypeAdapter
from typing_extensions import TypedDict

from nmt.config.paths import FONT
from nmt.corpus.tokenizer import LARGEST_MODEL
from nmt.errors import CheckpointError
from nmt.runtime.files import file_sha256
from nmt.runtime.memory import memory_there
from nmt.runtime.untrusted import SMALL, open_regular, parse_object

# This manifest lists sizes and hashes alone; that of a prepared folder, in `nmt.storage.manifest`, has more.
WEIGHTS, STATE, MANIFEST = "weights.safetensors", "state.safetensors", "MANIFEST.json"
_PARTS = re.compile(r"(weights|state)\.safetensors|state\.json|card\.json|recipe\.toml|(joint|source|target)\.spm|font")
_NOT_A_FILE = (errno.EINVAL, errno.ELOOP, errno.ENXIO)  # what the other errors tell may be different at another time


class UnreadableError(CheckpointError):
    """A checkpoint or bundle cannot be read now, and may be whole: no memory is free for it, or the disk failed."""


class Listed(TypedDict):
    """The entry of a file in a manifest."""

    size: NonNegativeInt
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


_MANIFEST_OF = TypeAdapter(dict[str, Listed])


def damage(path: Path) -> str | None:
    """Returns how a checkpoint or bundle differs from its manifest, or None.

    Raises:
        UnreadableError: that cannot be told now.
    """
    try:
        check_hashes(path, check_manifest(path))
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from None
    except CheckpointError as error:
        return str(error)
    return None


def verify(path: Path) -> None:
    """Raises CheckpointError if a checkpoint or bundle is not exactly as written, or cannot be read."""
    if reason := damage(path):
        raise CheckpointError(f"{path}: damaged: {reason}")


@contextmanager
def damaged(path: Path) -> Generator[None]:
    """Adds the name of the checkpoint or bundle to errors."""
    try:
        yield
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from None
    except CheckpointError as error:
        raise CheckpointError(f"{path}: damaged: {error}") from None


def check_manifest(path: Path) -> dict[str, Listed]:
    """Returns the manifest of a folder after checking that its parts are listed, regular files of the right size.

    Raises:
        CheckpointError: a check fails; the message does not name the folder.
        UnreadableError: a file cannot be read now.
    """
    with _part(path / MANIFEST) as stream:
        content = stream.read(SMALL)
    try:
        manifest = _MANIFEST_OF.validate_python(parse_object(content))
    except ValueError:  # pydantic's errors are such too
        raise CheckpointError(f"{MANIFEST} cannot be read") from None
    for name in manifest:
        if not _PARTS.fullmatch(name):
            raise CheckpointError(f"{MANIFEST} lists {name[:80]!r}, which is no part of a checkpoint or model")
    for name in (WEIGHTS, *(part.name for part in path.iterdir() if _PARTS.fullmatch(part.name))):
        if name not in manifest:
            raise CheckpointError(f"{MANIFEST} does not list {name}")
    for name, entry in manifest.items():
        with _part(path / name) as stream:
            size = os.fstat(stream.fileno()).st_size
        if size != entry["size"]:
            raise CheckpointError(f"{name} has {size} bytes, expected {entry['size']}")
        if name in (WEIGHTS, STATE):
            if size > (free := memory_there()):
                raise UnreadableError(f"{name} has {size:,} bytes, more than the {free:,} of memory that are free")
        elif size > (limit := LARGEST_MODEL if name.endswith(".spm") or name == FONT else SMALL):
            raise CheckpointError(f"{name} has {size:,} bytes, more than the {limit:,} that can be read")
    return manifest


def check_hashes(path: Path, manifest: dict[str, Listed]) -> None:
    """Compares the files with their hashes, smallest first."""
    for name, entry in sorted(manifest.items(), key=lambda item: item[1]["size"]):
        with _part(path / name) as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != entry["sha256"]:
                raise CheckpointError(f"{name} was altered")


@contextmanager
def _part(path: Path) -> Generator[BufferedReader]:
    """Opens a part of a checkpoint or bundle for reading."""
    try:
        with open_regular(path) as stream:
            yield stream
    except FileNotFoundError:
        raise CheckpointError(f"{path.name} is missing") from None
    except OSError as error:
        kind = CheckpointError if error.errno in _NOT_A_FILE else UnreadableError
        raise kind(f"{path.name}: {error.strerror}") from None


def write_checkpoint_manifest(folder: Path) -> None:
    """Lists the files of a folder with their sizes and hashes, as the last of what is written."""
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
    entries = {path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)} for path in files}
    (folder / MANIFEST).write_bytes(json.dumps(entries, indent=1).encode())
