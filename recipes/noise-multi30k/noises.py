"""What misspelt sources cost: BLEU and chrF2 of each system of a study against the share of words that are misspelt.

It translates the test set of the study with each noise that changes it, in six shares. The translations stay in each run, so
that what was done is not done again. It writes noise.json, noise.png and noise.svg, and prints a table. noise.json keeps the
scores of runs that are no longer there.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean
from typing import get_args

import torch
from matplotlib.figure import Figure

from nmt.config.reading import load_recipe
from nmt.corpus.lines import read_lines
from nmt.corpus.noise import NoiseName, noisy
from nmt.corpus.testset import TestSet
from nmt.experiments.study import Study, load_study, run_name
from nmt.report.pictures import COLOURS, save_picture
from nmt.runtime.atomic import atomic_write
from nmt.runtime.cpu import usable_cores
from nmt.runtime.files import file_sha256
from nmt.scoring.metrics import MetricName, score
from nmt.storage.integrity import MANIFEST
from nmt.translation.loading import load
from nmt_data.prepare import prepare

NOISES: tuple[NoiseName, ...] = get_args(NoiseName)
METRICS: tuple[MetricName, ...] = ("bleu", "chrf2")
SHARES = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
NAMES = {
    "swap": "two letters swapped",
    "interior": "interior shuffled",
    "leet": "l33t",
    "lookalike": "look-alikes",
    "diacritics": "no diacritics",
}
Scores = dict[str, dict[str, dict[str, float]]]
"""Noise (or `clean`), then share, then measure."""


def noises_of(testset: TestSet) -> list[NoiseName]:
    """Returns the noises that change a test set: English has no diacritics to lose."""
    return [noise for noise in NOISES if noisy_source(testset, noise, 1.0) != testset.source]


def translate(testset: TestSet, run: Path) -> None:
    """Translates every noise with the model of a run, one after the other; what that model has translated is kept."""
    folder, model = run / "noise", file_sha256(run / "model" / MANIFEST)
    stamp = folder / "model.sha256"
    if not stamp.exists() or stamp.read_text("utf-8") != model:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        atomic_write(stamp, model.encode())
    wanted = {
        path: noisy_source(testset, noise, share) for noise, share, path in places(run, testset) if not path.exists()
    }
    if not wanted:
        return
    torch.set_num_threads(1)
    translator = load(run / "model")
    for path, source in wanted.items():
        atomic_write(path, "".join(f"{line}\n" for line in translator.translate(source)).encode())


def places(run: Path, testset: TestSet) -> Iterator[tuple[str, float, Path]]:
    """Yields noise, share and file of translations of a run; `clean` has share 0."""
    for noise, share in [("clean", 0.0), *((noise, share) for noise in noises_of(testset) for share in SHARES)]:
        yield noise, share, run / "noise" / f"{noise}-{share:g}.hypothesis"


def noisy_source(testset: TestSet, noise: str, share: float) -> list[str]:
    """Returns the source of a test set with a share of its words misspelt."""
    return list(noisy(testset.source, noise, share)) if share else testset.source  # type: ignore[arg-type]  # one of NOISES


def scores_of(run: Path, testset: TestSet) -> Scores:
    """Scores a run on every noise."""
    found: Scores = {}
    for noise, share, path in places(run, testset):
        scores = score(read_lines(path), testset.target, tokenize=testset.tokenize, metrics=METRICS, resamples=1)
        found.setdefault(noise, {})[f"{share:g}"] = {item.metric: round(item.value, 2) for item in scores}
    return found


def signatures(testset: TestSet) -> dict[str, str]:
    """Returns what sacreBLEU calls each measure."""
    scores = score(testset.target, testset.target, tokenize=testset.tokenize, metrics=METRICS, resamples=1)
    return {item.metric: item.signature for item in scores}


def averaged(runs: list[Scores], noise: str, measure: str) -> list[float]:
    """Returns the mean score over the seeds: clean, then each share; seeds that lack one are left out there."""
    return [
        mean(scores[kind][share][measure] for scores in runs if share in scores[kind])
        for kind, share in [("clean", "0"), *((noise, f"{share:g}") for share in SHARES)]
    ]


def draw(path: Path, title: str, systems: dict[str, list[Scores]], noises: list[NoiseName]) -> None:
    """Draws one field for each noise, with a line for each system."""
    figure = Figure(figsize=(3 + 2 * len(noises), 3.6), layout="constrained")
    fields = figure.subplots(1, len(noises), sharey=True)
    for axes, noise in zip(fields, noises, strict=True):
        for number, runs in enumerate(systems.values()):
            style = {"color": COLOURS[number % len(COLOURS)], "linestyle": ("-", "--")[number // len(COLOURS)]}
            axes.plot([0, *(100 * share for share in SHARES)], averaged(runs, noise, "bleu"), marker=".", **style)
        axes.set(title=NAMES[noise], xlabel="% of words misspelt")
        axes.grid(alpha=0.25)
    fields[0].set(ylabel="BLEU", ylim=(0, None))
    figure.suptitle(title)
    figure.legend(fields[0].get_lines(), list(systems), loc="outside right center", frameon=False)
    save_picture(figure, path)


def table(systems: dict[str, list[Scores]], noises: list[NoiseName]) -> str:
    """Returns a row for each system: clean BLEU, then BLEU with 40 % and with all words misspelt, for each noise."""
    heads = ["system", "clean", *(f"{NAMES[noise]}, {share:.0%}" for noise in noises for share in (0.4, 1.0))]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for name, runs in systems.items():
        chosen = [averaged(runs, noise, "bleu") for noise in noises]
        places = [1 + SHARES.index(share) for share in (0.4, 1.0)]
        cells = [f"{line[place]:.1f}" for line in chosen for place in places]
        rows.append([name, f"{chosen[0][0]:.1f}", *cells])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def finished(plan: Study, runs: Path) -> Iterator[tuple[str, int, Path]]:
    """Yields system, seed and folder of the runs that have a model."""
    for system in plan.systems:
        for seed in plan.seeds:
            folder = runs / run_name(system, seed)
            if (folder / "model" / "card.json").exists():
                yield system.name, seed, folder


def main(study: Path, runs: Path, output: Path) -> None:
    """Translates and scores all runs of a study that are there; each core takes a run, and a GPU one at a time."""
    plan = load_study(study)
    testset = prepare(load_recipe(study)).testset(plan.testset)
    there = list(finished(plan, runs))
    workers = 1 if torch.cuda.is_available() else usable_cores()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(partial(translate, testset), (folder for _, _, folder in there)))
    kept = recorded(output / "noise.json", plan)
    for name, seed, folder in there:
        kept.setdefault(name, {})[str(seed)] = scores_of(folder, testset)
    kept = {system.name: kept[system.name] for system in plan.systems if system.name in kept}
    output.mkdir(parents=True, exist_ok=True)
    content = {"testset": plan.testset, "signatures": signatures(testset), "scores": kept}
    (output / "noise.json").write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    noises, systems = noises_of(testset), {name: list(runs.values()) for name, runs in kept.items()}
    for suffix in ("png", "svg"):
        draw(output / f"noise.{suffix}", plan.title, systems, noises)
    print(table(systems, noises))


def recorded(path: Path, plan: Study) -> dict[str, dict[str, Scores]]:
    """Returns the scores by system and seed that stand in a file; runs that are not here keep theirs."""
    content = json.loads(path.read_text("utf-8")) if path.exists() else {"testset": plan.testset, "scores": {}}
    if content["testset"] != plan.testset:
        raise SystemExit(f"{path} holds scores of {content['testset']}, not of {plan.testset}")
    found: dict[str, dict[str, Scores]] = content["scores"]
    return found
