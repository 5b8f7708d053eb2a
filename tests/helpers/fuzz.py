"""Tries the command with options, files and recipes drawn at random: whatever a user gives, no traceback may come of it.

As a script, `python tests/helpers/fuzz.py 2000` draws so many commands, prints what failed, and exits with 1 if anything did.
"""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, get_type_hints

import typer
from typer.testing import CliRunner

from nmt.config.reading import option_names, recipe_to_toml
from nmt_cli.main import app
from tiny import LETTERS, make_recipe

_NUMBERS = "-1 0 1 2 7 1000000007 18446744073709551616 -9223372036854775809 0.5 -0.0 1e308 1e-320 nan inf -inf 1e3 x"
_WORDS = "x en de bleu json int8 cpu - -- %s {} [bold] .. ~nobody/x 1=2 a.b.c=1 = / é狗 \udcff \x1b[31m \ufeff \u2060"
_PATHS = """text target empty bytes nothing folder run run/model x.spm recipe.toml card.toml run/log.jsonl text/below
/dev/null /proc/self/mem new/folder/file circle . \udcff \udcff/x"""
_VALUES = """true [] "" "x" {} [1,2] ["*","x"] "\\u0000" "auto" 1979-05-27 'a/b'"""
_SOUND = "true 1 2 8 0.1 0.5 'identity' 'all' 'none' 'dot' 'lstm' 'chrf2' 'muon'"
_PLAN = """
title = "x"

[[stages]]
name = "backward"
train = "recipe.toml"
reverse = true
set = ["training.updates=1"]

[[stages]]
name = "translated"
translate = "text"
by = ["backward"]
tag = "<bt>"

[[stages]]
name = "forward"
train = "recipe.toml"
add = ["translated"]
"""
_ODD = ["", " ", "\t", "a" * 5000, "x\ny", "\u2028"]
_TAMED = {
    "--beam",
    "--n-best",
    "--samples",
    "--batch-size",
    "--workers",
    "--verify",
    "--max-length-constant",
    "--budget",
}
"""Options whose size is a matter of memory or time: they are drawn small."""
_NEVER = {"study", "bench"}  # each starts processes of its own
_DRY = {"bootstrap"}  # starts them too, but not with --dry-run
_SLOW = {"train", "prepare", "evaluate", "compare", "tune-decoding", "shortlist", "data", "reproduce", "report"}
_SECONDS = 60  # of computing


@dataclass(frozen=True)
class Fault:
    """What came of a command that nothing should have come of."""

    arguments: list[str]
    trace: str

    @property
    def kind(self) -> str:
        """The last line of our own code, and the error."""
        ours = [line for line in self.trace.splitlines() if "nmt" in line and line.startswith("  File")]
        return f"{self.trace.strip().splitlines()[-1][:160]} | {(ours or [''])[-1].strip()}"


class _TooLongError(BaseException):
    """Time is up."""


def fuzz(runs: int, trained: Path, folder: Path, seed: int = 1, slow: bool = True) -> Iterator[Fault]:
    """The faults of so many commands, which work in a folder of their own; `slow`: with verbs that take their time."""
    generator = random.Random(seed)
    verbs = [verb for verb in _verbs() if slow or verb[0][0] not in _SLOW]
    verbs += [verb for verb in verbs if verb[0][0] in ("train", "translate", "evaluate", "attend")] * 2
    for number in range(runs):
        place = folder / str(number // 20)
        if number % 20 == 0:
            place.mkdir(parents=True)
            _furnish(place, trained)
        with _inside(place):
            fault = _try(_command(generator, verbs))
        if fault:
            yield fault
        if number % 20 == 19:
            shutil.rmtree(place, ignore_errors=True)


def _furnish(place: Path, trained: Path) -> None:
    shutil.copytree(trained, place / "run")
    shutil.copy(next((trained / "model").glob("*.spm")), place / "x.spm")
    text = "der Hund schläft .\n\n" + "ein Mann sieht das Fahrrad . " * 30 + "\n狗 \u2028 x\n"
    (place / "text").write_text(text)
    (place / "target").write_text("the dog sleeps .\n\na man\ndog\n")
    (place / "empty").touch()
    (place / "bytes").write_bytes(bytes(range(256)) * 3 + b"\xff\xfea\0b\0")
    (place / "folder").mkdir()
    (place / "circle").symlink_to("circle")
    recipe = make_recipe(
        {"kind": "rnn", "embedding": 4, "hidden": 4},
        data={"corpus": "card.toml", "limit": 40},
        training={"updates": 2, "validate_every": 2, "validation_sentences": 2, "batch_tokens": 64},
    )
    (place / "recipe.toml").write_text(recipe_to_toml(recipe))
    (place / "plan").mkdir()
    shutil.copy(place / "recipe.toml", place / "plan/recipe.toml")
    (place / "plan/bootstrap.toml").write_text(_PLAN)
    shutil.copy(LETTERS, place / "card.toml")
    for path in LETTERS.parent.glob("*.*put"):
        shutil.copy(path, place / path.name)


@contextmanager
def _inside(place: Path) -> Generator[None]:
    before = Path.cwd()
    os.chdir(place)
    try:
        yield
    finally:
        os.chdir(before)


def _verbs() -> list[tuple[list[str], Any]]:
    """Every verb, with its parameters as the command line has them."""
    found: list[tuple[list[str], Any]] = []
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        if name not in _NEVER:
            inner = getattr(command, "commands", None)
            found += [([name, sub], part) for sub, part in inner.items()] if inner else [([name], command)]
    return found


def _command(generator: random.Random, verbs: list[tuple[list[str], Any]]) -> list[str]:
    name, command = generator.choice(verbs)
    if generator.random() < 0.3:
        _spoil(generator)
    hints = {key: str(hint) for key, hint in get_type_hints(command.callback).items()}
    options: list[str] = []
    arguments: list[str] = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            arguments += _arguments(generator, parameter)
        elif parameter.name != "help" and (
            parameter.required or generator.random() < min(0.5, 3 / len(command.params))
        ):
            options += _option(generator, parameter, hints[parameter.name])
    return [*name, *arguments, *options, *(["--dry-run"] if name[0] in _DRY else [])]


def _arguments(generator: random.Random, parameter: Any) -> list[str]:
    likely = {
        "RECIPE": ["recipe.toml"],
        "MODEL": ["run"],
        "TOKENIZER": ["x.spm"],
        "RUN": ["run"],
        "RUN...": ["run"],
        "{FOLDER}": ["plan"],
        "{NAME}": ["plan"],
    }
    usual = likely.get(str(parameter.metavar), ["text", "target"])
    count = 1 if parameter.nargs == 1 else generator.randint(1, 3)
    if not parameter.required and generator.random() < 0.4:
        return []
    return [generator.choice(usual if generator.random() < 0.85 else _PATHS.split()) for _ in range(count)]


def _option(generator: random.Random, parameter: Any, hint: str) -> list[str]:
    flag = parameter.opts[0]
    if "bool" in hint:
        return [flag]
    if flag == "--set" and generator.random() < 0.9:
        key = generator.choice([*option_names(), "model.layers", "data.more", "x.y"])
        key = "model." + key.rpartition(".")[2] if key.startswith("model[") else key
        values = generator.choice([_VALUES, _NUMBERS, _SOUND, _SOUND])
        return [flag, f"{key}={generator.choice(values.split())}"]
    if flag in _TAMED:
        return [flag, str(generator.randint(-1, 4))]
    if "int" in hint or "float" in hint:
        return [flag, generator.choice(_NUMBERS.split() if generator.random() < 0.4 else ["0", "1", "2", "3"])]
    words = [*_WORDS.split(), *_ODD]
    told = re.findall(r"[\w-]+", str(parameter.help))  # among which are the words that it takes
    return [flag, generator.choice(_PATHS.split() if "Path" in hint else told if generator.random() < 0.6 else words)]


def _spoil(generator: random.Random) -> None:
    """Changes a file that the commands read: bytes, a line, or a value of a recipe or a card."""
    path = Path(
        generator.choice(
            [
                "recipe.toml",
                "plan/recipe.toml",
                "plan/bootstrap.toml",
                "card.toml",
                "text",
                "train.input",
                "valid.output",
            ]
        )
    )
    with suppress(OSError):
        data = path.read_bytes()
        lines = data.split(b"\n")
        row = generator.randrange(len(lines))
        match generator.randrange(4):
            case 0:
                lines[row] = lines[row].partition(b"=")[0] + b"= " + generator.choice(_VALUES.split()).encode()
            case 1:
                lines[row : row + 1] = []
            case 2:
                lines.insert(row, lines[generator.randrange(len(lines))])
            case _:
                place = generator.randrange(len(data) + 1)
                lines = [data[:place] + generator.choice([b"\xff", b"\0", b"\xef\xbb\xbf", b"\r", b"["]) + data[place:]]
        path.write_bytes(b"\n".join(lines))


def _try(arguments: list[str]) -> Fault | None:
    def late(_: int, __: FrameType | None) -> None:
        raise _TooLongError

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    try:
        result = CliRunner().invoke(app, arguments, input=b"der Hund\n\nx\n")
    except _TooLongError:
        return Fault(arguments, traceback.format_exc() + "\ntoo long")
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if result.exception is None or isinstance(result.exception, SystemExit):
        return None if "Traceback" not in result.output else Fault(arguments, result.output)
    return Fault(arguments, "".join(traceback.format_exception(result.exception)))


def _main(runs: int, seed: int) -> int:
    import torch

    from nmt.training.trainer import Trainer
    from nmt_data.prepare import prepare

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        os.environ["NMT_HOME"] = f"{name}/home"
        os.environ["OMP_NUM_THREADS"] = "1"
        recipe = make_recipe({"kind": "rnn", "embedding": 8, "hidden": 8})
        Trainer(recipe, prepare(recipe), Path(name) / "run", torch.device("cpu")).run()
        for fault in fuzz(runs, Path(name) / "run", Path(name) / "work", seed):
            if not kinds[fault.kind]:
                sys.stdout.write(f"{fault.arguments}\n{fault.trace}\n{'-' * 20}\n")
                sys.stdout.flush()
            kinds[fault.kind] += 1
    for kind, count in kinds.most_common():
        sys.stdout.write(f"{count} {kind}\n")
    return int(bool(kinds))


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    os.environ["PYTHONPATH"] = os.pathsep.join(str(root / part) for part in ("", "cli", "data", "tests/helpers"))
    sys.exit(_main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
