"""Writes the reference pages from the code that they describe: `python docs/generate.py`.

Keys of a recipe come from the fields of `nmt.config`, verbs and options from the command itself. `tests/test_docs.py` fails
when a page is older than the code.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.main import get_command

from nmt.config.cleaning import CleaningConfig
from nmt.config.data import CorpusConfig, DataConfig, MonoConfig, TokenizerConfig
from nmt.config.model import ConvolutionConfig, RnnConfig, TransformerConfig, VisualConfig
from nmt.config.recipe import FAMILY_TRAINING, DenoisingConfig, Recipe, TrainingConfig
from nmt.config.search import SearchConfig
from nmt.config.section import Section
from nmt_cli.help import EXAMPLES
from nmt_cli.main import app

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "recipes/phrasebook-attention/recipe.toml"

_MADE = "<!-- made by docs/generate.py: change the code, then run it again -->\n"
_SECTIONS: tuple[tuple[str, type[Section], str], ...] = (
    ("`[data]`", DataConfig, ""),
    ("`[data.cleaning]`", CleaningConfig, ""),
    ("`[[data.more]]`", CorpusConfig, ""),
    ("`[[data.mono]]`", MonoConfig, ""),
    ("`[tokenizer]`", TokenizerConfig, ""),
    ('`[model]` with `kind = "rnn"`', RnnConfig, ""),
    ('`[model]` with `kind = "transformer"`', TransformerConfig, ""),
    ('`[model]` with `kind = "convolution"`', ConvolutionConfig, ""),
    (
        '`[model]` with `kind = "visual"`',
        VisualConfig,
        "`[model.base]` holds the keys of an `rnn` or a `transformer`. The source is always spelled in bytes:\n"
        "`tokenizer.joint` is false, and `tokenizer.source_kind` is `byte`.",
    ),
    ("`[training]`", TrainingConfig, ""),
    ("`[training.denoising]`", DenoisingConfig, ""),
    ("`[search]`", SearchConfig, "`nmt translate` has an option for most of these keys. It goes before the recipe."),
)
_RECIPE_HEAD = """# Every key of a recipe

This page lists what a recipe may say. A recipe is one TOML file, and a folder with a `recipe.toml` is one too. `--set` changes
a key for one run:

```sh
nmt train recipes/phrasebook-attention --set model.dropout=0.2 --set seed=2
```

A whole recipe, `recipes/phrasebook-attention/recipe.toml`:

```toml
{example}```

A key that is left out has the default below. A key that is not below is refused, and the nearest known name is said. The run
folder keeps the recipe with every default written out. `nmt recipes --schema` prints the same as JSON schema, for an editor.
A relative path is looked for beside the recipe first, then in the current folder; one from `--set` the other way round.
"""
_CLI_HEAD = """# Every verb and option

This page lists the verbs of the command with all their options. `nmt VERB --help` shows the same in a terminal:

```sh
nmt help translate
```

Results go to stdout, and everything else to stderr. The exit code is 0, or 1 for what the user can mend. It is 2 for a command
line that cannot be read, and 128 plus the number of the signal that stopped it: 130 after ^C, 143 after SIGTERM.
"""


def recipe_page() -> str:
    """All sections of a recipe, a table each."""
    parts = [_MADE, _RECIPE_HEAD.format(example=EXAMPLE.read_text(encoding="utf-8"))]
    own = [name for name in Recipe.model_fields if name in ("name", "seed")]
    parts.append(_section("At the top", Recipe, "", own))
    for title, section, note in _SECTIONS:
        parts.append(_section(title, section, note, list(section.model_fields)))
    return "\n".join(parts)


def cli_page() -> str:
    """All verbs, in the order of `nmt --help`."""
    command: Any = get_command(app)
    return "\n".join([_MADE, _CLI_HEAD, *_verbs(command, ())])


PAGES: Mapping[str, Callable[[], str]] = {"reference/recipe.md": recipe_page, "reference/cli.md": cli_page}


def _section(title: str, section: type[Section], note: str, names: list[str]) -> str:
    schema = section.model_json_schema()
    rows = [_key(section, name, schema) for name in names if not _is_section(schema["properties"][name])]
    text = " ".join((section.__doc__ or "").split())
    lines = [f"## {title}", "", text, *(["", note] if note else []), "", "| key | value | default | meaning |"]
    return "\n".join([*lines, "| --- | --- | --- | --- |", *rows, ""])


def _key(section: type[Section], name: str, schema: dict[str, Any]) -> str:
    """The row of a key."""
    field = section.model_fields[name]
    default = "" if field.is_required() else _toml(field.get_default())
    if section is TrainingConfig:
        own = [f"`{values[name]}` ({family})" for family, values in FAMILY_TRAINING.items() if name in values]
        default = ", ".join([default] * (default != "none" or not own) + own)
    return _row(f"`{name}`", _kind(schema["properties"][name]), default, field.description or "")


def _is_section(value: Mapping[str, Any]) -> bool:
    """Whether a key holds a section, or a list of them, which have tables of their own."""
    return "$ref" in json.dumps(value)


def _toml(value: object) -> str:
    """A default as a recipe writes it; nothing where it is left out."""
    if value is None:
        return "none"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def _kind(value: Mapping[str, Any]) -> str:
    """What a key takes, in words."""
    if "anyOf" in value:
        return " or ".join(_kind(item) for item in value["anyOf"] if item.get("type") != "null")
    if "const" in value or "enum" in value:
        return ", ".join(f"`{item}`" for item in value.get("enum", [value.get("const")]))
    if "prefixItems" in value:
        return f"{len(value['prefixItems'])} numbers"
    word = _KINDS.get(value.get("type", ""), "text")
    return word + (_bounds(value) if word.endswith("number") else "")


_KINDS = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "array": "list of texts"}


def _bounds(value: Mapping[str, Any]) -> str:
    """The smallest and the largest number, as far as they say something."""
    words = [
        f"{text} {value[key]:g}"
        for key, text in (("minimum", "from"), ("exclusiveMinimum", "above"), ("exclusiveMaximum", "below"))
        if key in value
    ]
    most = f" to {value['maximum']:g}" if value.get("maximum", 2) <= 1 else ""
    return f" {' and '.join(words)}{most}" if words else most


def _verbs(command: Any, before: tuple[str, ...]) -> Iterator[str]:
    """The parts of all verbs of a group."""
    for name, verb in command.commands.items():
        path = (*before, name)
        if hasattr(verb, "commands"):
            yield from _verbs(verb, path)
        else:
            yield _verb(verb, path)


def _verb(verb: Any, path: tuple[str, ...]) -> str:
    """What a verb does, its example and its options, by panel."""
    name = " ".join(path)
    hints = get_type_hints(inspect.unwrap(verb.callback))
    arguments = [item for item in verb.params if item.param_type_name == "argument"]
    options = [item for item in verb.params if item.param_type_name == "option"]
    usage = " ".join(_word(item) if item.required else f"[{_word(item)}]" for item in arguments)
    lines = [f"## nmt {name}", "", " ".join(verb.help.split()), "", "```sh", EXAMPLES[name], "```", ""]
    lines += [f"Usage: `nmt {name} {usage} [OPTIONS]`.".replace("  ", " "), ""]
    if arguments:
        lines += ["| argument | meaning |", "| --- | --- |"]
        lines += [_row(f"`{_word(item)}`", item.help or "") for item in arguments] + [""]
    panels = dict.fromkeys([None, *(getattr(item, "rich_help_panel", None) for item in options)])
    for panel in panels:
        lines += [f"### {panel} (`nmt {name}`)", ""] if panel else []
        lines += ["| option | takes | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [_option(item, hints) for item in options if getattr(item, "rich_help_panel", None) == panel] + [""]
    return "\n".join(lines)


def _word(argument: Any) -> str:
    """The name of an argument, in capitals as the help has it."""
    return str(argument.metavar or argument.name).upper()


def _option(option: Any, hints: Mapping[str, Any]) -> str:
    """The row of an option."""
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    takes = "" if option.is_flag else option.metavar or _taken(hints[option.name])
    known = option.show_default and not option.is_flag and option.default is not None
    return _row(names, takes, f"`{option.default}`" if known else "", option.help or "")


def _taken(hint: Any) -> str:
    """What an option of a type takes, in a word as the help has it."""
    words = {int: "N", float: "X", Path: "PATH"}
    return next((word for kind, word in words.items() if kind is hint or kind in get_args(hint)), "TEXT")


def _row(*cells: str) -> str:
    """A row of a table."""
    texts = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    texts = [re.sub(r"(?<!`)(<\w+>)", r"`\1`", text) for text in texts]
    return re.sub(r" +\|", " |", f"| {' | '.join(texts)} |")


def main() -> None:
    """Writes every page."""
    for name, page in PAGES.items():
        (ROOT / "docs" / name).write_text(page(), encoding="utf-8")
        sys.stdout.write(f"docs/{name}\n")


if __name__ == "__main__":
    main()
