"""The checker of the exercise on attention calls right answers right, and says what is wrong with wrong ones."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import attention_exercise
import attention_solution
import reach_exercise
import reach_solution
from check_attention import main
from command import environment
from decoders import DECODERS, show
from known_mistakes import QUESTIONS

FOLDER = Path(__file__).parents[1] / "docs/teaching"
SOLUTION = (FOLDER / "attention_solution.py").read_text("utf-8")

# What students write in place of a line of the solution; the function that this concerns; a part of what they are told.
WRONG = {
    "keys not transposed": ("query @ keys.transpose(1, 2)", "query @ keys", "dot_scores", "keys.transpose(1, 2)"),
    "keys reshaped": (
        "keys.transpose(1, 2)",
        "keys.reshape(len(keys), keys.shape[2], -1)",
        "dot_scores",
        "`reshape` do not transpose",
    ),
    "single precision": (
        "query @ keys.transpose(1, 2)",
        "query.float() @ keys.float().transpose(1, 2)",
        "dot_scores",
        "should be of dtype float64, and is float32",
    ),
    "the maximum before the mask": (
        "visible.softmax(-1)",
        "(scores - scores.amax(-1, keepdim=True)).exp() * mask\n    weights = weights / weights.sum(-1, keepdim=True)",
        "attend",
        "Hide padding with minus infinity first",
    ),
    "mask added": ("scores.masked_fill(~mask, -torch.inf)", "scores + mask", "attend", "added as numbers"),
    "scale of the number of heads": (
        "(query.shape[2] // heads) ** 0.5",
        "heads**0.5",
        "multi_head",
        "divided by sqrt(H)",
    ),
    "no mask": (
        "mask_of_heads(mask, heads))\n",
        "torch.ones_like(mask_of_heads(mask, heads)))\n",
        "multi_head",
        "The mask is not used",
    ),
    "ends the program": ("return query @", "raise SystemExit(0)\n    return query @", "dot_scores", "SystemExit"),
    "tanh of each part": (
        "torch.tanh((query @ w.T)[:, :, None] + (keys @ u.T)[:, None])",
        "torch.tanh(query @ w.T)[:, :, None] + torch.tanh(keys @ u.T)[:, None]",
        "additive_scores",
        "around the sum",
    ),
    "not each with each": (
        "torch.tanh((query @ w.T)[:, :, None] + (keys @ u.T)[:, None])",
        "torch.tanh(query @ w.T + keys @ u.T)",
        "additive_scores",
        "paired query t with key t alone",
    ),
    "softmax over queries": ("visible.softmax(-1)", "visible.softmax(1)", "attend", "runs over the queries"),
    "mask inverted": ("masked_fill(~mask", "masked_fill(mask", "attend", "the wrong way round"),
    "mask after softmax": (
        "scores.masked_fill(~mask, -torch.inf)\n    weights = visible.softmax(-1)",
        "scores.softmax(-1)\n    weights = visible * mask",
        "attend",
        "masked after the softmax",
    ),
    "padding scores zero": ("masked_fill(~mask, -torch.inf)", "masked_fill(~mask, 0.0)", "attend", "exp(0) is 1"),
    "in place": ("masked_fill(", "masked_fill_(", "attend", "changes its arguments"),
    "softmax overflows": (
        "visible.softmax(-1)",
        "visible.exp() / visible.exp().sum(-1, keepdim=True)",
        "attend",
        "too large for exp",
    ),
    "leak of one": (".tril()", ".tril(1)", "causal_mask", "each position sees the next word"),
    "diagonal hidden": (".tril()", ".tril(-1)", "causal_mask", "its softmax is NaN"),
    "scale left out": (" / (query.shape[2] // heads) ** 0.5", "", "multi_head", "not divided by sqrt(D / H)"),
    "scale of the model": (
        "(query.shape[2] // heads) ** 0.5",
        "query.shape[2] ** 0.5",
        "multi_head",
        "divided by sqrt(D)",
    ),
    "view mixes positions": (
        "states.unflatten(2, (heads, -1)).transpose(1, 2).flatten(0, 1)",
        "states.reshape(len(states) * heads, states.shape[1], -1)",
        "multi_head",
        "mixes positions",
    ),
    "no return": ("return query @", "query @", "dot_scores", "Is there a `return`?"),
    "renamed": ("def causal_mask", "def causal", "causal_mask", "has no function"),
    "error": ("query @ keys.transpose(1, 2)", "query.multiply_by(keys)", "dot_scores", "Line 9: AttributeError"),
}


def _said(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> tuple[int, dict[str, str]]:
    """Exit code, and what is said of each function."""
    (tmp_path / "mine.py").write_text(text, "utf-8")
    code = main([str(tmp_path / "mine.py")])
    return code, dict(re.findall(r"^(\w+) +(\S.*)$", capsys.readouterr().out.partition("\n\n")[0], re.M))


def test_the_solution_is_right_and_nmt_agrees(capsys: pytest.CaptureFixture[str]) -> None:
    """All five functions, with exit code 0."""
    assert main([str(FOLDER / "attention_solution.py")]) == 0
    out = capsys.readouterr().out
    assert "5 of 5 are right" in out
    assert "DotScore, AdditiveScore, CrossAttention, SelfAttention" in out


def test_a_list_of_the_right_tensors_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not only a tuple."""
    assert "return weights, weights @ values" in SOLUTION
    code, said = _said(tmp_path, capsys, SOLUTION.replace("weights, weights @ values", "[weights, weights @ values]"))
    assert (code, said["attend"]) == (0, "right")


def test_the_exercise_is_the_solution_without_the_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same functions with the same words; ten lines are missing, and the checker says which functions are not written."""
    for question in QUESTIONS:
        asked, solved = (getattr(module, question.name) for module in (attention_exercise, attention_solution))
        assert (inspect.signature(asked), asked.__doc__) == (inspect.signature(solved), solved.__doc__)
    text = (FOLDER / "attention_exercise.py").read_text("utf-8")
    assert sum(map(int, re.findall(r"raise NotImplementedError  # (\d) line", text))) == 10
    code, said = _said(tmp_path, capsys, text)
    assert code == 1
    assert [name for name, words in said.items() if words.startswith("Not written yet")] == list(said)[:4]


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each in words of its own, and the other functions count as right unless they call it."""
    old, new, function, words = WRONG[name]
    assert old in SOLUTION
    code, said = _said(tmp_path, capsys, SOLUTION.replace(old, new))
    assert code == 1
    assert words in said[function]
    calls = {question.name for question in QUESTIONS if function in question.needs}
    assert {other for other, problem in said.items() if problem != "right"} == {function} | calls


def test_known_mistakes_are_wrong_and_differ() -> None:
    """No mistake gives the right answer, or that of another mistake."""
    for question in QUESTIONS:
        answers = [question.square.right, *question.square.mistakes.values()]
        for index, first in enumerate(answers):
            for second in answers[:index]:
                pairs = zip(first, second, strict=True)
                assert any(a.shape != b.shape or a.dtype != b.dtype or not np.allclose(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    "text", ["def dot_scores(:", "import nothing_of_that_name", "x = 1 / 0", "raise SystemExit(0)"]
)
def test_a_file_that_does_not_run_is_told_its_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr, and no traceback."""
    (tmp_path / "mine.py").write_text(text, "utf-8")
    assert main([str(tmp_path / "mine.py")]) == 1
    assert re.fullmatch(r".*mine\.py.*[Ll]ine 1: .*\n", capsys.readouterr().err)


def test_a_missing_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """And so is the usage, without a file."""
    assert main(["nothing.py"]) == 1
    assert main([]) == 2
    assert "nothing.py: no such Python file" in capsys.readouterr().err


def test_the_checker_leaves_no_module_behind() -> None:
    """What a student's file is called hides no module."""
    assert "answers_of_a_student" not in sys.modules


def test_the_reach_of_decoders_shows_their_leaks(capsys: pytest.CaptureFixture[str]) -> None:
    """The first decoder sees no future, the second sees the next word, the third sees everything."""
    pictures = []
    for name in DECODERS:
        show(name, reach_solution.reach)
        _, *rows = capsys.readouterr().out.splitlines()
        pictures.append(np.array([[mark == "x" for mark in row.split()] for row in rows]))
    everything = np.ones_like(pictures[0])
    for found, right in zip(pictures, (np.tril(everything), np.tril(everything, 1), everything), strict=True):
        assert (found == right).all()
    assert inspect.signature(reach_exercise.reach) == inspect.signature(reach_solution.reach)


@pytest.mark.thorough
def test_the_scripts_of_the_sheets_show_what_the_solutions_say(tmp_path: Path) -> None:
    """Without positions order is lost; a leak lowers the loss and spoils the copy; the test set is in one corpus alone."""

    def output(name: str, *arguments: str) -> str:
        command = [sys.executable, str(FOLDER / name), *arguments]
        return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout

    differences = {line.split()[0]: float(line.split()[-1]) for line in output("order.py").splitlines()}
    assert [name for name, size in differences.items() if size < 1e-9] == ["none"]
    (honest_loss, honest_copied), (loss, copied) = re.findall(r"loss ([\d.]+)  copied (\d+)%", output("leak.py"))
    assert float(loss) < 2 * float(honest_loss)
    assert int(honest_copied) > 90
    assert int(copied) < 10
    output("leaked_corpus.py", str(tmp_path))
    names = ("test", "clean", "leaked")
    test, clean, leaked = (set((tmp_path / f"{name}.de").read_text("utf-8").splitlines()) for name in names)
    assert test <= leaked
    assert not test & clean


def commands_of(sheet: Path) -> list[str]:
    """The blocks of commands of a sheet; what is not solved yet may fail, and background jobs are waited for."""
    blocks = re.findall(r"^```sh\n(.*?)^```", sheet.read_text("utf-8"), re.S | re.M)
    unsolved = re.compile(r"^python \S+/(?:check_attention\.py my_attention|my_reach)\.py$", re.M)
    ready = re.compile(r"^(?:make demo|source .*)\n", re.M)
    return [f"{unsolved.sub(lambda line: f'{line[0]} || test $? = 1', ready.sub('', block))}wait\n" for block in blocks]


@pytest.mark.thorough
def test_the_commands_of_the_sheets_run(tmp_path: Path) -> None:
    """In the order of the sheets, with the models of `make demo` and few updates."""
    fewer = "--set training.updates=40 --set training.warmup=10 --set training.validate_every=40"
    shutil.copytree(
        FOLDER.parents[1] / "recipes", tmp_path / "recipes", ignore=shutil.ignore_patterns("*.jsonl", "*.hypothesis")
    )
    shutil.copytree(FOLDER, tmp_path / "docs/teaching")
    demo = "".join(f"nmt train recipes/phrasebook-{name}\n" for name in ("bottleneck", "attention", "transformer"))
    sheets = ("bottleneck.md", "attention.md", "positions.md", "honest-scores.md")
    for script in [demo, *(block for sheet in sheets for block in commands_of(FOLDER / sheet))]:
        shortened = re.sub(r"^nmt train \S+", rf"\g<0> {fewer}", script, flags=re.M)
        words = f'nmt() {{ "{sys.executable}" -m nmt_cli "$@"; }}; python() {{ "{sys.executable}" "$@"; }}\n{shortened}'
        subprocess.run(["bash", "-euo", "pipefail", "-c", words], cwd=tmp_path, env=environment(), check=True)
