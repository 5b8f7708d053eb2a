"""Measures what an epoch of a large corpus costs: seconds of the CPU, and peak anonymous memory, which no file stands behind.

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
STEPS = ("read", "select", "plan", "first batch", "resume", "mixed", "padding", "packed", "rounded")
_BLOCK = 1 << 20
_LONGEST = 100
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


def _stream(path: Path, step: str) -> Any:
    from nmt.corpus.encoded import read_corpus
    from nmt.training.stream import BatchStream
    from tiny import make_recipe

    corpus = read_corpus(path)
    parts = [len(corpus)] if step != "mixed" else [len(corpus) // 2, len(corpus) - len(corpus) // 2]
    more = [{"corpus": "phrasebook", "source": "de", "target": "en", "weight": 2}] * (len(parts) - 1)
    recipe = make_recipe(
        {"kind": "rnn"} if step == "rounded" else {},
        data={"corpus": "phrasebook", "source": "de", "target": "en", "more": more},
        training={"max_length": _LONGEST, "batch_tokens": 4096},
    )
    tokenizers = SimpleNamespace(source=None, target=SimpleNamespace(vocabulary_size=VOCABULARY))
    prepared: Any = SimpleNamespace(pairs=corpus, train=corpus, parts=parts, mono=[], tokenizers=tokenizers)
    return BatchStream(recipe, prepared)


def work(step: str, path: Path) -> dict[str, float]:
    """Does the work of a step and of those before it; returns the seconds of the CPU for the step alone, and for a batch."""
    from nmt.corpus.encoded import read_corpus
    from nmt.training.batches import plan_epoch, select
    from nmt.training.stream import StreamPosition

    found: dict[str, float] = {}
    start = time.process_time()
    match step:
        case "read":
            read_corpus(path)
        case "select":
            select(read_corpus(path), _LONGEST)
        case "plan":
            corpus = read_corpus(path)
            rows = select(corpus, _LONGEST).rows
            start = time.process_time()
            plan_epoch(corpus, rows, 4096, 1, 0)
        case "packed" | "rounded":
            with closing(_stream(path, step)) as stream:
                stream.set_batch_tokens(25_000)
                stream.lay_out(None)
                stream.epoch(0)
        case "padding":
            with closing(_stream(path, step)) as stream:
                epoch = stream.epoch(0)
                start = time.process_time()
                stream.padding(epoch)
                stream.largest()
        case _:
            with closing(_stream(path, step)) as stream:
                place = stream.draw(StreamPosition(3, 1000) if step == "resume" else StreamPosition()).after
                found["seconds"] = time.process_time() - start
                start = time.process_time()
                for _ in range(_DRAWN):
                    place = stream.draw(place).after
                found["milliseconds_a_batch"] = 1000 * (time.process_time() - start) / _DRAWN
    return {"seconds": time.process_time() - start, **found}


def _child(end: Connection, step: str, path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    work("first batch", path.with_name("small.arrow"))  # everything is imported
    end.send(None)
    end.recv()
    found = work(step, path)
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
