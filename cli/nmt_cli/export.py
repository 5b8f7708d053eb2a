"""`nmt export`: writes a trained model for another engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nmt.corpus.lines import read_lines
from nmt.errors import ConfigError, DataError, NmtError
from nmt_cli.console import note, print_text
from nmt_cli.options import LatestOption, ModelArgument
from nmt_cli.testsets import choose_testsets

if TYPE_CHECKING:
    from nmt.export.agreement import Agreement
    from nmt.storage.bundle import LoadedModel


def export(
    model: ModelArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder or file to write; must not exist.", show_default=False)
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to", help="ctranslate2, argos (an .argosmodel for LibreTranslate), or huggingface (a MarianMTModel)."
        ),
    ] = "ctranslate2",
    quantization: Annotated[
        str | None, typer.Option(help="int8, bfloat16, float16 ... Default: float32.", show_default=False)
    ] = None,
    verify: Annotated[
        int,
        typer.Option(
            "--verify", min=0, metavar="N", help="Decode N sentences with both engines and refuse a mismatch."
        ),
    ] = 0,
    text: Annotated[
        Path | None, typer.Option(help="Sentences for --verify. Default: the corpus's first test set.")
    ] = None,
    latest: LatestOption = False,
) -> None:
    """Write a model for another engine, with its vocabulary and tokenizer."""
    from nmt.export.argos import export_argos
    from nmt.export.ctranslate2 import compare_engines, export_ctranslate2
    from nmt.export.huggingface import compare_with_marian, export_huggingface
    from nmt.runtime.files import check_output
    from nmt.storage.bundle import load_model

    if to not in ("ctranslate2", "argos", "huggingface"):
        raise ConfigError(f"--to must be ctranslate2, argos or huggingface, got {to}")
    if quantization and to == "huggingface":
        raise ConfigError("--quantization is for --to ctranslate2 and argos")
    if text and not verify:
        raise ConfigError("--text is for --verify")
    if output.exists():
        raise ConfigError(f"{output}: is there already; name a new one")
    check_output(output, folder=to != "argos")
    loaded = load_model(model, latest)
    if verify:
        lines = _lines(loaded, verify, text)
        _judge(compare_with_marian(loaded, lines) if to == "huggingface" else compare_engines(loaded, lines))
    if to == "ctranslate2":
        export_ctranslate2(loaded, output, quantization)
    elif to == "argos":
        export_argos(loaded, output, quantization)
    else:
        export_huggingface(loaded, output)
    note(f"nmt: {output} written")


def _lines(loaded: LoadedModel, count: int, text: Path | None) -> list[str]:
    """Returns the sentences that both engines decode.

    Raises:
        DataError: there are none.
    """
    lines = read_lines(text) if text else choose_testsets(loaded.recipe, [])[0].tagged
    filled = [line for line in lines if line.strip()][:count]
    if not filled:
        raise DataError(f"--verify: {text or 'the test set'} holds no sentence to compare the engines on")
    return filled


def _judge(result: Agreement) -> None:
    """Prints how well both engines agree in float32, and refuses a mismatch."""
    print_text(
        f"{result.sentences} sentences: {result.identical} with the same tokens, "
        f"largest difference of log-probability {result.largest_difference:.2e}"
        + (f"; {result.cut} more ran into a length limit" if result.cut else "")
    )
    if not result.sentences:
        raise NmtError("no sentence could be compared to its end; nothing was written")
    if result.largest_difference > 1e-3 or result.identical < 0.99 * result.sentences:
        raise NmtError("the engines do not agree; nothing was written")
