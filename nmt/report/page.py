"""A self-contained HTML page about one or several runs: no network, light and dark, readable on a phone."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

from nmt import __version__
from nmt.corpus.words import join_words, split_words
from nmt.report.figures import curves
from nmt.report.material import AttentionMap, Example, RunMaterial
from nmt.report.pictures import FEWEST
from nmt.scoring.metrics import title_of


def render(runs: Sequence[RunMaterial]) -> str:
    """Returns the page as text. Everything from a corpus, a recipe or a model is escaped."""
    title = " · ".join(run.name for run in runs)
    body = [
        f"<header><h1>{escape(title)}</h1><p>{escape(_subtitle(runs))}</p></header>",
        _section("Scores", _scores(runs)),
        _section("Training", _training(runs)),
        _section("BLEU by source length", _lengths(runs)),
        *(_section(f"Translations: {run.name}", _examples(run.examples)) for run in runs),
        *(_section(f"Attention: {run.name}", _attention(run.attention)) for run in runs if run.attention),
        _section("Data", _data(runs)),
        *(_section(f"Provenance: {run.name}", _provenance(run)) for run in runs),
        f"<footer>nmt {escape(__version__)}</footer>",
    ]
    here = files("nmt.report")
    style, script = (here.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n'
        + "\n".join(body)
        + f"\n<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _subtitle(runs: Sequence[RunMaterial]) -> str:
    data = runs[0].data
    synthetic = ", synthetic" if data.get("synthetic") else ""
    return (
        f"{data['corpus']}{synthetic}, {data['source']} to {data['target']}, {data['train']['kept']:,} training pairs"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{content}</section>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Formats a table of text cells; if wider than the screen, it scrolls by itself."""
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = ("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>\n'


def _scores(runs: Sequence[RunMaterial]) -> str:
    head = ["run", "family", "parameters", "trained for", "target tokens", "tokens/s", "device"]
    rows = [
        [
            run.name,
            run.family,
            _number(run.card.get("parameters")),
            _minutes(run.card.get("seconds")),
            _number(run.card.get("target_tokens")),
            _number(run.card.get("tokens_per_second")),
            str(run.card.get("device", "-")),
        ]
        for run in runs
    ]
    parts = [_table(head, rows)]
    for index, evaluation in enumerate(runs[0].evaluations):
        found = [(run.name, run.evaluations[index]) for run in runs]
        scores = [
            [
                name,
                *(f"{score.value:.1f} [{score.low:.1f}, {score.high:.1f}]" for score in item.scores),
                f"{item.seconds:.1f} s",
            ]
            for name, item in found
        ]
        title = f"{evaluation.testset.name}, {len(evaluation.hypotheses):,} sentences, 95 % bootstrap intervals"
        signatures = "<br>".join(escape(f"{title_of(score.metric)}: {score.signature}") for score in evaluation.scores)
        head = ["run", *(title_of(score.metric) for score in evaluation.scores), "translated in"]
        parts.append(f"<h3>{escape(title)}</h3>{_table(head, scores)}<p class='fine'>{signatures}</p>")
    return "".join(parts)


def _training(runs: Sequence[RunMaterial]) -> str:
    wanted = [
        ("train", "loss", "training loss per token"),
        ("validation", "loss", "validation loss per token"),
        ("validation", "bleu", "validation BLEU (greedy)"),
        ("train", "learning_rate", "learning rate"),
    ]
    figures: list[str] = []
    for kind, key, label in wanted:
        series = {
            run.name: [(entry["step"], entry[key]) for entry in run.log if entry["kind"] == kind and key in entry]
            for run in runs
        }
        figures.append(f"<figure>{curves(series, 'updates', label)}<figcaption>{escape(label)}</figcaption></figure>")
    why = "Label smoothing and dropout count in training loss alone, so it may lie above validation loss."
    return f'<div class="figures">{"".join(figures)}</div><p class="fine">{why}</p>'


def _lengths(runs: Sequence[RunMaterial]) -> str:
    figures: list[str] = []
    for index, evaluation in enumerate(runs[0].evaluations):
        series = {
            run.name: [
                (bucket.centre, bucket.bleu.value)
                for bucket in run.evaluations[index].buckets
                if bucket.sentences >= FEWEST
            ]
            for run in runs
        }
        name = escape(evaluation.testset.name)
        chart = curves(series, "source length in words", "BLEU", dots=True)
        figures.append(f"<figure>{chart}<figcaption>{name}; buckets of ten sentences or more</figcaption></figure>")
    return f'<div class="figures">{"".join(figures)}</div>'


def _examples(examples: Sequence[Example]) -> str:
    blocks: list[str] = []
    for example in examples:
        reference, hypothesis = _marked(example.reference, example.hypothesis)
        blocks.append(
            f"<dl><dt>source</dt><dd>{escape(example.source)}</dd><dt>reference</dt><dd>{reference}</dd>"
            f"<dt>translation</dt><dd>{hypothesis}</dd></dl>"
        )
    note = "<p class='fine'>Underlined: words of the translation that the reference lacks. Struck out: the reverse.</p>"
    return note + "".join(blocks)


def _marked(reference: str, hypothesis: str) -> tuple[str, str]:
    """Returns both sides as HTML, with differing words marked."""
    left, right = split_words(reference), split_words(hypothesis)
    sides: tuple[list[str], list[str]] = ([], [])
    for kind, start, end, other_start, other_end in difflib.SequenceMatcher(None, left, right, False).get_opcodes():
        for side, words, tag in ((0, left[start:end], "del"), (1, right[other_start:other_end], "ins")):
            text = escape(join_words(words))
            if text:
                sides[side].append(text if kind == "equal" else f"<{tag}>{text}</{tag}>")
    return " ".join(sides[0]), " ".join(sides[1])


def _attention(maps: Sequence[AttentionMap]) -> str:
    note = "<p class='fine'>Point at or tap a piece of the translation: the darker a source piece, the greater its weight.</p>"
    return note + "".join(_attention_map(item) for item in maps)


def _attention_map(item: AttentionMap) -> str:
    source = "".join(f'<span class="piece">{escape(piece)}</span>' for piece in item.source)
    target = "".join(
        f'<button class="piece" data-row="{row}">{escape(piece)}</button>' for row, piece in enumerate(item.target)
    )
    weights = escape(json.dumps(item.weights), quote=True)
    return (
        f'<div class="attention" data-weights="{weights}"><div class="line">{source}</div>'
        f'<div class="line target">{target}</div>{f"<figure>{item.line}</figure>" if item.line else ""}</div>'
    )


def _data(runs: Sequence[RunMaterial]) -> str:
    data = runs[0].data
    dropped = ", ".join(f"{count:,} for {reason}" for reason, count in data["train"]["dropped"].items() if count)
    text = f"{data['train']['read']:,} pairs read, {data['train']['kept']:,} kept"
    if mono := data.get("mono"):
        text += f"; {mono['read']:,} lines of text without translations read, {mono['kept']:,} kept"
    rows = [
        [
            leak["testset"],
            f"{leak['sentences']:,}",
            *(str(leak[f"{what}_{how}"]) for what in ("pairs", "source", "target") for how in ("exact", "normalised")),
        ]
        for leak in data["found_in_train"]
    ]
    head = ["test set", "sentences", "pairs", "normalised", "source", "normalised", "target", "normalised"]
    found = sum(leak["pairs_normalised"] for leak in data["found_in_train"] if leak["testset"] != "valid")
    verdict = (
        f"<p class='alarm'>{found} pairs of the test sets stand in the training data"
        + (
            ", and were dropped from it.</p>"
            if data.get("leaks_dropped")
            else ": the scores above profit from that.</p>"
        )
        if found
        else "<p>No pair of a test set stands in the training data.</p>"
    )
    kept = f"<p>{escape(text)}{escape('; dropped: ' + dropped if dropped else '')}. Licence: {escape(data['licence'])}.</p>"
    return (
        kept
        + dropped_pairs(data["train"].get("examples", {}))
        + verdict
        + "<h3>Test sentences found in train</h3>"
        + _table(head, rows)
    )


def dropped_pairs(examples: Mapping[str, Sequence[Sequence[str]]]) -> str:
    """Some of the dropped pairs, folded away."""
    rows = [[reason, *pair] for reason, pairs in examples.items() for pair in pairs]
    if not rows:
        return ""
    return (
        f"<details><summary>examples of dropped pairs</summary>{_table(['reason', 'source', 'target'], rows)}</details>"
    )


def _provenance(run: RunMaterial) -> str:
    card = json.dumps(run.card, indent=1, ensure_ascii=False)
    return (
        f"<details><summary>card</summary><pre>{escape(card)}</pre></details>"
        f"<details><summary>recipe</summary><pre>{escape(run.recipe)}</pre></details>"
    )


def _number(value: Any) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else "-"


def _minutes(seconds: Any) -> str:
    return f"{seconds / 60:,.1f} min" if isinstance(seconds, (int, float)) else "-"
