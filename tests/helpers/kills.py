"""Kills trainings at random instants and goes on, until they end: do they end with the bytes of one left alone?

As a script, `python tests/helpers/kills.py 500` kills so many times over the families, and prints the result as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import random
import signal
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parents[1] / "data"
MONO = [{"language": side, "files": [str(_HERE / f"train.{side}")]} for side in ("input", "output")]
FAMILIES: dict[str, dict[str, Any]] = {
    "bottleneck": {
        "model": {"kind": "rnn", "attention": "none", "cell": "lstm", "layers": 2, "embedding": 16, "hidden": 16}
    },
    "attention": {"model": {"kind": "rnn", "embedding": 16, "hidden": 16, "word_dropout": 0.1}},
    "transformer": {},
    "visual": {
        "model": {
            "kind": "visual",
            "base": {"kind": "transformer", "width": 16, "feed_forward": 16, "heads": 2, "tie": "output"},
        },
        "training": {"typos": 0.2, "ema": 0.9},
    },
    "denoising": {  # pairs, and text without translations
        "data": {"mono": MONO, "tag_target": True},
        "training": {
            "objective": "denoise",
            "denoising": {"permute": True, "rotate": True, "delete": 0.1, "mask": 0.1},
        },
    },
    "chance": {  # all that draws
        "model": {"kind": "rnn", "embedding": 16, "hidden": 16, "weighting": "gumbel", "word_dropout": 0.1},
        "data": {"corpus": "phrasebook", "source": "de", "target": "en", "limit": 300},
        "tokenizer": {"kind": "bpe", "vocabulary": 200},
        "training": {"bpe_dropout": 0.2, "batch_tokens": 600},
    },
}


@dataclass
class Tally:
    """What came of the killing of one family."""

    kills: int = 0
    finished: int = 0
    identical: int = 0
    """Of the finished trainings, those with the weights and the log of the one left alone, to the byte."""


def kill(name: str, kills: int, folder: Path, seed: int = 1) -> Tally:
    """Kills trainings of a family until so many kills have hit a living one; each training in the end finishes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["nmt.training.trainer", "nmt_data.prepare", "tiny", "torch._dynamo", "sacrebleu"])
    generator, tally = random.Random(seed), Tally()
    _train(name, folder / "whole")  # which prepares the corpus too
    process = context.Process(target=_train, args=(name, folder / "timed"))
    start = time.perf_counter()
    process.start()
    process.join()
    seconds = time.perf_counter() - start
    while tally.kills < kills:
        run = folder / f"run-{tally.finished}"
        while True:
            process = context.Process(target=_train, args=(name, run))
            process.start()
            process.join(0.2 + generator.random() * seconds)
            if process.is_alive():
                os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            if process.exitcode == 0:
                break
            if process.exitcode != -signal.SIGKILL:
                raise AssertionError(f"a training that was killed before ended with exit code {process.exitcode}")
            tally.kills += 1
        tally.finished += 1
        tally.identical += _end(run) == _end(folder / "whole")
    return tally


def _train(name: str, run: Path) -> None:
    import torch

    from nmt.training.trainer import Trainer
    from nmt_data.prepare import prepare
    from tiny import make_recipe

    torch.set_num_threads(1)
    training = {"updates": 24, "validate_every": 4, "log_every": 3, "accumulate": 2, "ema": 0.9}
    changes = {**FAMILIES[name]}
    changes["training"] = training | changes.get("training", {})
    recipe = make_recipe(changes.pop("model", None), **changes)
    run.mkdir(exist_ok=True)
    Trainer(recipe, prepare(recipe), run, torch.device("cpu")).run()


def _end(run: Path) -> tuple[list[bytes], list[dict[str, Any]]]:
    """Weights of the last checkpoint and of the bundle, and the log without what is a matter of time."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    weights = [(place / "weights.safetensors").read_bytes() for place in (last, run / "model")]
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    timing = {"seconds", "tokens_per_second", "utilisation", "memory_mb"}
    kept = [entry for entry in entries if entry["kind"] in ("train", "validation")]
    return weights, [{key: value for key, value in entry.items() if key not in timing} for entry in kept]


def _main(kills: int) -> None:
    import torch

    with tempfile.TemporaryDirectory() as name:
        os.environ["NMT_HOME"] = name
        os.environ["OMP_NUM_THREADS"] = "1"
        start = time.perf_counter()
        tallies = {}
        for family in FAMILIES:
            (Path(name) / family).mkdir()
            tallies[family] = asdict(kill(family, -(-kills // len(FAMILIES)), Path(name) / family))
    facts = {
        "families": tallies,
        "kills": sum(tally["kills"] for tally in tallies.values()),
        "all_identical": all(tally["identical"] == tally["finished"] for tally in tallies.values()),
        "seconds": round(time.perf_counter() - start),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    sys.stdout.write(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    sys.path[:0] = [str(root), str(root / "cli"), str(root / "data")]
    os.environ["PYTHONPATH"] = os.pathsep.join([*sys.path[:3], str(Path(__file__).parent)])
    _main(int(sys.argv[1]))
