"""Measures `nmt prepare` on made corpora, and the same steps as a plain script with `datasets`: time and peak memory.

    NMT_DATA=... python tests/helpers/preparing.py FOLDER 1e6 1e7 [--processes 1,2] [--datasets] [--ray] [--opusfilter COMMAND]

Each measurement is a line of JSON. Memory is that of the process and its children that no file backs (RssAnon), sampled ten
times a second; `bare_mb` is what a process takes after its imports.

`--ray` prepares on a cluster of two nodes with a core each; the memory of its workers does not count. OpusFilter only cleans:
it removes repeated pairs, those of the test set and those that two filters refuse. COMMAND is its program, in an environment
of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from many_pairs import write
from ray_cluster import two_nodes

ROOT = Path(__file__).parents[2]
_BARE = "import nmt_cli.main, nmt_data.prepare; input()"
_PLAIN = """
import sys
import datasets
import sentencepiece
from nmt.corpus.lines import clean_line
from nmt.corpus.words import count_letters, count_words, normalise
folder, processes = sys.argv[1], int(sys.argv[2])
datasets.disable_progress_bars()
files = {side: f"{folder}/many.{side}" for side in ("de", "en")}
sides = {side: datasets.load_dataset("text", data_files=file, split="train", cache_dir=folder) for side, file in files.items()}
pairs = datasets.concatenate_datasets([sides[side].rename_column("text", side) for side in sides], axis=1)
tests = {normalise(line) for side in ("de", "en") for name in ("dev", "test") for line in open(f"{folder}/{name}.{side}")}
pairs = pairs.map(lambda row: {side: clean_line(row[side]) for side in ("de", "en")}, num_proc=processes)
def good(row):
    short, long = sorted(count_letters(row[side]) for side in ("de", "en"))
    fits = max(count_words(row[side]) for side in ("de", "en")) <= 200
    return row["de"] and row["en"] and fits and (long < 20 or long <= 6 * short)
pairs = pairs.filter(good, num_proc=processes)
seen = set()
def first(row):
    key = hash((row["de"], row["en"]))
    return not (key in seen or seen.add(key))
pairs = pairs.filter(first)
leaks = pairs.map(lambda row: {"leak": normalise(row["de"]) in tests or normalise(row["en"]) in tests}, num_proc=processes)
print(sum(leaks["leak"]))
step = max(1, len(pairs) // 1_000_000)
sample = pairs.select(range(0, len(pairs), step))
lines = (line for side in ("de", "en") for batch in sample.iter(1000) for line in batch[side])
sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=lines, model_prefix=f"{folder}/plain", model_type="bpe", vocab_size=8000, character_coverage=1.0,
    num_threads=1, minloglevel=2)
model = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/plain.model", num_threads=1)
encode = lambda batch: {side: model.encode(batch[side]) for side in ("de", "en")}
pairs.map(encode, batched=True, num_proc=processes).save_to_disk(f"{folder}/plain")
"""
_OPUSFILTER = """
common: {{output_directory: {folder}, default_n_jobs: {processes}}}
steps:
- type: remove_duplicates
  parameters: {{inputs: [many.de, many.en], outputs: [once.de, once.en], compare: all}}
- type: remove_duplicates
  parameters: {{inputs: [once.de, once.en], outputs: [clean.de, clean.en], overlap: [{folder}/test.de, {folder}/test.en]}}
- type: filter
  parameters:
    inputs: [clean.de, clean.en]
    outputs: [kept.de, kept.en]
    filters:
    - LengthFilter: {{unit: word, min_length: 1, max_length: 200}}
    - LengthRatioFilter: {{unit: char, threshold: 6}}
"""


def measure(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Runs a command; returns its seconds, and the peak of its memory in MB."""
    start, peak = time.perf_counter(), 0.0
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, anonymous(process.pid))
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)[:200]} failed")
    return {"seconds": round(time.perf_counter() - start, 1), "peak_mb": round(peak)}


def anonymous(process: int) -> float:
    """MB that no file backs, of a process and its children."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = [
            child for path in Path(f"/proc/{process}/task").glob("*/children") for child in path.read_text().split()
        ]
    except OSError:
        return 0.0
    own = next((float(line.split()[1]) / 1e3 for line in status.splitlines() if line.startswith("RssAnon")), 0.0)
    return own + sum(anonymous(int(child)) for child in children)


def bare(environment: dict[str, str]) -> float:
    """MB after the imports of a preparation."""
    process = subprocess.Popen([sys.executable, "-c", _BARE], env=environment, stdin=subprocess.PIPE)
    time.sleep(15)
    memory = anonymous(process.pid)
    process.communicate(b"\n")
    return memory


def main() -> None:
    """Prints a line of JSON for each size, number of processes and program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("sizes", type=float, nargs="+")
    parser.add_argument("--processes", default="2")
    parser.add_argument("--datasets", action="store_true")
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--opusfilter")
    options = parser.parse_args()
    paths = os.pathsep.join(str(ROOT / part) for part in ("", "cli", "data"))
    environment = {**os.environ, "PYTHONPATH": paths, "NMT_HOME": str(options.folder / "home"), "OMP_NUM_THREADS": "1"}
    start = bare(environment)
    for size in map(int, options.sizes):
        place = options.folder / f"{size}"
        recipe = write(place, Path(os.environ["NMT_DATA"]), size)
        for processes in options.processes.split(","):
            prepare = [sys.executable, "-m", "nmt_cli", "prepare", str(recipe)]
            commands = {"nmt": [*prepare, "--processes", processes]}
            if options.datasets:
                commands["datasets"] = [sys.executable, "-c", _PLAIN, str(place), processes]
            if options.opusfilter:
                (place / "opus.yaml").write_text(
                    _OPUSFILTER.format(folder=place, processes=processes), encoding="utf-8"
                )
                commands["opusfilter"] = [options.opusfilter, "--overwrite", str(place / "opus.yaml")]
            with ExitStack() as stack:
                if options.ray:
                    address = stack.enter_context(two_nodes(environment)).address
                    commands["ray"] = [*prepare, "--cluster", address]
                for name, command in commands.items():
                    shutil.rmtree(options.folder / "home", ignore_errors=True)
                    found: dict[str, Any] = measure(command, environment)
                    found |= {"pairs": size, "processes": int(processes), "program": name, "bare_mb": round(start)}
                    sys.stdout.write(json.dumps(found) + "\n")
                    sys.stdout.flush()
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
