"""Measures what an epoch of a large corpus costs: seconds, and peak anonymous memory, which no file stands behind.

As a script, `python tests/helpers/epochs.py 1000000 13` makes a corpus of so many pairs of about so many words. For each
step of a training that grows with the corpus it prints a line of JSON. Each step runs in a process of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import re
import resource
import sys
import tempfile
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

VOCABULARY = 8000
_BLOCK = 1 << 20
_DRAWN = 20  # batches of which the mean time is taken


def write_random(path: Path, pairs: int, words: float) -> None:
    """Writes an encoded corpus of random pairs by way of mapped files; lengths are spread as those of real sentences."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        columns = [_column(Path(folder) / f"{side}", pairs, words, side) for side in range(2)]
        batch = pa.record_batch(columns, names=["source", "target"])
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)


def _column(path: Path, pairs: int, words: float, side: int) -> Any:
    """Makes one side, in two files; the same number draws the lengths of both sides nearly alike."""
    offsets = np.memmap(f"{path}.offsets", np.int64, "w+", shape=(pairs + 1,))
    for first in range(0, pairs, _BLOCK):
        last = min(first + _BLOCK, pairs)
        common = np.random.default_rng((0, first)).lognormal(np.log(words), 0.5, last - first)
        own = np.random.default_rng((1 + side, first)).normal(1, 0.15, last - first)
        lengths = np.clip(common * own, 1, 250).astype(np.int64)
        offsets[first + 1 : last + 1] = offsets[first] + np.cumsum(lengths)
    total = int(offsets[-1])
    values = np.memmap(f"{path}.values", np.uint32, "w+", shape=(total,))
    for first in range(0, total, 16 * _BLOCK):
        part = values[first : first + 16 * _BLOCK]
        part[:] = np.random.default_rng((3 + side, first)).integers(4, VOCABULARY, len(part), np.uint32)
    buffers = [None, pa.py_buffer(offsets)]
    items = pa.Array.from_buffers(pa.uint32(), total, [None, pa.py_buffer(values)])
    return pa.Array.from_buffers(pa.large_list(pa.uint32()), pairs, buffers, children=[items])


def prepared_at(path: Path, parts: tuple[int, ...] = ()) -> Any:
    """Returns what a stream of batches asks of a prepared corpus, for an encoded corpus at a path."""
    from nmt.corpus.encoded import read_corpus

    corpus = read_corpus(path)
    tokenizers = SimpleNamespace(source=None, target=SimpleNamespace(vocabulary_size=VOCABULARY))
    return SimpleNamespace(
        pairs=corpus, train=corpus, parts=list(parts or [len(corpus)]), mono=[], tokenizers=tokenizers
    )


def _stream(path: Path, parts: tuple[int, ...] = ()) -> Any:
    from nmt.training.stream import BatchStream
    from tiny import make_recipe

    more = [{"corpus": "phrasebook", "source": "de", "target": "en", "weight": 2}] if parts else []
    data = {"corpus": "phrasebook", "source": "de", "target": "en", "more": more}
    recipe = make_recipe(data=data, training={"max_length": 100, "batch_tokens": 4096})
    return BatchStream(recipe, prepared_at(path, parts))


def _work(step: str, path: Path) -> dict[str, float]:
    """Does the work of a step and of those before it; returns the seconds of the step alone, and others by name."""
    from nmt.corpus.encoded import read_corpus
    from nmt.training.batches import plan_epoch, select
    from nmt.training.stream import StreamPosition

    found: dict[str, float] = {}
    start = time.perf_counter()
    if step == "read":
        read_corpus(path)
    elif step == "select":
        corpus = read_corpus(path)
        start = time.perf_counter()
        select(corpus, 100)
    elif step == "plan":
        corpus = read_corpus(path)
        rows = select(corpus, 100).rows
        start = time.perf_counter()
        plan_epoch(corpus, rows, 4096, 1, 0)
    elif step in ("first batch", "resume", "mixed"):
        pairs = int(prepared_at(path).parts[0])
        with closing(_stream(path, (pairs // 2, pairs - pairs // 2) if step == "mixed" else ())) as stream:
            place = StreamPosition(0, 0) if step != "resume" else StreamPosition(3, 1000)
            place = stream.draw(place).after
            found["seconds"] = time.perf_counter() - start
            start = time.perf_counter()
            for _ in range(_DRAWN):
                place = stream.draw(place).after
            found["milliseconds a batch"] = 1000 * (time.perf_counter() - start) / _DRAWN
    elif step in ("packed", "rounded"):
        with closing(_stream(path)) as stream:
            if step == "rounded":
                stream.recipe = stream.recipe.model_copy(update={"model": SimpleNamespace(kind="rnn")})
            stream.set_batch_tokens(25_000)
            stream.lay_out(None)
            stream.epoch(0)
    elif step == "padding":
        with closing(_stream(path)) as stream:
            epoch = stream.epoch(0)
            start = time.perf_counter()
            stream.padding(epoch)
            stream.largest()
    return {"seconds": time.perf_counter() - start, **found}


STEPS = ("read", "select", "plan", "first batch", "resume", "mixed", "padding", "packed", "rounded")


def _child(end: Connection, step: str, path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    _work("first batch", path.with_name("small.arrow"))  # everything is imported
    end.send(None)
    end.recv()
    found = _work(step, path)
    end.send({**found, "maxrss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3})


def measured(step: str, path: Path) -> dict[str, float]:
    """Runs a step in a process of its own: its seconds, and its peak of anonymous memory above that before it, in bytes."""
    if not path.with_name("small.arrow").exists():
        write_random(path.with_name("small.arrow"), 1000, 13)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, step, path))
    process.start()
    theirs.close()
    ours.recv()
    before = peak = _anonymous(process.pid)
    ours.send("begin")
    while not ours.poll(0.002):
        peak = max(peak, _anonymous(process.pid))
    found: dict[str, float] = ours.recv()
    process.join()
    return {**found, "anonymous": peak - before}


def _anonymous(process: int | None) -> int:
    """Returns the bytes of memory of a process that no file stands behind."""
    found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
    return 1024 * int(found[1]) if found else 0


def _main(pairs: int, words: float, steps: list[str]) -> None:
    facts = Path("/proc/cpuinfo").read_text().split("model name")[1].split("\n")[0].strip("\t: ")
    with tempfile.TemporaryDirectory(dir=".") as name:
        path = Path(name) / "corpus.arrow"
        write_random(path, pairs, words)
        for step in steps or STEPS:
            found = measured(step, path)
            row = {
                "step": step,
                "pairs": pairs,
                "words": words,
                "bytes_a_pair": round(found.pop("anonymous") / pairs, 1),
                "seconds_a_million": round(found["seconds"] / pairs * 1e6, 3),
                **{key: round(value, 3) for key, value in found.items()},
                "cpu": facts,
                "python": platform.python_version(),
            }
            sys.stdout.write(json.dumps(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root), str(root / "cli"), str(root / "data"), str(Path(__file__).parent)]
    _main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
