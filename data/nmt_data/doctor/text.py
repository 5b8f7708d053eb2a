"""The text itself, on a sample of lines: wrong encodings, copies, and training text that is tokenised unlike test sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from nmt.corpus.lines import beginning
from nmt.corpus.prepared import Prepared
from nmt.corpus.testset import TestSet
from nmt.corpus.words import MANY_REWRITTEN, rewritten
from nmt.runtime.device import draws
from nmt_data.doctor.finding import Finding, advice, ok

SAMPLE = 5000  # lines
_DAMAGED = 0.001  # share of the lines
_COPIES = 0.05  # share of the pairs
_UNLIKE = 0.5  # difference of two shares of lines
_APART = re.compile(r"\s[.,](\s|$)")  # punctuation that French, too, writes without a space before it
_TOGETHER = re.compile(r"\w[.,](\s|$)")
_ENOUGH = 20  # lines with such punctuation
_SHOWN = 40  # characters of a line
_LETTERS = 5


def examine_text(prepared: Prepared, normalization: str) -> list[Finding]:
    """Returns the findings on the text of the training pairs and the test sets, which a tokenizer is to normalise so."""
    whole, pairs = prepared.training_text(), sum(prepared.parts)  # a line without a translation stands on both sides
    train, tests = sampled(whole), [sampled(prepared.testset(name)) for name in prepared.testsets()]
    return [
        *encodings([train, *tests]),
        copies(TestSet("train", whole.source[:pairs], whole.target[:pairs])),
        *tokenisation(train, tests),
        *rewriting(train, normalization),
    ]


def sampled(text: TestSet, count: int = SAMPLE) -> TestSet:
    """Draws at most so many lines of a text, always the same, in their order."""
    total = len(text.source)
    if total <= count:
        return text
    rows = sorted(draws(1, total).choice(total, count, replace=False).tolist())
    return TestSet(text.name, [text.source[row] for row in rows], [text.target[row] for row in rows])


def encodings(texts: Sequence[TestSet]) -> Iterator[Finding]:
    """Yields the texts with lines that were read in a wrong encoding, or hold the character for what could not be read."""
    found = False
    kinds: dict[str, tuple[Callable[[str], bool], str]] = {
        "letters of a wrong encoding": (is_mojibake, "repair the files, with ftfy for example"),
        "replacement characters (U+FFFD)": (lambda line: "\ufffd" in line, "take the text anew from its source"),
    }
    for text in texts:
        for side, lines in (("source", text.source), ("target", text.target)):
            for what, (is_damaged, remedy) in kinds.items():
                rows = [line for line in lines if is_damaged(line)]
                if len(rows) > _DAMAGED * len(lines):
                    found = True
                    where = f"{len(rows):,} of {len(lines):,} {side} lines of {text.name}"
                    shown = f"{where} hold {what}: {beginning(rows[0], _SHOWN)!r}"
                    yield advice("encoding", shown, remedy, split=text.name, side=side, lines=len(rows))
    if not found:
        yield ok("encoding", "no letters of a wrong encoding")


def is_mojibake(line: str) -> bool:
    """Whether a word is UTF-8 that was read as Windows-1252, such as `fÃ¼r`: read back, it would be shorter UTF-8."""
    return not line.isascii() and any(map(_is_mojibake, line.split()))


def copies(train: TestSet) -> Finding:
    """Finds the share of pairs whose two sides are the same text."""
    rows = [source for source, target in zip(train.source, train.target, strict=True) if source == target]
    share = len(rows) / max(len(train.source), 1)
    text = f"{share:.1%} of the training pairs have identical sides"
    if share > _COPIES:
        remedy = "set data.cleaning.drop_identical = true: a model that sees copies learns to copy"
        return advice("copies", f"{text}, such as {beginning(rows[0], _SHOWN)!r}", remedy, share=share)
    return ok("copies", text, share=share)


def tokenisation(train: TestSet, tests: Sequence[TestSet]) -> list[Finding]:
    """Returns the test sets whose punctuation is set apart from words unlike that of the training text."""
    found: list[Finding] = []
    for side in ("source", "target"):
        usual = apart(getattr(train, side))
        for test in tests:
            share = apart(getattr(test, side))
            if usual is None or share is None or abs(usual - share) <= _UNLIKE:
                continue
            kinds = ("tokenised", "raw") if usual > share else ("raw", "tokenised")
            text = (
                f"the {side} of train is {kinds[0]} ({usual:.0%} of its lines have a space before a full stop or comma), "
                f"that of {test.name} is {kinds[1]} ({share:.0%})"
            )
            remedy = "tokenise both alike, or neither"
            found.append(advice("tokenisation", text, remedy, side=side, split=test.name, train=usual, test=share))
    return found or [ok("tokenisation", "train and test sets set punctuation apart alike")]


def rewriting(train: TestSet, normalization: str) -> list[Finding]:
    """Says if the tokenizer rewrites letters of many target lines, so that no translation can equal its reference."""
    share, letters = rewritten(train.target)
    if normalization != "nfkc" or share <= MANY_REWRITTEN:
        return []
    text = f"{share:.0%} of the target lines hold letters that the tokenizer rewrites ({' '.join(letters[:_LETTERS])})"
    remedy = 'set tokenizer.normalization = "identity": references keep these letters, and BLEU counts them'
    return [advice("normalisation", text, remedy, share=share)]


def apart(lines: Sequence[str]) -> float | None:
    """Returns the share of lines with a space before a full stop or comma, of those that have one; None: too few have."""
    spaced = sum(_APART.search(line) is not None for line in lines)
    joined = sum(_APART.search(line) is None and _TOGETHER.search(line) is not None for line in lines)
    return spaced / (spaced + joined) if spaced + joined >= _ENOUGH else None


def _is_mojibake(word: str) -> bool:
    try:
        return not word.isascii() and len(word.encode("cp1252").decode("utf-8")) < len(word)
    except UnicodeError:
        return False
