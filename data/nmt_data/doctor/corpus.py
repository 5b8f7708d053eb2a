"""The prepared corpus, by its report and its tokens: what was dropped, test sentences in train, unknown and long ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from nmt.config.recipe import Recipe
from nmt.corpus.encoded import Ragged
from nmt.corpus.prepared import Prepared
from nmt.corpus.tokenizer import UNK
from nmt.training.batches import select
from nmt_data.doctor.finding import Finding, advice, ok

_DROPPED = 0.1  # share of the pairs read
_LEAKED = 0.01  # share of a test set; one stock phrase in a hundred does no harm
_UNKNOWN = 0.001  # share of the tokens
_TOO_LONG = 0.02  # share of the pairs
_KEYS = {
    "too long": "raise data.cleaning.max_words, or split long lines",
    "length ratio": "see whether the two files are aligned; data.cleaning.max_ratio decides",
    "empty": "see whether the two files are aligned",
    "identical sides": "see whether the second file is a translation; data.cleaning.drop_identical drops copies",
    "duplicate": "this is as data.cleaning.duplicates asks; a corpus of many copies has less to teach",
    "not UTF-8": "convert the files to UTF-8, with iconv for example",
}


def examine_corpus(recipe: Recipe, prepared: Prepared) -> list[Finding]:
    """Returns the findings on the prepared corpus."""
    report = prepared.report
    return [
        pairs(report),
        *dropped(report),
        *leaks(report),
        *unknown(recipe, prepared),
        *long_sentences(recipe, prepared),
    ]


def pairs(report: dict[str, Any]) -> Finding:
    """Finds how many pairs are left."""
    train, tests = report["train"], report["testsets"]
    others = ", ".join(f"{name} {count:,}" for name, count in tests.items())
    text = f"{report['corpus']} {report['source']}-{report['target']}: {train['kept']:,} training pairs of"
    return ok("corpus", f"{text} {train['read']:,} read; {others}", kept=train["kept"], read=train["read"], **tests)


def dropped(report: dict[str, Any]) -> Iterator[Finding]:
    """Yields the share of the pairs that cleaning dropped, by reason."""
    train = report["train"]
    for reason, count in train["dropped"].items():
        share = count / max(train["read"], 1)
        text = f"{count:,} of {train['read']:,} pairs ({share:.1%}) are dropped: {reason}"
        if share > _DROPPED:
            yield advice("cleaning", text, _KEYS.get(reason, ""), reason=reason, dropped=count)
        elif count:
            yield ok("cleaning", text, reason=reason, dropped=count)


def leaks(report: dict[str, Any]) -> list[Finding]:
    """Returns the test sets whose pairs stand in the training text."""
    found: list[Finding] = []
    counts = [f"{leak['pairs_normalised']:,} of {leak['testset']}" for leak in report["found_in_train"]]
    for leak in report["found_in_train"]:
        count, total = leak["pairs_normalised"], leak["sentences"]
        if count > _LEAKED * total and not report["leaks_dropped"]:
            text = f"{count:,} of {total:,} pairs of {leak['testset']} stand in train"
            remedy = "its score would be too high: set data.cleaning.drop_leaked = true"
            found.append(advice("leaks", text, remedy, **leak))
    where = "stood in train, and are dropped there" if report["leaks_dropped"] else "stand in train"
    return found or [ok("leaks", f"pairs of test sets that {where}: {', '.join(counts)}")]


def unknown(recipe: Recipe, prepared: Prepared) -> Iterator[Finding]:
    """Yields the share of unknown tokens of each side, in train and in valid."""
    for name, corpus in (("train", prepared.train), ("valid", prepared.valid)):
        for side, ragged in (("source", corpus.source), ("target", corpus.target)):
            count, total = _unknown(ragged), len(ragged.values)
            share = count / max(total, 1)
            text = f"{count:,} of {total:,} {side} tokens of {name} ({share:.2%}) are unknown"
            kind = recipe.tokenizer.kinds[side == "target"]
            if share > _UNKNOWN and kind != "word":
                remedy = "set tokenizer.byte_fallback = true, or raise tokenizer.character_coverage"
                yield advice("unknown", text, remedy, split=name, side=side, unknown=count, tokens=total)
            elif share > 10 * _UNKNOWN:
                remedy = "raise tokenizer.vocabulary, or take tokenizer.kind = 'bpe'"
                yield advice("unknown", text, remedy, split=name, side=side, unknown=count, tokens=total)
            elif count:
                yield ok("unknown", text, split=name, side=side, unknown=count, tokens=total)


def long_sentences(recipe: Recipe, prepared: Prepared) -> Iterator[Finding]:
    """Yields the pairs that training leaves out as too long, in train and in valid."""
    limit = recipe.training.max_length
    for name, corpus in (("train", prepared.train), ("valid", prepared.valid)):
        count, total = select(corpus, limit).too_long, len(corpus)
        share = count / max(total, 1)
        text = f"{count:,} of {total:,} pairs of {name} ({share:.1%}) are above training.max_length = {limit}"
        if share > _TOO_LONG:
            longest = max(int(side.lengths.max()) for side in (corpus.source, corpus.target))
            remedy = f"raise it (the longest has {longest:,} tokens), or split long lines"
            yield advice("length", text, remedy, split=name, too_long=count, pairs=total, longest=longest)
        elif count:
            yield ok("length", text, split=name, too_long=count, pairs=total)


def _unknown(ragged: Ragged) -> int:
    return int(np.count_nonzero(ragged.values == UNK))
