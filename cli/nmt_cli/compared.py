"""Tables of what `nmt compare` found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nmt_cli.console import print_table, print_text
from nmt_cli.evaluate import bucket_name

if TYPE_CHECKING:
    from nmt.corpus.testset import TestSet
    from nmt.scoring.evaluation import Evaluation
    from nmt.scoring.significance import Difference
    from nmt.translation.translator import Translator

_EXAMPLES = 4


def print_testsets(
    testsets: Sequence[TestSet],
    results: Mapping[str, Sequence[Evaluation]],
    tests: Mapping[str, Sequence[Difference]],
    test: str,
) -> None:
    """Prints scores, paired tests and examples of each test set."""
    for index, item in enumerate(testsets):
        found = {name: evaluations[index] for name, evaluations in results.items()}
        _print_testset(item, found)
        if item.name in tests:
            print_test(tests[item.name], test)
        print_examples(item, found)


def print_systems(translators: Mapping[str, Translator]) -> None:
    """How large each model is, and how it was trained."""
    if not translators:
        return
    rows: list[list[str]] = []
    for name, translator in translators.items():
        card = translator.card
        training = [f"{card[key]:,.0f}" if key in card else "-" for key in ("updates", "seconds", "tokens_per_second")]
        rows.append([name, f"{translator.parameter_count:,}", *training])
    heads = ["system", "parameters", "updates", "seconds", "train tok/s"]
    print_table(corpus_of(next(iter(translators.values()))), heads, rows)


def corpus_of(translator: Translator) -> str:
    """Describes the training corpus; a synthetic one is marked."""
    data = translator.recipe.data
    return f"{data.corpus} {data.source}-{data.target}{' (synthetic)' if translator.card.get('synthetic') else ''}"


def _print_testset(testset: TestSet, results: Mapping[str, Evaluation]) -> None:
    from nmt.scoring.metrics import title_of

    first = next(iter(results.values()))
    heads = [
        "BLEU lower-cased" if "lc" in score.signature and score.metric == "bleu" else title_of(score.metric)
        for score in first.scores
    ]
    rows = [
        [name, *(f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]" for score in result.scores)]
        for name, result in results.items()
    ]
    print_table(
        f"{testset.name}: {len(testset.source):,} sentences, 95 % bootstrap intervals", ["system", *heads], rows
    )
    for head, score in zip(heads, first.scores, strict=True):
        print_text(f"  {head}: {score.signature}")
    print_text()
    if len(results) > 1:
        _print_lengths(results)


def _print_lengths(results: Mapping[str, Evaluation]) -> None:
    """Prints BLEU by source length, one column per system."""
    first = next(iter(results.values()))
    rows = [
        [
            bucket_name(bucket),
            str(bucket.sentences),
            *(f"{result.buckets[index].score.value:.1f}" for result in results.values()),
        ]
        for index, bucket in enumerate(first.buckets)
    ]
    print_table("BLEU by source length in words", ["words", "sentences", *results], rows)


def print_test(differences: Sequence[Difference], test: str) -> None:
    """Prints each system against the first, with the p-value."""
    from nmt.scoring.metrics import title_of
    from nmt.scoring.significance import FEWEST

    rows = [
        [
            item.system,
            title_of(item.metric),
            f"{item.score:.2f}",
            *(["", ""] if item.p_value is None else [f"{item.difference:+.2f}", f"{item.p_value:.4f}"]),
            _verdict(item),
        ]
        for item in differences
    ]
    names = {"bs": "paired bootstrap resampling", "ar": "paired approximate randomisation"}
    heads = ["system", "metric", "score", "difference", "p", ""]
    print_table(f"{names[test]} against {differences[0].system}", heads, rows)
    for signature in dict.fromkeys(f"{title_of(item.metric)}: {item.signature}" for item in differences):
        print_text(f"  {signature}")
    if any(item.p_value is not None and not item.equal and item.differing < FEWEST for item in differences):
        print_text(f"  Where fewer than {FEWEST} lines differ, that could be chance whatever p is.")
    print_text()


def _verdict(item: Difference) -> str:
    """Returns the result of the test in words."""
    if item.p_value is None:
        return "baseline"
    if item.equal:
        return "equal"
    return "significant" if item.significant else "could be chance"


def print_examples(testset: TestSet, results: Mapping[str, Evaluation]) -> None:
    """Prints a few sentences side by side, from short to long; for two systems also the largest differences by chrF2."""
    from nmt.scoring.significance import largest_differences

    _print_rows("", testset.spread(_EXAMPLES), testset, results)
    if len(results) == 2:
        (one, first), (two, second) = results.items()
        both = second.hypotheses, first.hypotheses
        wins, losses = largest_differences(*both, testset.target, _EXAMPLES, testset.lowercase)
        _print_rows(f"{two} is better than {one} by most", wins, testset, results)
        _print_rows(f"{two} is worse than {one} by most", losses, testset, results)


def _print_rows(title: str, rows: Sequence[int], testset: TestSet, results: Mapping[str, Evaluation]) -> None:
    width = max(len("reference"), *(len(name) for name in results))
    if title and rows:
        print_text(f"{title}\n")
    for row in rows:
        lines = {"source": testset.source[row], "reference": testset.target[row]}
        lines |= {name: result.hypotheses[row] for name, result in results.items()}
        for name, line in lines.items():
            print_text(f"  {name:<{width}}  {line}")
        print_text()
