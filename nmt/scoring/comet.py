"""COMET (Rei et al. 2020) through its own command, in an environment that the user chooses; never a dependency."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nmt.corpus.lines import write_lines
from nmt.errors import NmtError
from nmt.runtime.stages import stage
from nmt.scoring.metrics import Score

MODEL = "Unbabel/wmt22-comet-da"


_NEEDED = "COMET is computed by the command comet-score, whose path is needed"


def check_command(command: str) -> None:
    """Checks that there is such a command, before anything is translated.

    Raises:
        NmtError: there is none.
    """
    if shutil.which(Path(command).expanduser()) is None:
        raise NmtError(f"{command}: there is no such command; {_NEEDED}")


def comet(command: str, sources: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Returns the system score of `comet-score`, times 100; it has no interval here.

    Args:
        command: path of `comet-score`, for example `~/comet/bin/comet-score`.
        sources: source lines.
        hypotheses: translations.
        references: reference translations.

    Raises:
        NmtError: the command is missing, failed, or printed no score.
    """
    with stage(f"scoring {len(hypotheses):,} lines by COMET"), tempfile.TemporaryDirectory() as folder:
        files = {flag: Path(folder) / flag for flag in ("s", "t", "r")}
        for path, lines in zip(files.values(), (sources, hypotheses, references), strict=True):
            write_lines(path, lines)
        arguments = [part for flag, path in files.items() for part in (f"-{flag}", str(path))]
        try:
            done = subprocess.run(  # noqa: S603 - the user's own command
                [str(Path(command).expanduser()), *arguments, "--model", MODEL, "--quiet", "--only_system"],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError as error:
            raise NmtError(f"{command}: {error.strerror}; {_NEEDED}") from None
    found = re.findall(r"score:\s*(-?\d+\.\d+)", done.stdout)
    if done.returncode or not found:
        last = (done.stderr.strip() or done.stdout.strip() or "it printed nothing").splitlines()[-1]
        raise NmtError(f"{command} gave no score: {last}")
    value = 100 * float(found[-1])
    return Score("comet", value, value, value, f"nrefs:1|model:{MODEL}")
