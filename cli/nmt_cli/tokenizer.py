"""`nmt tokenizer`: SentencePiece on files and pipes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from nmt.corpus.lines import decode_strict, read_lines, without_control
from nmt.errors import DataError
from nmt.runtime.stages import stage
from nmt_cli.console import note
from nmt_cli.standard import binary_input, binary_output
from nmt_cli.text_files import chunks

app = typer.Typer(no_args_is_help=True, help="Train a tokenizer, and turn text into tokens and back.")

ModelOption = Annotated[Path, typer.Argument(metavar="TOKENIZER", help="A .spm file.", show_default=False)]


@app.command()
def train(
    files: Annotated[list[Path], typer.Argument(help="Text, one segment a line.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .spm file to write.")],
    kind: Annotated[str, typer.Option(help="unigram, bpe, word, character or byte.")] = "unigram",
    vocabulary: Annotated[int, typer.Option(help="Number of tokens.")] = 8000,
    byte_fallback: Annotated[bool, typer.Option("--byte-fallback", help="Spell unknown characters as bytes.")] = False,
) -> None:
    """Train a tokenizer on text files."""
    from nmt.config.reading import parse_tokenizer
    from nmt.corpus.tokenizer import Tokenizer
    from nmt.runtime.files import check_output, refuse_overwriting

    config = parse_tokenizer({"kind": kind, "vocabulary": vocabulary, "byte_fallback": byte_fallback})
    refuse_overwriting(output, files)
    check_output(output)
    if config.kind == "byte":  # needs no text, but a wrong file is wrong
        for file in files:
            read_lines(file)
    tokenizer = Tokenizer.train((line for file in files for line in read_lines(file)), config)
    tokenizer.save(output)
    note(f"{output}: {tokenizer.vocabulary_size} tokens")


@app.command()
def encode(
    model: ModelOption, ids: Annotated[bool, typer.Option("--ids", help="Print ids instead of tokens.")] = False
) -> None:
    """Convert text on stdin to tokens on stdout."""
    from nmt.corpus.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(model)
    for chunk in _chunks():
        lines = [without_control(line) for line in chunk]
        sequences = tokenizer.encode(lines) if ids else tokenizer.encode_pieces(lines)
        _write([" ".join(map(str, sequence)) for sequence in sequences])


@app.command()
def decode(
    model: ModelOption, ids: Annotated[bool, typer.Option("--ids", help="Read ids instead of tokens.")] = False
) -> None:
    """Convert tokens on stdin to text on stdout."""
    from nmt.corpus.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(model)
    for lines in _chunks():
        if not ids:
            # Tokens are separated by single spaces: other white space is text.
            _write(tokenizer.decode_pieces([[piece for piece in line.split(" ") if piece] for line in lines]))
            continue
        try:
            numbers = [[int(number) for number in line.split()] for line in lines]
        except ValueError as error:
            raise DataError(f"not a token id: {error}") from None
        if any(not 0 <= number < tokenizer.vocabulary_size for line in numbers for number in line):
            raise DataError(f"token ids go from 0 to {tokenizer.vocabulary_size - 1}")
        _write(tokenizer.decode(numbers))


def _chunks() -> Iterator[list[str]]:
    """Yields lines of stdin as they come."""
    number = count(1)
    with stage("tokens", idle=True):  # the user sees the lines come back
        for chunk in chunks(binary_input()):
            yield [decode_strict(line, f"stdin, line {next(number)}") for line in chunk]


def _write(lines: list[str]) -> None:
    output = binary_output()
    output.write("".join(f"{line}\n" for line in lines).encode())
    output.flush()
