"""`nmt tune-decoding`: finds the best beam and length penalty on the validation set."""

from __future__ import annotations

import json
from itertools import product
from typing import Annotated, Any

import typer

from nmt.corpus.words import count_words
from nmt.errors import ConfigError
from nmt.runtime.stages import stage
from nmt_cli.console import note, print_table, print_text
from nmt_cli.opening import open_translator
from nmt_cli.options import DeviceOption, JsonOption, LatestOption, ModelArgument
from nmt_cli.testsets import choose_testsets


def tune_decoding(
    model: ModelArgument,
    testset: Annotated[str, typer.Option("--testset", "-t", help="Never one that is reported.")] = "valid",
    beams: Annotated[str, typer.Option("--beams", help="Beams to try.")] = "5",
    alphas: Annotated[
        str, typer.Option("--alphas", help="Exponents of the length penalty to try.")
    ] = "0,0.2,0.4,0.6,0.8,1,1.2,1.4",
    sentences: Annotated[
        int | None, typer.Option("--sentences", min=1, help="Use only the first so many.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
    latest: LatestOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Translate the validation set with each beam and length penalty, and print which scores best."""
    from nmt.runtime.device import set_threads
    from nmt.scoring.evaluation import check_testset
    from nmt.scoring.metrics import score

    set_threads()
    tries = list(product(_numbers(beams, int, "--beams"), _numbers(alphas, float, "--alphas")))
    translator = open_translator(model, device, latest, {"beam": tries[0][0], "alpha": tries[0][1]})
    if translator.search.length_penalty == "none":
        note("nmt: search.length_penalty is none, so no alpha is tried")
        tries = [(beam, alpha) for beam, alpha in tries if alpha == tries[0][1]]
    for beam, alpha in tries:  # a wrong value is found before any work
        translator.with_search(beam=beam, alpha=alpha)
    chosen = choose_testsets(translator.recipe, [testset])[0]
    check_testset(chosen := chosen.first(sentences))
    rows: list[dict[str, Any]] = []
    signature = ""
    for beam, alpha in tries:
        with stage(f"beam {beam}, alpha {alpha}"):
            hypotheses = translator.with_search(beam=beam, alpha=alpha).translate(chosen.tagged)
        found = score(
            hypotheses,
            chosen.target,
            tokenize=chosen.tokenize,
            lowercase=chosen.lowercase,
            metrics=("bleu",),
            resamples=1,
        )[0]
        ratio = sum(map(count_words, hypotheses)) / max(sum(map(count_words, chosen.target)), 1)
        signature = found.signature
        rows.append({"beam": beam, "alpha": alpha, "bleu": round(found.value, 2), "length_ratio": round(ratio, 3)})
        note(f"beam {beam}, alpha {alpha}: BLEU {found.value:.2f}")
        for line in translator.report.taken().summary():
            note(f"nmt: {line}")
    best = max(rows, key=lambda row: row["bleu"])
    if as_json:
        print_text(json.dumps({"best": best, "tried": rows, "signature": signature}))
        return
    title = f"{chosen.name}, {len(chosen.source)} sentences, length penalty {translator.search.length_penalty}"
    cells = [[str(row[key]) for key in ("beam", "alpha", "bleu", "length_ratio")] for row in rows]
    print_table(title, ["beam", "alpha", "BLEU", "length ratio"], cells)
    print_text(f"  BLEU: {signature}")
    print_text(f"best: --beam {best['beam']} --alpha {best['alpha']} (in a recipe: search.beam, search.alpha)")


def _numbers(text: str, kind: type[int] | type[float], option: str) -> list[Any]:
    try:
        values = [kind(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"{option} must be numbers with commas between them, got {text!r}") from None
    if min(values) < (1 if kind is int else 0):
        raise ConfigError(f"{option} must be {'1 or more' if kind is int else '0 or more'}, got {text!r}")
    return values
