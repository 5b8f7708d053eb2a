"""Help of the verbs: an example for each, and readable names of types."""

from __future__ import annotations

from functools import partial
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

EXAMPLES = {
    "init": "nmt init my --from sheet.csv",
    "prepare": "nmt prepare recipes/phrasebook-attention",
    "train": "nmt train recipes/phrasebook-attention --set training.updates=500",
    "translate": "nmt translate runs/phrasebook-attention in.de -o out.en",
    "serve": "nmt serve runs/phrasebook-transformer runs/phrasebook-attention",
    "evaluate": "nmt evaluate runs/phrasebook-attention --testset test",
    "compare": "nmt compare runs/phrasebook-attention runs/phrasebook-transformer --testset test",
    "attend": "nmt attend runs/phrasebook-attention in.de --plot maps",
    "score": "nmt score runs/phrasebook-attention in.de out.en",
    "tune-decoding": "nmt tune-decoding runs/phrasebook-attention --beams 1,5 --sentences 200",
    "export": "nmt export runs/phrasebook-transformer --to ctranslate2 -o exported",
    "shortlist": "nmt shortlist runs/phrasebook-attention -o de-en.list",
    "average": "nmt average runs/phrasebook-transformer -o averaged",
    "info": "nmt info runs/phrasebook-attention",
    "doctor": "nmt doctor recipes/phrasebook-attention",
    "report": "nmt report runs/phrasebook-attention -o report.html",
    "study": "nmt study recipes/ingredients",
    "bootstrap": "nmt bootstrap recipes/phrasebook-attention --mono mono.en --dry-run",
    "recipes": "nmt recipes",
    "reproduce": "nmt reproduce phrasebook-attention",
    "bench decode": "nmt bench decode runs/phrasebook-attention --text in.de",
    "bench train": "nmt bench train recipes/phrasebook-attention",
    "data list": "nmt data list",
    "data show": "nmt data show recipes/phrasebook-attention --step 100",
    "data diff": "nmt data diff recipes/phrasebook-attention --set data.cleaning.max_ratio=2",
    "data suspects": "nmt data suspects runs/phrasebook-attention --count 10",
    "data noise": "nmt data noise swap in.de --share 0.4",
    "tokenizer train": "nmt tokenizer train in.de -o de.spm --vocabulary 4000",
    "tokenizer encode": "nmt tokenizer encode de.spm < in.de",
    "tokenizer decode": "nmt tokenizer decode de.spm < pieces",
}
_WORDS = {"int": "N", "float": "X", "str": "TEXT", "path": "PATH", "file": "FILE", "dir": "FOLDER"}


def _word(kind: str, _: object = None) -> str | None:
    """Returns the word for a Python type in the help."""
    return _WORDS.get(kind)


class _PlainHelp:
    """Shows the type of an option as a word, and none for switches and arguments."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Returns the parameters with readable types."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # from the command class this is mixed into
        for parameter in found:
            if hasattr(parameter, "display_type") and "display_type" not in vars(parameter):
                kind = (
                    str(parameter.display_type(ctx)).strip("<>").split(" ")[0].removeprefix("list[").removesuffix("]")
                )
                parameter.display_type = partial(_word, kind if parameter.param_type_name == "option" else "")
        return found


class Verb(_PlainHelp, TyperCommand):
    """A verb."""


class Verbs(_PlainHelp, TyperGroup):
    """A group of verbs, where `help VERB` equals `VERB --help`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses the command line."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)


def add_examples(app: typer.Typer, *before: str) -> None:
    """Adds the example of each verb to its help."""
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        command.cls, command.epilog = Verb, f"Example: {EXAMPLES[' '.join([*before, name])]}"
    for group in app.registered_groups:
        if group.typer_instance:
            group.typer_instance.info.cls = Verbs
            add_examples(group.typer_instance, *before, str(group.name))
