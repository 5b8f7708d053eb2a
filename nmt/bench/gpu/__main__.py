"""`python -m nmt.bench.gpu CALL --out FOLDER`: runs the steps of a call and summarises their figures."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nmt.bench.gpu.ledger import read_figures, summary
from nmt.bench.gpu.libraries import with_version_12
from nmt.bench.gpu.running import Runner, step_command

_DEFAULT = Path("recipes/multi30k-reference")
_BUDGET = 560.0  # seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a call, or one step of it; returns how many steps failed."""
    parser = argparse.ArgumentParser(prog="python -m nmt.bench.gpu", description=__doc__)
    parser.add_argument("call", choices=["A", "B", "C"])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of figures.jsonl, summary.txt, log.txt, profile.txt"
    )
    parser.add_argument("--budget", type=float, default=_BUDGET, help="seconds for all steps together")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--recipe", type=Path, default=_DEFAULT, help="whose corpus is used")
    parser.add_argument("--quick", action="store_true", help="everything small: to see that it runs")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP", help="these steps of the call alone")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.step:
        return _step(options)
    with tempfile.TemporaryDirectory() as folder:
        return _call(options, Path(folder))


def _call(options: argparse.Namespace, work: Path) -> int:
    from nmt.bench.gpu.calls import CALLS

    steps = [step for step in CALLS[options.call] if not options.only or step.name in options.only]
    given = [
        "--out",
        str(options.out),
        "--device",
        options.device,
        "--recipe",
        str(options.recipe),
        "--work",
        str(work),
    ]
    command = step_command(options.call, [*given, *(["--quick"] if options.quick else [])])
    with_version_12(work / "libraries")
    Runner(command, options.out, work, options.budget, _say).run(steps)
    rows = read_figures(options.out / "figures.jsonl")
    lines = summary(rows)
    (options.out / "summary.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(lines) + "\n")
    return sum(row["ended"] != "done" for row in rows if "ended" in row)


def _step(options: argparse.Namespace) -> int:
    from nmt.bench.gpu.calls import STEPS
    from nmt.bench.gpu.context import Context
    from nmt.runtime.device import choose_device

    device = choose_device(options.device)
    STEPS[options.step](Context(options.step, device, options.quick, options.out, options.work, options.recipe))
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.stdout.flush()
    sys.exit(main())
