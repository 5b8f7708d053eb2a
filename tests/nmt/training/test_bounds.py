"""Numbers out of bounds: every number of a recipe has bounds, and what is too large for memory is refused first."""

from __future__ import annotations

import tempfile
import typing
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from nmt.config.model import ConvolutionConfig, RnnConfig, TransformerConfig
from nmt.config.reading import parse_recipe
from nmt.config.recipe import Recipe
from nmt.config.search import SamplingConfig, SearchConfig
from nmt.config.section import Section
from nmt.corpus.prepared import Prepared
from nmt.errors import ConfigError, NmtError, explain_memory
from nmt.models import build_model, size
from nmt.models.dropout import drop
from nmt.runtime import memory
from nmt.training import memory as training_memory
from nmt.training.stream import BatchStream
from nmt.training.trainer import Trainer
from tiny import FAMILIES, make_recipe

CPU = torch.device("cpu")
_SECTIONS = [Recipe, RnnConfig, TransformerConfig, ConvolutionConfig, SamplingConfig]
_HARD = [
    0,
    -1,
    1,
    2,
    10**3,
    10**6,
    10**9,
    10**12,
    10**30,
    1e-300,
    1e300,
    0.5,
    float("inf"),
    float("nan"),
    True,
    "x",
    None,
]


def _numbers(section: type[BaseModel]) -> Iterator[tuple[str, set[str]]]:
    """Every field of a section, and of those in it, that holds a number, and the kinds of its bounds."""
    for name, field in section.model_fields.items():
        kinds, bounds = list(_parts(field.annotation)), {type(item).__name__ for item in field.metadata}
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from _numbers(kind)
        if {int, float} & set(kinds):
            yield f"{section.__name__}.{name}", bounds | {str(kind) for kind in kinds if isinstance(kind, str)}


def _parts(annotation: Any) -> Iterator[Any]:
    """The plain types that an annotation is made of, and the names of the bounds in it."""
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _parts(parts[0])
        for item in annotation.__metadata__:
            yield from (type(bound).__name__ for bound in getattr(item, "metadata", [item]))
    elif typing.get_origin(annotation) is not typing.Literal and parts:
        for part in parts:
            yield from _parts(part)
    else:
        yield annotation


def test_every_number_of_a_recipe_has_bounds() -> None:
    """A new option without bounds on both sides fails here; seeds may be of any size."""
    found = dict(item for section in _SECTIONS for item in _numbers(section))
    for name, bounds in found.items():
        if not name.endswith(".seed"):
            assert bounds & {"Le", "Lt"}, name
            assert bounds & {"Ge", "Gt"}, name
    assert {"TrainingConfig.batch_tokens", "TrainingConfig.patience", "CleaningConfig.max_ratio"} <= found.keys()
    assert {"RnnConfig.layers", "SearchConfig.max_length_ratio", "CorpusConfig.weight"} <= found.keys()


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_counted_without_a_model(name: str) -> None:
    """As many as the model has, of few layers and of many."""
    for few in (1, 3, 10):
        layers = {key: few + index for index, key in enumerate(size.LAYER_COUNTS) if hasattr(FAMILIES[name], key)}
        config = FAMILIES[name].model_copy(update=layers)
        assert size.parameter_count(config, 23, 23) == build_model(config, 23, 23).parameter_count


def test_counting_draws_nothing() -> None:
    """So that a training keeps its bytes."""
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    size.parameter_count(FAMILIES["additive-lstm"], 23, 23)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"kind": "rnn", "layers": 1_000_000}, "layers: input should be less than or equal to 1000"),
        ({"kind": "rnn", "hidden": 20_000, "layers": 8}, r"training [\d,]+ parameters .*: that takes .* GB"),
        ({"width": 1_000_000, "heads": 4}, r"training [\d,]+ parameters"),
        ({"kind": "convolution", "kernel": 99_999, "hidden": 99_999}, r"training [\d,]+ parameters"),
    ],
)
def test_a_model_too_large_is_refused_before_it_is_made(
    prepared: Prepared, tmp_path: Path, model: Any, message: str
) -> None:
    """With the number of its parameters."""
    with pytest.raises(ConfigError, match=message):
        Trainer(make_recipe(model), prepared, tmp_path, CPU)
    with pytest.raises(ConfigError, match=message):
        training_memory.check_least(make_recipe(model), CPU)


def test_batches_and_beams_too_large_are_refused(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, trained: Path
) -> None:
    """Against the memory that is there, which the error tells."""
    import nmt

    recipe = make_recipe(training={"batch_tokens": 10**9})
    stream = BatchStream(recipe, prepared)
    largest = stream.largest()
    training_memory.check_batch(recipe, largest)
    monkeypatch.setattr(memory, "memory_there", lambda _=None: 10**6)
    with pytest.raises(
        ConfigError, match=r"batch_tokens.*positions: that takes .* GB of memory at least, and there are 0.0"
    ):
        training_memory.check_batch(recipe, largest)
    monkeypatch.setattr(memory, "memory_there", lambda _=None: 10**7)
    with pytest.raises(ConfigError, match=r"search.beam = 9000"):
        nmt.load(trained, beam=9000)
    stream.close()


def test_memory_that_is_there_is_a_number() -> None:
    """The size of the available memory is found and is plausible."""
    assert 10**8 < memory.memory_there() < 10**16


def test_memory_that_is_used_up_is_one_line() -> None:
    """Python's and torch's; another error stays what it is."""
    with pytest.raises(NmtError, match="memory is used up"), explain_memory():
        torch.empty(2**55)
    with pytest.raises(NmtError, match="memory is used up"), explain_memory():
        bytearray(2**55)
    with pytest.raises(RuntimeError, match="other"), explain_memory():
        raise RuntimeError("other")


def test_dropout_just_below_one_is_dropout() -> None:
    """Dropout with a rate close to one gives no infinite values."""
    assert torch.isfinite(drop(torch.ones(100), 0.9999999)).all()


def _paths(values: dict[str, Any], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _paths(value, (*prefix, key))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield (*prefix, key)


_MODELS: list[dict[str, Any]] = [
    {"kind": "rnn", "embedding": 8, "hidden": 8},
    {"kind": "rnn", "embedding": 8, "hidden": 8, "attention": "multi_head", "weighting": "sparsemax", "heads": 2},
    {"kind": "rnn", "embedding": 8, "hidden": 8, "weighting": "local_predictive", "query": "current"},
    {"kind": "transformer", "width": 8, "feed_forward": 8, "heads": 2, "encoder_layers": 1, "decoder_layers": 1},
    {"kind": "convolution", "embedding": 8, "hidden": 8, "encoder_layers": 1, "decoder_layers": 1, "kernel": 3},
]


@settings(max_examples=6, deadline=None)
@given(st.sampled_from(_MODELS), st.sampled_from(_HARD), st.data())
def test_any_number_trains_or_is_refused(
    prepared: Prepared, model: dict[str, Any], number: Any, data: st.DataObject
) -> None:
    """Each number of model and training replaced by each hard one: one update, or one error of ours."""
    values = make_recipe(model, training={"updates": 1, "warmup": 1}).model_dump()
    path = data.draw(st.sampled_from([path for path in _paths(values) if path[0] in ("model", "training")]))
    section = values[path[0]]
    section[path[1]] = number
    if path[1] in ("updates", "validate_every"):
        return
    with tempfile.TemporaryDirectory() as folder, suppress(NmtError):
        Trainer(parse_recipe(values, "test"), prepared, Path(folder), CPU).run()


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([name for name, _ in _numbers(SearchConfig)]), st.sampled_from(_HARD), st.sampled_from([1, 6]))
def test_any_number_searches_or_is_refused(trained: Path, name: str, number: Any, groups: int) -> None:
    """Each number of the search replaced by each hard one."""
    from nmt.config.reading import parse_search
    from nmt.storage.bundle import load_model
    from nmt.translation.translator import Translator

    loaded = load_model(trained)
    base = SearchConfig(beam=6, groups=groups, max_length_constant=3)
    with suppress(NmtError):
        search = parse_search(base, {name.partition(".")[2]: number})
        if search.beam <= 1000 and search.max_length_ratio * 3 + search.max_length_constant <= 3000:
            assert len(Translator(loaded, search=search).translate(["Guten Tag .", ""])) == 2
