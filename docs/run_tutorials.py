"""Runs the commands of the tutorials, with fewer updates: `python docs/run_tutorials.py [FOLDER]`.

A block of `sh` is run by bash. A block of `toml` or `python` that begins with `# PATH` is that file, and is written.
One that begins with `# from PATH` quotes the code, and is left out.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
TUTORIALS = ("first-model.md", "attention-from-equation-to-line.md", "your-corpus.md", "a-study.md")
UPDATES = 60

_BLOCK = re.compile(r"^```(sh|toml|python)\n(.*?)^```", re.S | re.M)
_TRAINS = re.compile(r"^(nmt (?:train|study) [^|&#\n]*?)( \|\| true)?$", re.M)


def run_tutorials(folder: Path) -> None:
    """Runs all of them, in their order, in an empty folder; the later ones use what the first has trained.

    Raises:
        CalledProcessError: a command failed.
    """
    shutil.copytree(ROOT / "recipes", folder / "recipes", ignore=shutil.ignore_patterns("*.jsonl", "*.hypothesis"))
    environment = _environment(folder)
    for name in TUTORIALS:
        for number, script in enumerate(_scripts(name, folder), 1):
            sys.stderr.write(f"{name}, block {number}: {script.splitlines()[0]}\n")
            command = ["bash", "-euo", "pipefail", "-c", script]
            subprocess.run(command, cwd=folder, env=environment, check=True)  # noqa: S603 - our own pages


def _scripts(name: str, folder: Path) -> Iterator[str]:
    """The blocks of commands of a page; files that it shows are written when they come."""
    for language, block in _BLOCK.findall((ROOT / "docs/tutorials" / name).read_text(encoding="utf-8")):
        head, _, rest = block.partition("\n")
        if language == "sh":
            yield _shortened(block)
        elif (path := re.fullmatch(r"# ([\w./-]+\.\w+)", head)) is not None:
            place = folder / path[1]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(rest, encoding="utf-8")


def _shortened(script: str) -> str:
    """The same commands with few updates."""
    fewer = f"--set training.updates={UPDATES} --set training.warmup=10 --set training.validate_every={UPDATES}"
    return _TRAINS.sub(lambda found: f"{found[1]} {fewer}{found[2] or ''}", script)


def _environment(folder: Path) -> dict[str, str]:
    """Where `nmt` and `python` are those of this checkout."""
    programs = folder / "bin"
    programs.mkdir()
    python = shlex.quote(sys.executable)
    for name, words in (("nmt", f"{python} -m nmt_cli"), ("python", python)):
        script = programs / name
        script.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    packages = os.pathsep.join(str(ROOT / part) for part in (".", "cli", "data"))
    path = os.pathsep.join([str(programs), os.environ.get("PATH", "")])
    return {"OMP_NUM_THREADS": "1", **os.environ, "PATH": path, "PYTHONPATH": packages}


def main() -> None:
    """In the folder that is named, or in one that is thrown away."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True)
        run_tutorials(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        run_tutorials(Path(folder))


if __name__ == "__main__":
    main()
