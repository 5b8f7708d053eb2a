"""The split control: the same captions translated together and apart; what is lost in between is length alone.

    python recipes/bottleneck-multi30k/control.py RUNS DATA OUTPUT

RUNS is the folder of `nmt study`, DATA that of join.py. Writes control.json and control.png, and prints a table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nmt.corpus.lines import read_lines
from nmt.experiments.study import load_study
from nmt.report.length_plot import plot_by_length
from nmt.scoring.metrics import Bucket, bleu_by

BUCKETS = ((1, 10), (11, 20), (21, 30), (31, 40), (41, 50), (51, 60), (61, 80))
MIDDLE = (41, 60)


def loss(source: list[str], together: list[str], apart: list[str], target: list[str]) -> float:
    """Percent of the BLEU of captions translated apart that is lost when they are translated together, at 41 to 60 words."""
    lengths = [len(line.split()) for line in source]
    one, other = (bleu_by(lengths, (MIDDLE,), lines, target, "none")[0].score.value for lines in (together, apart))
    return 100 * (1 - one / other)


def main(runs: Path, data: Path, output: Path) -> None:
    """All runs of the study that are there."""
    source, target = read_lines(data / "joined.en"), read_lines(data / "joined.fr")
    counts = [int(line) for line in read_lines(data / "counts")]
    plan = load_study(Path(__file__).parent)
    lengths = [len(line.split()) for line in source]
    lines: dict[str, list[Bucket]] = {}
    losses: dict[str, dict[int, float]] = {}
    for system in plan.systems:
        for seed in plan.seeds:
            folder = runs / f"{system.name.replace(' ', '-')}-{seed}" / "results"
            if not (folder / "apart.hypothesis").exists():
                continue
            together, single = (read_lines(folder / f"{name}.hypothesis") for name in ("joined", "apart"))
            pieces = iter(single)
            apart = [" ".join(next(pieces) for _ in range(count)) for count in counts]
            losses.setdefault(system.name, {})[seed] = round(loss(source, together, apart, target), 1)
            if seed == plan.seeds[0]:
                for name, hypotheses in ((system.name, together), (f"{system.name}, caption by caption", apart)):
                    lines[name] = bleu_by(lengths, BUCKETS, hypotheses, target, "none")
    output.mkdir(parents=True, exist_ok=True)
    (output / "control.json").write_text(json.dumps({"lost_at_41_to_60_words": losses}, indent=1) + "\n", "utf-8")
    shown = {
        name: buckets
        for name, buckets in lines.items()
        if name.startswith(("RNNenc-50", "RNNsearch-50")) and "reversed" not in name
    }
    plot_by_length(output / "control.png", "The same captions, together and one by one", shown)
    for name, values in losses.items():
        print(
            f"{name}: {', '.join(f'{value:.1f} %' for value in values.values())} of its BLEU lost to length at 41-60 words"
        )


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
