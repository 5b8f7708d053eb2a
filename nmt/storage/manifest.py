"""Manifests of folders that can be made again: they list each file, so that missing or changed files are noticed.

Manifests of checkpoints and bundles have another format; see `nmt.storage.checkpoint`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nmt.runtime.atomic import write_json
from nmt.runtime.files import file_sha256, fingerprint
from nmt.runtime.untrusted import parse_object, read_regular

FOLDER_MANIFEST = "MANIFEST.json"
LARGE = 64_000_000
"""Size in bytes from which a file is hashed only on demand; otherwise just its size is checked."""


def write_folder_manifest(folder: Path, origin: str = "") -> None:
    """Lists all files under a folder with sizes and hashes; `origin` is the fingerprint of what they were made from."""
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != FOLDER_MANIFEST
    }
    write_json(
        folder / FOLDER_MANIFEST, {"files": files, "origin": origin, "fingerprint": fingerprint([files, origin])}
    )


def folder_damage(folder: Path, thorough: bool = False, origin: str = "") -> str | None:
    """Returns how a folder differs from its manifest, or None; files that are not listed do not matter.

    Args:
        folder: a folder with a manifest by `write_folder_manifest`.
        thorough: hash large files too.
        origin: the expected fingerprint of what the files were made from.
    """
    try:
        content = parse_object(read_regular(folder / FOLDER_MANIFEST))
        files: dict[str, dict[str, Any]] = content["files"]
        if content["fingerprint"] != fingerprint([files, content["origin"]]):
            return f"{FOLDER_MANIFEST} was altered"
        if content["origin"] != origin:
            return "something else made it"
        reasons = (_damage(folder / name, name, entry, thorough) for name, entry in files.items())
        return next((reason for reason in reasons if reason), None)
    except FileNotFoundError:
        return f"{FOLDER_MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{FOLDER_MANIFEST} cannot be read"


def _damage(path: Path, name: str, entry: dict[str, Any], thorough: bool) -> str | None:
    if not path.is_file():
        return f"{name} is missing"
    try:
        size = path.stat().st_size
        if size != entry["size"]:
            return f"{name} has {size} bytes, expected {entry['size']}"
        if (thorough or size < LARGE) and file_sha256(path) != entry["sha256"]:
            return f"{name} was altered"
    except OSError as error:
        return f"{name}: {error.strerror}"
    return None
