"""Reads TOML as editors save it, and writes its values; the only place that does."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from nmt.errors import ConfigError, NmtError

_LARGEST = 10_000_000


def read_toml(path: Path, kind: type[NmtError] = ConfigError) -> dict[str, Any]:
    """Reads a TOML file, with or without a byte-order mark, and with any line ends.

    Args:
        path: the file.
        kind: the class of error to raise.

    Raises:
        NmtError: of class `kind`: the file cannot be read, or is not UTF-8 or not TOML.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
    except (OSError, ValueError) as error:  # a ValueError: an invalid file name
        raise kind(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > _LARGEST:
        raise kind(f"{path}: larger than {_LARGEST // 1_000_000} MB, so not a file of settings")
    try:
        return tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n"))
    except UnicodeDecodeError as error:
        raise kind(f"{path}: byte {error.start + 1} is not valid UTF-8; save the file as UTF-8") from None
    except RecursionError:
        raise kind(f"{path}: nested too deeply") from None
    except ValueError as error:
        raise kind(f"{path}: {error}") from None


def toml_text(value: Any) -> str:
    """Writes a string, path, number, boolean or list; JSON is TOML for these, except DEL, which TOML wants escaped."""
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_text, cast(Sequence[Any], value))) + "]"
    plain = str(value) if isinstance(value, Path) else value
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_line(key: str, value: Any) -> str:
    """Writes a key, in quotes if it needs them, and its value, without the end of the line."""
    name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_text(key)
    return f"{name} = {toml_text(value)}"


def toml_lines(values: dict[str, Any], path: tuple[str, ...] = ()) -> list[str]:
    """Writes the keys of a section, then the sections in it and the lists of sections; `path` names it."""
    tables = {key: value for key, value in values.items() if _is_tables(value)}
    plain = {key: value for key, value in values.items() if not isinstance(value, dict) and key not in tables}
    lines = [f"[{'.'.join(path)}]"] if path and plain else []
    lines += [toml_line(key, value) for key, value in plain.items()] + [""] * bool(plain)
    for key, value in values.items():
        if isinstance(value, dict):
            lines += toml_lines(cast(dict[str, Any], value), (*path, key))
    for key, items in tables.items():
        for item in items:
            lines += [f"[[{'.'.join((*path, key))}]]", *toml_lines(item, ())]
    return lines


def _is_tables(value: Any) -> bool:
    """Whether a value is a list of sections."""
    return isinstance(value, (list, tuple)) and any(isinstance(item, dict) for item in cast(Sequence[Any], value))
