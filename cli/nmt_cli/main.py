"""Joins the verbs to one command, and prints user errors as one line."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator
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

_MAKES_FILES, _PRINTS = True, False
_VERBS: dict[str, tuple[Callable[..., None] | typer.Typer, bool]] = {
    "init": (init.init, _MAKES_FILES),
    "prepare": (prepare.prepare, _MAKES_FILES),
    "train": (train.train, _MAKES_FILES),
    "translate": (translate.translate, _MAKES_FILES),
    "serve": (serve.serve, _MAKES_FILES),
    "evaluate": (evaluate.evaluate, _PRINTS),
    "compare": (compare.compare, _PRINTS),
    "attend": (attend.attend, _PRINTS),
    "score": (score.score, _PRINTS),
    "tune-decoding": (tune.tune_decoding, _PRINTS),
    "export": (export.export, _MAKES_FILES),
    "shortlist": (shortlist.shortlist, _MAKES_FILES),
    "average": (average.average, _MAKES_FILES),
    "info": (info.info, _PRINTS),
    "doctor": (doctor.doctor, _PRINTS),
    "report": (report.report, _MAKES_FILES),
    "study": (study.study, _MAKES_FILES),
    "bootstrap": (bootstrap.bootstrap, _MAKES_FILES),
    "recipes": (recipes.recipes, _PRINTS),
    "reproduce": (reproduce.reproduce, _MAKES_FILES),
    "bench": (bench.app, _PRINTS),
    "data": (data.app, _PRINTS),
    "tokenizer": (tokenizer.app, _MAKES_FILES),
}
"""The verbs in the order of the help. Closed output stops those that print; `tokenizer` and `translate` check it themselves."""


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
        if not (found[0] and _VERBS[found[0]][1]):
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


for _name, (_verb, _) in _VERBS.items():
    if isinstance(_verb, typer.Typer):
        app.add_typer(_verb, name=_name)
    else:
        app.command(_name)(_verb)
add_examples(app)
