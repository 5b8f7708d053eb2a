"""Damaged corpora: files of every kind and packing with some bytes changed, as a function of a seed."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import zipfile
from collections.abc import Callable, Iterator

from corpora import po, tmx, xliff1, xliff2
from packing import in_utf16, in_zstd

PAIRS = [("Ja, gern!", 'Yes, "please"!'), ("Über <b> uns", "About <b> us"), ("x\\n", "\\u00e4")] * 3
WORDS = rb"""" '' , ; \t \n \r \r\n \0 < > & &x; &#0; <!-- ]]> <![CDATA[ <?x?> </tu> <seg> <tu> <mrk mtype="seg"> msgid msgstr
[ ] { } {"de":null} \ \u \ud83d "" #, #~ \xff \xfe \xef\xbb\xbf \xff\xfe \xe2\x80\xa8 sep=; PAR1 PK\x03\x04 \x1f\x8b xml:lang
encoding="utf-16" encoding="x" <!DOCTYPE [<!ENTITY charset=utf-7 charset=rot13 msgstr[1] msgid_plural 1e999 NaN -1""".split()
SPECIAL = [word.decode("unicode_escape", "ignore").encode("latin-1", "ignore") for word in WORDS] + WORDS


def _zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", content)
    return stream.getvalue()


def _parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.table({"de": [de for de, _ in PAIRS], "en": [en for _, en in PAIRS]}), stream)
    return stream.getvalue()


def _csv(separator: str) -> bytes:
    return "".join(
        f'"{de}"{separator}"{en}"\n'.replace('"please"', '""please""') for de, en in [("de", "en"), *PAIRS]
    ).encode()


CONTENTS: dict[str, bytes] = {
    ".tsv": "".join(f"{de}\t{en}\n" for de, en in [("de", "en"), *PAIRS]).encode(),
    ".txt": _csv("\t"),
    ".csv": _csv(";"),
    ".jsonl": "".join(json.dumps({"de": de, "en": en}) + "\n" for de, en in PAIRS).encode(),
    ".parquet": _parquet(),
    ".tmx": tmx(PAIRS).encode(),
    ".xlf": xliff1(PAIRS).encode(),
    ".xliff": xliff2(PAIRS).encode(),
    ".po": po([(de, en) for en, de in PAIRS]).encode(),
    ".{language}": "".join(f"{de}\n" for de, _ in PAIRS).encode(),
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": in_zstd,
    ".zip": _zipped,
}


def _damaged(content: bytes, draw: random.Random) -> bytes:
    """Changes, inserts, removes, repeats or cuts off some bytes."""
    for _ in range(draw.choice((0, 1, 1, 2, 5))):
        start, length = draw.randrange(len(content) + 1), draw.choice((0, 1, 1, 3, 20))
        piece = content[start : start + length]
        new = (b"", piece * 3, draw.randbytes(length), draw.choice(SPECIAL), piece[::-1])[draw.randrange(5)]
        content = content[:start] + new + content[start + length :]
    return content[: draw.randrange(len(content) + 1)] if draw.random() < 0.1 else content


def damaged_files(seed: int) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yields the split of a card and the files that it names, damaged at random: the text, its packing, or all of it."""
    draw = random.Random(seed)
    while True:
        kind, packer = draw.choice(list(CONTENTS)), draw.choice(["", "", *PACKERS])
        files = dict[str, bytes]()
        for language in ("de", "en") if "{" in kind else ("",):
            content = _damaged(CONTENTS[kind], draw) if draw.random() < 0.9 else draw.randbytes(draw.randrange(200))
            if draw.random() < 0.1:
                content = in_utf16(content.decode("utf-8", "ignore").encode(), draw.choice(["utf-16-le", "utf-16-be"]))
            packed = PACKERS[packer](content) if packer else content
            name = f"t{kind}{packer}".replace("{language}", language)
            files[name] = _damaged(packed, draw) if packer and draw.random() < 0.5 else packed
        yield f"t{kind}{packer}", files
