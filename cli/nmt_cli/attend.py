"""`nmt attend`: attention of a model as pictures, blocks or links, and scores of these links."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nmt.corpus.lines import clean_line, read_lines
from nmt.errors import ConfigError, DataError
from nmt.runtime.stages import counted
from nmt_cli.console import note, print_table, print_text
from nmt_cli.heat_maps import HeatMaps
from nmt_cli.opening import open_translator
from nmt_cli.options import DeviceOption, LatestOption, ModelArgument, ToOption
from nmt_cli.text_files import chunks, decoded_lines, reading

if TYPE_CHECKING:
    from nmt.translation.attention import Attention, Way
    from nmt.translation.translator import Translator

Pair = tuple[str, str | None]


def attend(
    model: ModelArgument,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Source text. Default: standard input.", show_default=False)
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option("--target", help="Look at these translations instead of the model's own.", show_default=False),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option("--pairs", help="Lines `source ||| target` instead of FILE and --target.", show_default=False),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Layer, from 1. Default: the one that aligns best.", show_default=False)
    ] = None,
    head: Annotated[
        int | None, typer.Option(help="Head, from 1. Default: the mean of all.", show_default=False)
    ] = None,
    shifted: Annotated[
        bool, typer.Option("--shifted", help="Of the step after a word instead of that which predicts it.")
    ] = False,
    output: Annotated[
        str, typer.Option("--format", help="blocks, pharaoh (links from 0), json, or entropy (bits by layer and head).")
    ] = "blocks",
    plot: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Folder for a heat map of each line, as PNG and SVG.", show_default=False),
    ] = None,
    gold: Annotated[
        Path | None,
        typer.Option(help="Links of the pairs (1-2 sure, 1p2 possible): prints error rates.", show_default=False),
    ] = None,
    reverse: Annotated[
        Path | None,
        typer.Option("--reverse", help="Model of the other direction, to join both by grow-diag.", show_default=False),
    ] = None,
    to: ToOption = None,
    latest: LatestOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Show what a model attends to: heat maps, word links, entropy, and alignment error rate against gold links."""
    from nmt.runtime.device import set_threads
    from nmt.translation.result import Options

    _check_use(output, plot, gold, reverse, shifted, layer is not None or head is not None)
    _check(output, plot, gold is not None and pairs is None and target is None)
    set_threads()
    translator = open_translator(model, device, latest, {}, options=Options(target_language=to))
    lines = _read(file, target, pairs)
    if gold:
        other = open_translator(reverse, device, latest, {}) if reverse else None
        _print_error_rates(translator, other, list(lines), gold, layer, head, output == "json")
        return
    _show(translator, lines, output, plot, layer, head, shifted)


def _check(output: str, plot: Path | None, bare_gold: bool) -> None:
    """Refuses impossible requests before the model is read."""
    from nmt.runtime.files import check_output

    if output not in ("blocks", "pharaoh", "json", "entropy"):
        raise ConfigError(f"--format must be blocks, pharaoh, json or entropy, got {output}")
    if bare_gold:
        raise ConfigError("--gold needs the sentences that were linked: --pairs FILE, or FILE and --target FILE")
    if plot is not None:
        plot.mkdir(parents=True, exist_ok=True)
        check_output(plot, folder=True)


def _check_use(
    output: str, plot: Path | None, gold: Path | None, reverse: Path | None, shifted: bool, chosen: bool
) -> None:
    """Refuses options that would do nothing."""
    if reverse and not gold:
        raise ConfigError("--reverse is for --gold")
    if gold and (plot or shifted or output not in ("blocks", "json")):
        raise ConfigError(
            "--gold prints error rates, also of the step after a word: leave --plot, --shifted and --format out"
        )
    if output == "entropy" and chosen:
        raise ConfigError("--format entropy tells of all layers and heads: leave --layer and --head out")


def _read(file: Path | None, target: Path | None, pairs: Path | None) -> Iterator[Pair]:
    """Yields sources with their targets, or None where no targets are given."""
    from nmt.corpus.testset import TestSet

    if pairs is not None:
        if file is not None or target is not None:
            raise ConfigError("--pairs holds both sides: leave FILE and --target out")
        for number, line in enumerate(read_lines(pairs), 1):
            sides = re.split(r"(?:^|\s)\|\|\|(?:\s|$)", line, maxsplit=1)  # a side may be empty
            if len(sides) < 2:
                raise DataError(f"{pairs}, line {number}: no ` ||| ` between source and target")
            yield sides[0].strip(), sides[1].strip()
    elif target is not None:
        if file is None:
            raise ConfigError("--target needs FILE, the sources")
        pair = TestSet.read("attend", file, target)
        yield from zip(pair.source, pair.target, strict=True)
    else:
        yield from ((line, None) for line in _lines(file))


def _lines(file: Path | None) -> Iterator[str]:
    """Yields lines of a file or standard input, decoded as `nmt translate` does."""
    replaced = 0
    with reading(file) as stream:
        for chunk in chunks(stream):
            texts, bad = decoded_lines(chunk)
            replaced += bad
            yield from map(clean_line, texts)
    if replaced:
        note(f"nmt: {replaced} lines held bytes that are not UTF-8; they were replaced")


def _show(
    translator: Translator,
    lines: Iterator[Pair] | Sequence[Pair],
    output: str,
    plot: Path | None,
    layer: int | None,
    head: int | None,
    shifted: bool,
) -> None:
    from nmt.report.heat_map import blocks
    from nmt.translation.alignment import pharaoh
    from nmt.translation.attention import END, attend

    maps = HeatMaps(plot, translator.recipe.name, layer, head, shifted) if plot else None
    for number, (source, target) in enumerate(counted(lines, "looking at attention"), 1):
        if not source.split() or (target is not None and not target.split()):
            print_text("")  # keeps the number of lines or pictures
            continue
        try:
            seen = attend(translator, source, target)
        except DataError as error:  # the model's own translation may be empty
            note(f"line {number}: {error}")
            print_text("")
            continue
        weights = seen.chosen(layer, head, shifted)
        ends = [] if shifted else [END]
        columns, rows = [*seen.source, *ends], [*seen.target, *ends]
        if output == "pharaoh":
            print_text(pharaoh(seen.links(layer, head, shifted)))
        elif output == "json":
            print_text(json.dumps(_as_json(seen, layer, head, shifted), ensure_ascii=False))
        elif output == "entropy":
            print_text(_entropy(seen))
        else:
            print_text(blocks(columns, rows, weights) + "\n")
        if maps:
            maps.draw(number, seen)
    if maps:
        maps.tell()
    for line in translator.report.summary():
        note(f"nmt: {line}")


def _as_json(seen: Attention, layer: int | None, head: int | None, shifted: bool) -> dict[str, object]:
    return {
        "source": seen.source,
        "target": seen.target,
        "weights": [[round(value, 4) for value in row] for row in seen.chosen(layer, head, shifted).tolist()],
        "links": sorted(seen.links(layer, head, shifted)),
        "entropy": [[round(value, 3) for value in row] for row in seen.entropy.tolist()],
    }


def _entropy(seen: Attention) -> str:
    """Formats one row per layer and one column per head."""
    return "\n".join("\t".join(f"{value:.2f}" for value in row) for row in seen.entropy.tolist()) + "\n"


def _print_error_rates(
    translator: Translator,
    other: Translator | None,
    lines: Sequence[Pair],
    path: Path,
    layer: int | None,
    head: int | None,
    as_json: bool,
) -> None:
    """Prints one row per layer, or the chosen one, for predicted and fed words, after a diagonal baseline."""
    from nmt.translation.alignment import check_links, diagonal, grow_diagonal, read_gold, score_links

    gold = read_gold(read_lines(path), str(path))
    if not lines:
        raise DataError("there are no sentence pairs to align")
    if len(gold) != len(lines):
        raise DataError(f"{len(lines)} sentence pairs but {len(gold)} lines of links in {path}")
    for number, (item, (source, target)) in enumerate(zip(gold, lines, strict=True), 1):
        check_links(item, len(source.split()), len((target or "").split()), f"{path}, line {number}")
    seen = [
        _attend(translator, source, target or "", number)
        for number, (source, target) in enumerate(counted(lines, "looking at attention", len(lines), "pairs"), 1)
    ]
    systems = {"diagonal": [diagonal(len(item.source), len(item.target)) for item in seen]}
    turned = [(target or "", source) for source, target in lines if other]
    back = [
        _attend(other, source, target, number)
        for number, (source, target) in enumerate(counted(turned, "the other direction", len(turned), "pairs"), 1)
        if other
    ]
    for shifted in (False, True):
        for place in [layer] if layer is not None else range(1, seen[0].maps.shape[0] + 1):
            where = f"layer {place}, head {head}" if head is not None else f"layer {place}"
            for way, words in _WAYS.items():
                name = f"{where}, {'shifted' if shifted else 'predicting'}, {words}"
                systems[name] = [item.links(place, head, shifted, way) for item in seen]
        if back:
            links = [{(one, two) for two, one in item.links(shifted=shifted)} for item in back]
            both = zip((item.links(shifted=shifted) for item in seen), links, strict=True)
            name = f"both models, {'shifted' if shifted else 'predicting'}, grow-diag"
            systems[name] = [grow_diagonal(one, two) for one, two in both]
    for line in (*translator.report.summary(), *(other.report.summary() if other else ())):
        note(f"nmt: {line}")
    scores = {name: score_links(links, gold) for name, links in systems.items()}
    if as_json:
        shares = [
            {"links": name, **{key: round(100 * part, 2) for key, part in vars(score).items()}}
            for name, score in scores.items()
        ]
        print_text(json.dumps(shares, indent=1))
        return
    print_table(
        f"{translator.recipe.name}: alignment of {len(gold)} sentence pairs",
        ("links", "error rate", "precision", "recall"),
        [[name, *(f"{100 * part:.1f}" for part in vars(score).values())] for name, score in scores.items()],
    )


_WAYS: dict[Way, str] = {"target": "each target word", "source": "each source word", "both": "both, grow-diag"}


def _attend(translator: Translator, source: str, target: str, number: int) -> Attention:
    """Returns the attention of a pair whose words annotators have numbered.

    Raises:
        DataError: a side is empty, or the model splits words differently.
    """
    from nmt.translation.attention import attend

    if not source.split() or not target.split():
        raise DataError(f"pair {number}: a side has no words")
    seen = attend(translator, source, target)
    counts = len(seen.source), len(seen.target)
    if counts != (expected := (len(source.split()), len(target.split()))):
        raise DataError(
            f"pair {number}: the tokenizer makes {counts} words of {expected}; its normalisation splits or joins"
        )
    return seen
