"""Says whether the functions of an `attention_exercise.py` are right: `python docs/teaching/check_attention.py FILE`.

Each answer is compared with NumPy in float64. A wrong one is compared with mistakes that are often made, and the one that it
equals is named. When all are right, they are compared with the classes of nmt too. The exit code is 0 if all are right, else 1.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from known_mistakes import QUESTIONS, Call, Question

TOLERANCE = 1e-9


class UnusableError(Exception):
    """A file that cannot be checked; the text says why in one line."""


def load(path: Path) -> ModuleType:
    """Runs a student's file.

    Raises:
        UnusableError: it is missing, or ends in an error.
    """
    spec = importlib.util.spec_from_file_location("answers_of_a_student", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UnusableError(f"{path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UnusableError(f"{path}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:  # whatever a student wrote
        raise UnusableError(f"{path} cannot be run. {_told(error, path)}") from error
    return module


def check(module: ModuleType) -> dict[str, str]:
    """Returns what is wrong with each function, by its name; empty: it is right."""
    found: dict[str, str] = {}
    for question in QUESTIONS:
        waits = [name for name in question.needs if found.get(name)]
        if waits:
            found[question.name] = f"Not checked yet. It calls `{waits[0]}`: mend that first."
        else:
            found[question.name] = _checked(module, question)
    return found


def _checked(module: ModuleType, question: Question) -> str:
    function = getattr(module, question.name, None)
    if not callable(function):
        return f"The file has no function `{question.name}`. Keep the names of the exercise."
    problems = [problem for call in question.calls if (problem := _problem(module, function, call))]
    if not problems:
        return ""
    # Square sizes let wrong formulas through that else end in an error. So a mistake can be recognised.
    for message, wrong in question.square.mistakes.items():
        if not _problem(module, function, question.square.with_right(wrong)):
            return message
    return problems[0]


def _problem(module: ModuleType, function: Callable[..., Any], call: Call) -> str:
    """Says how an answer differs from the right one; empty: it does not."""
    given = [torch.tensor(item) if isinstance(item, np.ndarray) else item for item in call.arguments]
    before = [item.clone() if isinstance(item, Tensor) else item for item in given]
    try:
        answer = function(*given)
    except NotImplementedError:
        return "Not written yet: replace `raise NotImplementedError`."
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a student wrote
        shapes = ", ".join(str(tuple(item.shape)) for item in given if isinstance(item, Tensor))
        wanted = " and ".join(str(part.shape) for part in call.right)
        return f"{_told(error, Path(str(module.__file__)))} It was given {shapes} and should return {wanted}."
    if any(isinstance(item, Tensor) and not torch.equal(item, old) for item, old in zip(given, before, strict=True)):
        return "It changes its arguments. Methods that end in `_` do that: use the one without."
    return _difference(tuple(answer) if isinstance(answer, (tuple, list)) else (answer,), call)


def _difference(answer: tuple[Any, ...], call: Call) -> str:
    if len(answer) != len(call.right):
        return f"It should return {len(call.right)} tensor(s), and returned {len(answer)}."
    for name, part, right in zip(call.names, answer, call.right, strict=True):
        if not isinstance(part, Tensor):
            return f"It should return a tensor, and returned {type(part).__name__}. Is there a `return`?"
        shown = part.detach().numpy()
        if shown.shape != right.shape:
            return f"The shape of the {name} should be {right.shape}, and is {shown.shape}."
        if shown.dtype != right.dtype:
            return f"The {name} should be of dtype {right.dtype}, and is {shown.dtype}."
        if not np.allclose(shown, right, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            worst = np.unravel_index(np.argmax(~np.isclose(shown, right, rtol=TOLERANCE, atol=TOLERANCE)), right.shape)
            place = tuple(map(int, worst))
            return f"The {name} at {place} should be {right[worst]:.6g}, and is {shown[worst]:.6g}. {call.hint}".strip()
    return ""


def _told(error: BaseException, path: Path) -> str:
    """An error, and the line of the student's file that it came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    place = f"Line {lines[-1]}: " if lines else ""
    return f"{place}{type(error).__name__}: {str(error).strip().splitlines()[0].rstrip('.') if str(error) else 'no message'}."


def agrees_with_nmt(module: ModuleType) -> list[str]:
    """Returns the classes of nmt that give what the functions give; float64, random weights.

    Raises:
        AssertionError: one does not, which would be a fault of this checker.
    """
    from nmt.models.rnn.scores import AdditiveScore, DotScore
    from nmt.models.transformer.attention import CrossAttention, SelfAttention, mask_bias

    torch.manual_seed(1)
    query, keys = torch.randn(2, 3, 8).double(), torch.randn(2, 5, 8).double()
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]).bool()[:, None]
    dot, additive = DotScore(8, scaled=False), AdditiveScore(8, 8, width=6).double()
    additive.keys.bias.data.zero_()
    weights = [additive.query.weight, additive.keys.weight, additive.combine.weight[0]]
    cross, own = CrossAttention(8, heads=2).double(), SelfAttention(8, heads=2).double()
    looked = module.multi_head(cross.query(query), *cross.memory(keys).chunk(2, -1), 2, mask)
    looked_back = module.multi_head(*own.projection(query).chunk(3, -1), 2, module.causal_mask(3))
    pairs = {
        "DotScore": (module.dot_scores(query, keys), dot(query, keys)),
        "AdditiveScore": (module.additive_scores(query, keys, *weights), additive(query, additive.keys(keys))),
        "CrossAttention": (
            cross.output(looked),
            cross(cross.project_query(query), cross.project_memory(keys), mask_bias(mask, 2, torch.float64)),
        ),
        "SelfAttention": (own.output(looked_back), own(*own.project(query), causal=True)),
    }
    for name, (answer, right) in pairs.items():
        torch.testing.assert_close(answer, right, msg=name)
    return list(pairs)


def main(arguments: Sequence[str]) -> int:
    """Checks the file that is named."""
    if len(arguments) != 1:
        print("usage: python docs/teaching/check_attention.py FILE", file=sys.stderr)
        return 2
    try:
        module = load(Path(arguments[0]))
    except UnusableError as error:
        print(error, file=sys.stderr)
        return 1
    found = check(module)
    for name, problem in found.items():
        print(f"{name:16} {problem or 'right'}")
    right = sum(not problem for problem in found.values())
    print(f"\n{right} of {len(found)} are right.")
    if right < len(found):
        return 1
    print(f"nmt computes the same: {', '.join(agrees_with_nmt(module))}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
