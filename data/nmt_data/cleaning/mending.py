"""Mends text that was decoded wrongly, by ftfy (Speer 2019)."""

from __future__ import annotations

from collections.abc import Sequence


def mended_encoding(lines: Sequence[str]) -> list[str]:
    """Returns the lines with mojibake undone, such as `f\u00fcr` for `f\u00c3\u00bcr`; nothing else changes."""
    import ftfy

    return [line if line.isascii() else ftfy.fix_encoding(line) for line in lines]
