"""Wires the verbs together, and turns errors that are the user's to mend into one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from nmt import NmtError, __version__
from nmt.errors import explain_memory
from nmt.text import visible
from nmt_cli import (
    attend,
    average,
    bench,
    compare,
    data,
    evaluate,
    export,
    info,
    prepare,
    recipes,
    report,
    reproduce,
    score,
    shortlist,
    study,
    tokenizer,
    train,
    translate,
    tune,
)
from nmt_cli.console import print_text
from nmt_cli.help import Verbs, add_examples


class _Group(Verbs):
    """Prints an NmtError as one line on stderr and exits with 1, or the code the error names."""

    def main(self, *arguments: Any, **keywords: Any) -> Any:
        """Begins as every command does, also one of a child."""
        from nmt.running import follow_parent

        follow_parent()
        return super().main(*arguments, **keywords)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _visible_usage_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _visible_usage_errors(), explain_memory():
                return super().invoke(ctx)
        except NmtError as error:
            for line in str(error).split("\n"):
                print_text(f"nmt: {line}", err=True)
            raise typer.Exit(getattr(error, "exit_code", 1)) from None
        except BrokenPipeError:
            # The reader went away (`| head -1`): a quiet end. Nothing may be flushed to it at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None


@contextmanager
def _visible_usage_errors() -> Generator[None]:
    """Typer's errors about words of the command line show what a terminal would obey as escapes."""
    try:
        yield
    except Exception as error:
        if isinstance(message := getattr(error, "message", None), str):
            vars(error)["message"] = visible(message)
        raise


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Sequence-to-sequence translation, from raw text to a score that can be trusted.",
    epilog="`nmt help VERB` says more about a verb, with an example.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print_text(f"nmt {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.command("prepare")(prepare.prepare)
app.command("train")(train.train)
app.command("translate")(translate.translate)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("attend")(attend.attend)
app.command("score")(score.score)
app.command("tune-decoding")(tune.tune_decoding)
app.command("export")(export.export)
app.command("shortlist")(shortlist.shortlist)
app.command("average")(average.average)
app.command("info")(info.info)
app.command("report")(report.report)
app.command("study")(study.study)
app.command("recipes")(recipes.recipes)
app.command("reproduce")(reproduce.reproduce)
app.add_typer(bench.app, name="bench")
app.add_typer(data.app, name="data")
app.add_typer(tokenizer.app, name="tokenizer")
add_examples(app)
