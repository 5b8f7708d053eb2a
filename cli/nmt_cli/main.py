"""Joins the verbs to one command, and prints user errors as one line."""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from nmt import NmtError, __version__
from nmt.corpus.lines import visible
from nmt.errors import explain_memory
from nmt_cli import (
    attend,
    average,
    bench,
    bootstrap,
    compare,
    data,
    doctor,
    evaluate,
    export,
    info,
    init,
    prepare,
    recipes,
    report,
    reproduce,
    score,
    serve,
    shortlist,
    study,
    tokenizer,
    train,
    translate,
    tune,
)
from nmt_cli.console import note, print_text
from nmt_cli.help import Verbs, add_examples
from nmt_cli.pulse import pulse
from nmt_cli.standard import binary_output, flush_output, prepare_streams

_MAKE_FILES = (
    "average",
    "bootstrap",
    "export",
    "init",
    "prepare",
    "report",
    "reproduce",
    "serve",
    "shortlist",
    "study",
    "tokenizer",
    "train",
    "translate",
)
"""Verbs that write files, so that closed output does not stop them; `tokenizer` and `translate` check it themselves."""


class _Group(Verbs):
    """Prints a user error as one line on stderr and exits with 1, or with the code of the error."""

    def main(self, *arguments: Any, **keywords: Any) -> Any:
        """Prepares the streams, runs the command and flushes the output."""
        if sys.platform == "win32":
            note("nmt: runs on Linux and macOS; on Windows, use it within WSL")
            sys.exit(1)
        from nmt.runtime.signals import follow_parent

        before, threading.excepthook = threading.excepthook, _explain_in_thread
        prepare_streams()
        follow_parent()
        try:
            return super().main(*arguments, **keywords)
        except BrokenPipeError:  # the reader has gone (`| head -1`): end quietly
            sys.exit(1)
        except OSError as error:
            from nmt.runtime.files import explain_os_error

            note(f"nmt: {explain_os_error(error)}")
            sys.exit(1)
        finally:
            flush_output()
            threading.excepthook = before

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Finds the verb; one that only prints is refused if standard output is closed."""
        found = super().resolve_command(ctx, args)
        if found[0] not in _MAKE_FILES:
            binary_output()
        return found

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _visible_usage_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        try:
            with _visible_usage_errors(), explain_memory(), pulse.beating():
                return super().invoke(ctx)
        except NmtError as error:
            for line in str(error).split("\n"):
                note(f"nmt: {line}")
            raise typer.Exit(getattr(error, "exit_code", 1)) from None


def _explain_in_thread(found: threading.ExceptHookArgs) -> None:
    """Prints an operating system error of a thread, such as TensorBoard's, as one line; the main thread learns later."""
    from nmt.runtime.files import explain_os_error

    if isinstance(found.exc_value, OSError):
        note(f"nmt: {explain_os_error(found.exc_value)}")
    else:
        threading.__excepthook__(found)


@contextmanager
def _visible_usage_errors() -> Generator[None]:
    """Escapes control characters in Typer's errors about the command line."""
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


app.command("init")(init.init)
app.command("prepare")(prepare.prepare)
app.command("train")(train.train)
app.command("translate")(translate.translate)
app.command("serve")(serve.serve)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("attend")(attend.attend)
app.command("score")(score.score)
app.command("tune-decoding")(tune.tune_decoding)
app.command("export")(export.export)
app.command("shortlist")(shortlist.shortlist)
app.command("average")(average.average)
app.command("info")(info.info)
app.command("doctor")(doctor.doctor)
app.command("report")(report.report)
app.command("study")(study.study)
app.command("bootstrap")(bootstrap.bootstrap)
app.command("recipes")(recipes.recipes)
app.command("reproduce")(reproduce.reproduce)
app.add_typer(bench.app, name="bench")
app.add_typer(data.app, name="data")
app.add_typer(tokenizer.app, name="tokenizer")
add_examples(app)
