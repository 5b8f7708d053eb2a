"""What a worker process does: it opens the models once, then translates batches and runs views."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nmt.config.paths import real_path
from nmt.errors import NmtError, explain_memory
from nmt.serving.tasks import Group, Line, Look, Opened, Results, ServedModel, Setup, Task, UnopenedError, Wrong

if TYPE_CHECKING:
    from nmt.translation.result import Translation
    from nmt.translation.translator import Translator

# Everything that needs torch is imported inside functions: the server names `opened` without loading it.


def opened(setup: Setup) -> Callable[[Task], list[Any]]:
    """Opens the models and returns what does the tasks; an error of opening is raised by the first task."""
    try:
        with explain_memory():
            return Work(setup, translators(setup)).do
    except NmtError as error:
        found = str(error)

        def refuse(_: Task) -> list[Any]:
            raise UnopenedError(found)

        return refuse


def translators(setup: Setup) -> dict[str, Translator]:
    """Opens the models, by name.

    Raises:
        NmtError: a model, the device or the beam cannot be used.
    """
    import torch

    from nmt.config.reading import parse_search
    from nmt.runtime.device import choose_device, choose_search_precision
    from nmt.storage.bundle import load_model
    from nmt.translation.result import Options
    from nmt.translation.translator import Translator

    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(setup.threads)
    device, found = choose_device(setup.device), dict[str, Translator]()
    opened = [load_model(path) for path in setup.models]
    names = model_names(setup.models, [loaded.recipe.name for loaded in opened])
    for name, loaded in zip(names, opened, strict=True):
        search = parse_search(loaded.recipe.search, {"beam": setup.beam})
        precision = choose_search_precision("auto", device)
        options = Options(long_lines="split")
        found[name] = Translator(loaded, device, search, precision, options=options)
    return found


def model_names(paths: Sequence[Path], recipes: Sequence[str]) -> list[str]:
    """Returns a name for each model: of its recipe, or of its folder where recipes share one. Numbers tell the rest apart."""
    folders = [real_path(path).parent.name if path.name == "model" else real_path(path).name for path in paths]
    wanted = [folder if recipes.count(recipe) > 1 else recipe for recipe, folder in zip(recipes, folders, strict=True)]
    names: list[str] = []
    for text in wanted:
        name = re.sub(r"[^\w.-]", "-", text) or "model"
        numbered = (f"{name}-{number}" for number in count(2))
        names.append(name if name not in names else next(other for other in numbered if other not in names))
    return names


class Work:
    """The models of a worker process."""

    def __init__(self, setup: Setup, models: dict[str, Translator]) -> None:
        self.setup, self.models = setup, models
        self._variants: dict[tuple[str, str | None, bool], Translator] = {}

    def do(self, task: Task) -> list[Any]:
        """Returns one result per line of a task: translations, or what is wrong."""
        with explain_memory():
            match task.what:
                case None:
                    return [self.facts()]
                case Look():
                    return [self.look(task.what)]
                case Group():
                    return self.translate(task.what, task.lines)

    def facts(self) -> Opened:
        """Describes what is open."""
        device = next(iter(self.models.values())).device
        return Opened([_facts(name, model) for name, model in self.models.items()], list(self.views), device.type)

    @cached_property
    def views(self) -> Mapping[str, Any]:
        """The views, by name."""
        from nmt.inspection.views import VIEWS

        return VIEWS

    def translate(self, group: Group, lines: tuple[Line, ...]) -> Results:
        """Translates the lines of a group, and counts what was cut.

        Raises:
            NmtError: a line, or what is wanted, is wrong.
        """
        prefixes = [line.prefix for line in lines] if group.prefixed else None
        try:
            translator = self._variant(group)
            translator.report.taken()  # what an earlier task that failed has left
            found = translator.translate_n_best([line.text for line in lines], group.count, prefixes, beam=group.beam)
        except NmtError as error:
            raise NmtError(self._told(error)) from None
        counts = translator.report.taken().numbers()
        said = [
            [_said(translator, line, item, group.links) for item in items]
            for line, items in zip(lines, found, strict=True)
        ]
        return Results(said, counts)

    def look(self, look: Look) -> dict[str, Any] | Wrong:
        """Runs a view."""
        from pydantic import ValidationError

        from nmt.inspection.asking import UnknownModelError

        view = self.views[look.view]
        try:
            request = view.request.model_validate(look.body)
        except ValidationError as error:
            return Wrong(400, _in_one_line(error.errors(include_url=False, include_context=False)))
        try:
            return view.run(self.models, request)
        except UnknownModelError as error:
            return Wrong(404, str(error))
        except NmtError as error:
            return Wrong(400, self._told(error))

    def _variant(self, group: Group) -> Translator:
        """Returns the translator for a target language, with links or without; all share one model."""
        key = group.model, group.target, group.links
        if key not in self._variants:
            self._variants[key] = self.models[group.model].with_text(group.target, group.links)
        return self._variants[key]

    def _told(self, error: NmtError) -> str:
        """Returns the text of an error; paths of this computer are not told."""
        text = " ".join(str(error).split())
        for path in self.setup.models:
            text = text.replace(str(path), path.name)
        return text


def _facts(name: str, translator: Translator) -> ServedModel:
    data, model = translator.recipe.data, translator.recipe.model
    layers, heads = translator.decoder.attention_maps([4], [4]).shape[:2] if model.attends else (0, 0)
    pairs = [(data.source, data.target), *((part.source, part.target) for part in data.more)]
    if not data.tag_target:
        pairs = [pair for pair in pairs if pair[1] == data.target]
    return ServedModel(
        name=name,
        source=data.source,
        target=data.target,
        targets=list(dict.fromkeys(target for _, target in pairs)),
        family=model.kind,
        layers=layers,
        heads=heads,
        parameters=translator.parameter_count,
        attention=model.attends,
        visual=model.kind == "visual",
        beam=translator.search.beam,
        pairs=list(dict.fromkeys(pairs)),
    )


def _said(translator: Translator, line: Line, item: Translation, links: bool) -> dict[str, Any]:
    """Returns a translation as a JSON object. Scores are rounded: their last digits change with the batch."""
    said: dict[str, Any] = {"text": item.text, "score": round(item.score, 4)}
    said |= {"log_probability": round(item.log_probability, 4), "tokens": item.tokens, "cut": item.cut}
    words = _words(translator, line.text, item.text) if links else (None, None)
    return said | {"alignment": item.alignment, "source_words": words[0], "target_words": words[1]}


def _words(translator: Translator, source: str, target: str) -> tuple[list[str], list[str]]:
    """Returns the words that links count, of a source and of its translation."""
    from nmt.translation.alignment import word_numbers
    from nmt.translation.attention import joined_words

    read, said = translator.source.pieces(source)[0], translator.target.pieces([target])[0]
    tokenizers = translator.tokenizers
    return (
        joined_words(tokenizers.source, read, word_numbers(read)),
        joined_words(tokenizers.target, said, word_numbers(said)),
    )


def _in_one_line(errors: list[Any]) -> str:
    """Formats what pydantic found."""
    found = [f"{'.'.join(map(str, error['loc'])) or 'the request'}: {error['msg']}" for error in errors[:3]]
    return " ".join("; ".join(found).split())[:500]
