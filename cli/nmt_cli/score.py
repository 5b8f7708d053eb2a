"""`nmt score`: log-probabilities of given translations, by forced decoding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from nmt_cli.console import note, print_text
from nmt_cli.opening import open_translator
from nmt_cli.options import BatchSizeOption, DeviceOption, JsonOption, LatestOption, ModelArgument, ToOption


def score(
    model: ModelArgument,
    source: Annotated[Path, typer.Argument(help="Source text, one segment a line.", show_default=False)],
    target: Annotated[Path, typer.Argument(help="Translations to score, one a line.", show_default=False)],
    batch_size: BatchSizeOption = None,
    as_json: JsonOption = False,
    to: ToOption = None,
    latest: LatestOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Print the log-probability of each translation (natural logarithm, end of sentence counted), total and per token."""
    from nmt.corpus.testset import TestSet
    from nmt.runtime.device import set_threads
    from nmt.translation.result import Options

    set_threads()
    pair = TestSet.read("score", source, target)
    translator = open_translator(model, device, latest, {}, batch_size=batch_size, options=Options(target_language=to))
    scores = translator.score_targets(pair.source, pair.target)
    for item in scores:
        per_token = item.log_probability / item.tokens
        if as_json:
            row = {"log_probability": item.log_probability, "per_token": per_token, "tokens": item.tokens}
            print_text(json.dumps(row))
        else:
            print_text(f"{item.log_probability:.6f}\t{per_token:.6f}")
    total, tokens = sum(item.log_probability for item in scores), sum(item.tokens for item in scores)
    for line in translator.report.summary():
        note(f"nmt: {line}")
    if tokens:
        note(f"{len(scores)} lines, {tokens} tokens, log-probability {total:.3f}, {total / tokens:.4f} per token")
