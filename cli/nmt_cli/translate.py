"""`nmt translate`: files or stdin to stdout; n lines in, n lines out."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from nmt_cli.console import note
from nmt_cli.options import BatchSizeOption, BeamOption, DeviceOption, LatestOption, ModelArgument

if TYPE_CHECKING:
    from nmt.translator import Translation, Translator


def translate(
    model: ModelArgument,
    file: Annotated[
        Path | None, typer.Argument(help="Text to translate, one segment a line. Default: stdin.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write here instead of stdout, in one rename.")
    ] = None,
    beam: BeamOption = None,
    length_penalty: Annotated[
        str | None, typer.Option(help="none, average or gnmt. Default: the recipe's.", show_default=False)
    ] = None,
    alpha: Annotated[float | None, typer.Option(help="Exponent of the length penalty.", show_default=False)] = None,
    n_best: Annotated[
        int, typer.Option("--n-best", min=1, help="Print so many per line: line, score, log-probability, text.")
    ] = 1,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = "auto",
    batch_size: BatchSizeOption = None,
    latest: LatestOption = False,
    device: DeviceOption = "auto",
) -> None:
    """Translate text, line by line."""
    from nmt.device import set_threads

    set_threads()
    search = {"beam": beam, "length_penalty": length_penalty, "alpha": alpha}
    translator = open_translator(model, device, latest, search, precision, batch_size)
    with _reading(file) as source, _writing(output) as sink:
        for number, found in enumerate(translator.translate_stream(decoded_lines(source, translator), n_best)):
            sink.writelines(_formatted(number, item, n_best) for item in found)
    for line in translator.report.summary():
        note(f"nmt: {line}")


def open_translator(
    model: Path,
    device: str,
    latest: bool,
    search: Mapping[str, object],
    precision: str = "auto",
    batch_size: int | None = None,
) -> Translator:
    """A model ready to translate, with the search options that were given."""
    from nmt.checkpoint import load_model
    from nmt.config import parse_search
    from nmt.device import choose_device, choose_precision
    from nmt.errors import ConfigError
    from nmt.translator import Translator

    if precision not in ("auto", "fp32", "bf16"):
        raise ConfigError(f"--precision must be auto, fp32 or bf16, got {precision}")
    loaded, place = load_model(model, latest), choose_device(device)
    # fp32 on CPU is what makes output independent of batch size; bf16 there is a choice.
    arithmetic = "fp32" if precision == "auto" and place.type == "cpu" else choose_precision(precision, place)  # type: ignore[arg-type]
    return Translator(loaded, place, parse_search(loaded.recipe.search, search), arithmetic, batch_size)


def decoded_lines(source: Iterable[bytes], translator: Translator) -> Iterator[str]:
    """Lines of a byte stream as text; bytes that are not UTF-8 are replaced and counted, and the line stays."""
    from nmt.text import split_lines

    replaced = 0
    for line in split_lines(source):
        text = line.decode("utf-8", errors="replace")
        replaced += "\ufffd" in text and b"\xef\xbf\xbd" not in line
        yield text
    if replaced:
        translator.report.notes.append(f"{replaced} lines held bytes that are not UTF-8; those were replaced")


def _formatted(number: int, item: Translation, n_best: int) -> bytes:
    """One line of output; in a list of several per line each says whose it is and how good."""
    if n_best == 1:
        return f"{item.text}\n".encode()
    return f"{number}\t{item.score:.6f}\t{item.log_probability:.6f}\t{item.text}\n".encode()


@contextmanager
def _reading(file: Path | None) -> Generator[IO[bytes]]:
    from nmt.errors import DataError

    if file is None:
        yield sys.stdin.buffer
        return
    try:
        stream = file.open("rb")
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
    with stream:
        yield stream


@contextmanager
def _writing(output: Path | None) -> Generator[IO[bytes]]:
    """Stdout, or a file that appears whole when the last line is written."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from nmt.files import explain_full_disk

    draft = output.with_name(output.name + ".part")
    with explain_full_disk(output):
        with draft.open("wb") as stream:
            yield stream
        draft.replace(output)
