"""What misspelt sources cost: BLEU and chrF2 of each system against the share of words that are misspelt.

    python recipes/noise-multi30k/control.py RUNS DATA OUTPUT

RUNS is the folder of `nmt study`; DATA is not used. It translates the test set of the study with five noises in six shares, and
keeps the translations in each run, so that what was done is not done again. It writes noise.json, noise.png and noise.svg, and
prints a table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any, get_args

from matplotlib.figure import Figure

from nmt.config.reading import load_recipe
from nmt.corpus.lines import read_lines, write_lines
from nmt.corpus.noise import NoiseName, noisy
from nmt.corpus.testset import TestSet
from nmt.experiments.study import Study, load_study, run_name
from nmt.report.pictures import COLOURS, save_picture
from nmt.scoring.metrics import bleu, chrf
from nmt.translation.translator import load
from nmt_data.prepare import prepare

NOISES: tuple[NoiseName, ...] = get_args(NoiseName)
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


def translated(run: Path, testset: TestSet) -> Iterator[tuple[str, float, list[str]]]:
    """Yields noise, share and translations of a run; `clean` has share 0."""
    folder, model = run / "noise", None
    folder.mkdir(exist_ok=True)
    for noise, share in [("clean", 0.0), *((noise, share) for noise in NOISES for share in SHARES)]:
        path = folder / f"{noise}-{share:g}.hypothesis"
        if not path.exists():
            model = model or load(run, "cpu")
            source = testset.source if share == 0 else list(noisy(testset.source, noise, share))  # type: ignore[arg-type]
            write_lines(path, model.translate(source))
        yield noise, share, read_lines(path)


def scores_of(run: Path, testset: TestSet) -> Scores:
    """Scores a run on every noise."""
    found: Scores = {}
    for noise, share, lines in translated(run, testset):
        values = {
            "bleu": round(bleu(lines, testset.target, testset.tokenize), 2),
            "chrf2": round(chrf(lines, testset.target), 2),
        }
        found.setdefault(noise, {})[f"{share:g}"] = values
    return found


def averaged(runs: list[Scores], noise: str, measure: str) -> list[float]:
    """Returns the mean score over the seeds: clean, then each share."""
    return [
        mean(scores["clean"]["0"][measure] for scores in runs),
        *(mean(scores[noise][f"{share:g}"][measure] for scores in runs) for share in SHARES),
    ]


def draw(path: Path, title: str, systems: dict[str, list[Scores]]) -> None:
    """Draws one field for each noise, with a line for each system."""
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    fields = figure.subplots(1, len(NOISES), sharey=True)
    for axes, noise in zip(fields, NOISES, strict=True):
        for number, runs in enumerate(systems.values()):
            style = {"color": COLOURS[number % len(COLOURS)], "linestyle": ("-", "--")[number // len(COLOURS)]}
            axes.plot([0, *(100 * share for share in SHARES)], averaged(runs, noise, "bleu"), marker=".", **style)
        axes.set(title=NAMES[noise], xlabel="% of words misspelt")
        axes.grid(alpha=0.25)
    fields[0].set(ylabel="BLEU", ylim=(0, None))
    figure.suptitle(title)
    figure.legend(fields[0].get_lines(), list(systems), loc="outside right center", frameon=False)
    save_picture(figure, path)


def table(systems: dict[str, list[Scores]]) -> str:
    """Returns a row for each system: clean BLEU, then BLEU with 40 % and with all words misspelt, for each noise."""
    heads = ["system", "clean", *(f"{NAMES[noise]}, {share:.0%}" for noise in NOISES for share in (0.4, 1.0))]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for name, runs in systems.items():
        chosen = [averaged(runs, noise, "bleu") for noise in NOISES]
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


def main(runs: Path, output: Path) -> None:
    """Scores all runs of the study that are there."""
    here = Path(__file__).parent
    plan = load_study(here)
    testset = prepare(load_recipe(here)).testset(plan.testset)
    systems: dict[str, list[Scores]] = {}
    kept: dict[str, dict[str, Any]] = {}
    for name, seed, folder in finished(plan, runs):
        scores = scores_of(folder, testset)
        systems.setdefault(name, []).append(scores)
        kept.setdefault(name, {})[str(seed)] = scores
    output.mkdir(parents=True, exist_ok=True)
    (output / "noise.json").write_text(json.dumps({"testset": plan.testset, "scores": kept}, indent=1) + "\n", "utf-8")
    for suffix in ("png", "svg"):
        draw(output / f"noise.{suffix}", plan.title, systems)
    print(table(systems))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[3]))
