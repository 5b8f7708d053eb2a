"""Packs text for tests: in Zstandard, and in UTF-16."""

from __future__ import annotations

import codecs


def in_zstd(*frames: bytes) -> bytes:
    """Returns a file of Zstandard with one frame for each part, as parallel packers write it."""
    import pyarrow as pa

    return b"".join(pa.Codec("zstd").compress(frame, asbytes=True) for frame in frames)


def in_utf16(text: bytes, encoding: str = "utf-16-le") -> bytes:
    """Returns text of UTF-8 in UTF-16, with a byte-order mark."""
    mark = codecs.BOM_UTF16_LE if encoding == "utf-16-le" else codecs.BOM_UTF16_BE
    return mark + text.decode().encode(encoding)
