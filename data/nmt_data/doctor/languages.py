"""The languages of both sides, on a sample of lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from nmt.corpus.languages import alike_in_text, code_of, is_installed, is_known, ranked
from nmt.corpus.prepared import Prepared
from nmt.corpus.testset import TestSet
from nmt_data.doctor.finding import Finding, advice, ok
from nmt_data.doctor.text import sampled

_SAMPLE, _TOGETHER = 600, 10  # lines; those that are told together, as short ones are hard to tell
_ASTRAY = 0.1  # share of the lines; of near languages and short lines some look like the other side


def examine_languages(prepared: Prepared) -> list[Finding]:
    """Returns the findings on the languages of the first corpus, and of the validation set."""
    if not is_installed():
        text = "the languages of both sides are not checked: py3langid is missing"
        return [ok("languages", f"{text} (pip install 'nmt[languages]')")]
    said = tuple(code_of(prepared.report[side]) for side in ("source", "target"))
    if strange := [language for language in said if not is_known(language)]:
        return [ok("languages", f"not checked: py3langid does not know {' and '.join(strange)}")]
    if prepared.report["synthetic"] and not prepared.report["source"]:
        return []
    train, first = prepared.training_text(), prepared.parts[0]
    texts = [TestSet("train", train.source[:first], train.target[:first]), prepared.testset("valid")]
    return [judge(sampled(text, _SAMPLE), (said[0], said[1])) for text in texts if text.source]


def judge(text: TestSet, said: tuple[str, str]) -> Finding:
    """Compares the languages of a text with those that its recipe names."""
    sides = {"source": text.source, "target": text.target}
    looks = [majority_language(lines) for lines in sides.values()]
    figures = {"split": text.name, "said": list(said), "looks": looks}
    near = [_are_near(one, other) for one, other in zip(looks, said, strict=True)]
    if not all(near) and _are_near(looks[0], said[1]) and _are_near(looks[1], said[0]):
        remedy = "swap data.source and data.target, or the files in the card of the corpus"
        return advice("languages", f"the sides of {text.name} look swapped: {'-'.join(looks)}", remedy, **figures)
    for side, here, look, wanted in zip(sides, near, looks, said, strict=True):
        if not here:
            remedy = "see whether its file is the right one"
            return advice("languages", f"the {side} of {text.name} looks like {look}, not {wanted}", remedy, **figures)
    shares = [astray(lines, *pair) for lines, pair in zip(sides.values(), (said, said[::-1]), strict=True)]
    for side, share, other in zip(sides, shares, said[::-1], strict=True):
        if share > _ASTRAY:
            remedy = "some lines may be swapped or untranslated: look at them"
            line = f"{share:.0%} of the {side} lines of {text.name} look like {other}"
            return advice("languages", line, remedy, **figures)
    return ok("languages", f"{text.name} looks like {said[0]} and {said[1]}", **figures)


def majority_language(lines: Sequence[str]) -> str:
    """Returns the language of most groups of lines."""
    groups = [" ".join(lines[start : start + _TOGETHER]) for start in range(0, len(lines), _TOGETHER)]
    return Counter(ranked(group)[0][0] for group in groups).most_common(1)[0][0]


def astray(lines: Sequence[str], own: str, other: str) -> float:
    """Returns the share of lines that look more like the other of two languages."""
    if _are_near(own, other):
        return 0.0
    scores = [dict(ranked(line)) for line in lines]
    return sum(score[other] > score[own] for score in scores) / max(len(scores), 1)


def _are_near(one: str, other: str) -> bool:
    return one in alike_in_text(other)
