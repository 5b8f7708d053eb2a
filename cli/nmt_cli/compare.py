"""`nmt compare`: several models on the same test sets, as a table, example sentences and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nmt.config.paths import real_path
from nmt.corpus.lines import read_lines
from nmt.errors import ConfigError
from nmt.runtime.stages import stage
from nmt_cli.compared import corpus_of, print_systems, print_testsets
from nmt_cli.console import note
from nmt_cli.evaluate import LowercaseOption, MetricOption, TestsetOption, TokenizeOption
from nmt_cli.opening import open_translator
from nmt_cli.options import BeamOption, DeviceOption
from nmt_cli.testsets import choose_testsets, in_case, names_apart

if TYPE_CHECKING:
    from nmt.config.recipe import Recipe
    from nmt.corpus.testset import TestSet
    from nmt.scoring.evaluation import Evaluation
    from nmt.scoring.metrics import MetricName
    from nmt.scoring.significance import Difference, TestName
    from nmt.translation.translator import Translator


def compare(
    systems: Annotated[
        list[Path],
        typer.Argument(
            metavar="SYSTEM...",
            help="Bundles, run folders or files of translations (then of one test set); the first is the baseline.",
            show_default=False,
        ),
    ],
    testset: TestsetOption = None,
    test: Annotated[
        str, typer.Option("--test", help="bs: paired bootstrap, ar: approximate randomisation (stricter), none.")
    ] = "bs",
    plot: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Draw BLEU against source length (last test set) into this file."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write all figures and translations as JSON.")
    ] = None,
    lowercase: LowercaseOption = False,
    tokenize: TokenizeOption = None,
    metric: MetricOption = None,
    beam: BeamOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Compare systems: scores with intervals, paired tests against the first, by length, and sentences side by side."""
    from nmt.runtime.atomic import write_json
    from nmt.runtime.device import set_threads
    from nmt.scoring.metrics import EVERY_METRIC, parse_metrics

    if test not in ("bs", "ar", "none"):
        raise ConfigError(f"--test must be bs, ar or none, got {test}")
    metrics = sorted(parse_metrics(metric or EVERY_METRIC), key=EVERY_METRIC.index)
    _check_outputs(plot, save, [*systems, *(Path(side) for name in testset or [] for side in name.split(":", 1))])
    if beam and all(path.is_file() for path in systems):
        raise ConfigError("--beam is for translating; these files are translated already")
    set_threads()
    opened = _opened(systems, device, beam)
    translators = {name: system for name, system in opened.items() if not isinstance(system, list)}
    recipe = _first_recipe(translators)
    testsets = choose_testsets(recipe, testset or [], tokenize)
    opened = {name: in_case(item, recipe) if isinstance(item, list) else item for name, item in opened.items()}
    if len(testsets) != 1 and len(translators) < len(opened):
        raise ConfigError(
            "files of translations belong to one test set: name it with --testset SOURCE:REFERENCE or NAME"
        )
    results = _evaluate(opened, testsets, lowercase, metrics)
    labels = _labels(list(opened))
    labelled = {labels[name]: found for name, found in results.items()}
    tests = _paired_tests(testsets, labelled, test, metrics)
    try:
        if plot:
            _plot(plot, testsets[-1].name, list(translators.values()), labelled)
        if save:
            write_json(save, _as_json(translators, results, tests))
            note(f"figures: {save}")
    finally:  # show results even if they cannot be saved
        print_systems({labels[name]: translator for name, translator in translators.items()})
        print_testsets(testsets, labelled, tests, test)


def _opened(systems: Sequence[Path], device: str, beam: int | None) -> dict[str, Translator | list[str]]:
    """Opens models, or reads lines of files, by name of the system."""
    from nmt.runtime.device import choose_device

    choose_device(device)
    return {
        name: read_lines(path) if path.is_file() else open_translator(path, device, False, {"beam": beam})
        for name, path in _names(systems).items()
    }


def _first_recipe(translators: Mapping[str, Translator]) -> Recipe | None:
    """Returns the recipe of the first model, whose corpus and case apply to all."""
    recipes = [translator.recipe for translator in translators.values()]
    if len({recipe.data.lowercase for recipe in recipes}) > 1:
        note(
            "warning: some systems lower-case text (data.lowercase) and some do not: all are scored as the first model is"
        )
    return recipes[0] if recipes else None


def _check_outputs(plot: Path | None, save: Path | None, inputs: Sequence[Path]) -> None:
    """Refuses outputs that could not be written after the work, are one file, or would overwrite an input."""
    from nmt.runtime.files import check_output, refuse_overwriting

    if plot:
        from nmt.report.pictures import picture_format

        picture_format(plot)
        if save and real_path(plot) == real_path(save):
            raise ConfigError(f"{plot}: is named by --plot and by --save")
    for path in filter(None, (plot, save)):
        refuse_overwriting(path, inputs)
        check_output(path)


def _names(paths: Sequence[Path]) -> dict[str, Path]:
    """Names each system by its file or folder, with enough parent folders to tell all apart.

    Raises:
        ConfigError: a path does not exist, or is given twice.
    """
    if missing := next((path for path in paths if not path.exists()), None):
        raise ConfigError(f"{missing}: no such file or folder; SYSTEM is a bundle, a run folder or translations")
    if len({real_path(path) for path in paths}) < len(paths):
        raise ConfigError("a system is compared with itself: name each once")
    return dict(zip(names_apart(paths, "/"), paths, strict=True))


def _evaluate(
    systems: Mapping[str, Translator | list[str]],
    testsets: Sequence[TestSet],
    lowercase: bool,
    metrics: Sequence[MetricName],
) -> dict[str, list[Evaluation]]:
    """Evaluates each system on each test set."""
    from nmt.translation.evaluation import evaluate

    results: dict[str, list[Evaluation]] = {}
    for name, system in systems.items():
        if not isinstance(system, list):
            note(f"translating with {name}")
        with stage(name):
            results[name] = [evaluate(system, item, lowercase, metrics=metrics) for item in testsets]
        for line in system.report.summary() if not isinstance(system, list) else ():
            note(f"{name}: {line}")
    return results


def _labels(names: Sequence[str]) -> dict[str, str]:
    """Shortens names by their common first words."""
    parts = [name.split("-") for name in names]
    shared = 0
    while (
        len(names) > 1
        and all(len(words) > shared + 1 for words in parts)
        and len({words[shared] for words in parts}) == 1
    ):
        shared += 1
    return {name: "-".join(words[shared:]) for name, words in zip(names, parts, strict=True)}


def _paired_tests(
    testsets: Sequence[TestSet],
    results: Mapping[str, Sequence[Evaluation]],
    test: str,
    metrics: Sequence[MetricName],
) -> dict[str, list[Difference]]:
    """Tests each system against the first on each test set; empty if no test is wanted or there is one system."""
    from nmt.scoring.significance import paired_test

    tests: dict[str, list[Difference]] = {}
    if test == "none" or len(results) == 1:
        return tests
    kind: TestName = "ar" if test == "ar" else "bs"
    for index, item in enumerate(testsets):
        hypotheses = {name: evaluations[index].hypotheses for name, evaluations in results.items()}
        with stage(item.name):
            tests[item.name] = paired_test(
                hypotheses, item.target, kind, item.tokenize, lowercase=item.lowercase, metrics=metrics
            )
    return tests


def _plot(
    path: Path, testset: str, translators: Sequence[Translator], results: Mapping[str, Sequence[Evaluation]]
) -> None:
    from nmt.report.length_plot import plot_by_length

    corpus = corpus_of(translators[0]) if translators else "translations"
    longest = next((translator.card.get("longest_source_words") for translator in translators), None)
    buckets = {name: found[-1].buckets for name, found in results.items()}
    plot_by_length(path, f"{corpus}, {testset}: BLEU by source length", buckets, longest)
    note(f"plot: {path}")


def _as_json(
    translators: Mapping[str, Translator],
    results: Mapping[str, Sequence[Evaluation]],
    tests: Mapping[str, Sequence[Difference]],
) -> dict[str, Any]:
    systems: dict[str, Any] = {
        name: {
            "card": translators[name].card if name in translators else {},
            "evaluations": [result.as_dict() for result in found],
            "translations": {result.testset.name: result.hypotheses for result in found},
        }
        for name, found in results.items()
    }
    paired = {name: [asdict(item) for item in differences] for name, differences in tests.items()}
    return {**systems, "paired_tests": paired} if paired else systems
