"""Audits and holds out of pairs in memory, as one shard, as `nmt prepare` does with many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nmt.corpus.testset import TestSet
from nmt_data.audit import Audited, Auditor, Found, Leak, Pair, Suspect, Text, leaks
from nmt_data.cards import CorpusCard
from nmt_data.shards import packed, unpacked
from nmt_data.splits import Chooser, hold_out


def audit(trains: Sequence[Text], testsets: Mapping[str, Sequence[Text]]) -> list[Leak]:
    """What the training pairs of all corpora hold of each test set."""
    exact, normalised = Found(), Found()
    for train in trains:
        audited = _audited(train, [text for texts in testsets.values() for text in texts])
        exact.add(audited.exact)
        normalised.add(audited.normalised)
    return leaks(testsets, exact, normalised)


def without_leaks(train: Text, testsets: Sequence[Text]) -> list[Pair]:
    """The training pairs without a side in a test set."""
    audited = _audited(train, testsets)
    kept = ~(audited.beside_held_out | audited.leaked)
    return list(zip(*unpacked(suspect(train).shard, kept), strict=True))


def held_out(train: Text, card: CorpusCard) -> list[TestSet]:
    """What the card holds out of these pairs."""
    candidates = Chooser(card.holdout.total)((0, suspect(train)))
    return hold_out(candidates, card, len(train.pairs))[0]


def suspect(text: Text) -> Suspect:
    """The pairs as a shard of which all rows are left."""
    source, target = zip(*text.pairs, strict=True)
    return Suspect(packed(source, target, 0, None), np.ones(len(source), bool), (text.source, text.target))


def _audited(train: Text, testsets: Sequence[Text]) -> Audited:
    return Auditor([], testsets, drop_leaked=True)(suspect(train))
