"""Recipes: what is wrong is named, what is right comes back unchanged."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nmt.config.reading import load_recipe, option_names, recipe_schema, recipe_to_toml
from nmt.config.toml import toml_line
from nmt.errors import ConfigError
from nmt.experiments.bootstrap import plan_to_toml
from nmt_data.starting.sizes import Size, recipe_text
from tiny import make_recipe

MINIMAL = 'name = "x"\n[data]\ncorpus = "copy"\nsource = "input"\ntarget = "output"\n[model]\nkind = "rnn"\n'


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(MINIMAL)
    return path


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.hiden=3", "unknown key model.hiden (did you mean hidden?)"),
        ("trainig.updates=3", "unknown key trainig (did you mean training?)"),
        ("training.updates=0", "training.updates: input should be greater than 0, got 0"),
        ("model.cell=gruu", "model.cell must be 'gru' or 'lstm', got 'gruu' (did you mean gru?)"),
        (
            "model.kind=transfomer",
            "model.kind must be one of rnn, transformer, convolution, visual (did you mean transformer?)",
        ),
        ("model.attention=dot", "dot attention needs equal widths, got state 256 and encoder 512"),
        ("model.dropout=1.5", "model.dropout"),
        (
            "name=../x",
            "name: names files, so it must not be empty, begin with a dot or hold /, : or signs that cannot",
        ),
        ("nonsense", "nonsense: expected key=value"),
        ("name.first=x", "name.first=x: name is a value, not a section"),
    ],
)
def test_a_wrong_key_or_value_is_named(recipe_file: Path, override: str, message: str) -> None:
    """One clear line, with the nearest known name."""
    with pytest.raises(ConfigError) as error:
        load_recipe(recipe_file, [override])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max-length=3", "unknown key max-length (did you mean training.max_length?)"),
        ("batch-size=3", "unknown key batch-size (did you mean training.batch_tokens?)"),
        ("training.learning-rate=0.1", "unknown key training.learning-rate (did you mean learning_rate?)"),
        ("model.rnn=4", "unknown key model.rnn"),
        (
            "data.more=[{corpus='a', source='b', target='c', wei-ght=1}]",
            "data.more.0.wei-ght (did you mean weight?)",
        ),
        ("training.batch_tokens=[1]", "training.batch_tokens: input should be a valid integer, got [1]"),
        (" =1", "expected key=value"),
        ("model..layers=1", "expected key=value"),
    ],
)
def test_a_key_of_any_letters_is_named_whole(recipe_file: Path, override: str, message: str) -> None:
    """A dash is no reason to leave a key out, and the nearest key is found in spite of it."""
    with pytest.raises(ConfigError) as error:
        load_recipe(recipe_file, [override])
    assert message in str(error.value).splitlines()[0]


@pytest.mark.parametrize(
    "key", ["max-length", "a b", "ä", "rnn", "constrained-int", "literal['auto']", "[key]", "", "\n"]
)
@pytest.mark.parametrize("section", ["", "training", "model", "data.cleaning"])
def test_an_unknown_key_in_a_file_is_named_as_it_is_written(recipe_file: Path, section: str, key: str) -> None:
    """Also one that looks like the name of a family or of a type."""
    quoted = json.dumps(key)
    table = f"[{section}]\n" if section not in ("", "model") else ""
    line = f"{table}{quoted} = 3\n"
    recipe_file.write_text(line + MINIMAL if not section else MINIMAL + line)
    with pytest.raises(ConfigError) as error:
        load_recipe(recipe_file)
    names = (f"{section}.{name}".lstrip(".") for name in (key, json.dumps(key, ensure_ascii=False)))
    assert any(f"unknown key {name}" in str(error.value) for name in names)
    assert "\n" not in str(error.value)


def test_all_errors_come_at_once(recipe_file: Path) -> None:
    """Three invalid settings are reported in a single error of three lines."""
    with pytest.raises(ConfigError) as error:
        load_recipe(recipe_file, ["training.updates=-1", "search.beam=0", "model.wat=1"])
    assert len(str(error.value).splitlines()) == 3


def test_a_missing_recipe_names_its_neighbour(recipe_file: Path) -> None:
    """For a mistyped recipe path the error suggests the existing file."""
    with pytest.raises(ConfigError, match=r"did you mean recipe\.toml"):
        load_recipe(recipe_file.with_name("recipy.toml"))


def test_broken_toml_is_one_line(recipe_file: Path) -> None:
    """A syntax error in a recipe becomes a configuration error naming the file."""
    recipe_file.write_text("name = ")
    with pytest.raises(ConfigError, match=r"recipe\.toml"):
        load_recipe(recipe_file)


def test_the_resolved_recipe_runs_as_it_is(recipe_file: Path, tmp_path: Path) -> None:
    """Saved and read again it is the same recipe, with every default spelt out; text that needs escaping too."""
    recipe = load_recipe(
        recipe_file,
        [
            "model.layers=3",
            'name="a \\"b\\" \\u00e9 \\\\"',
            "data.source=no",
            "seed=7",
        ],
    )
    saved = tmp_path / "resolved.toml"
    saved.write_text(recipe_to_toml(recipe), encoding="utf-8")
    assert load_recipe(saved) == recipe
    assert recipe.data.source == "no"
    assert "learning_rate = 0.002" in saved.read_text()


def test_a_recipe_of_an_earlier_version_is_read(recipe_file: Path) -> None:
    """Where a value has another name now, the old one means the same."""
    assert load_recipe(recipe_file, ["training.metric=chrf"]).training.metric == "chrf2"


def test_family_defaults_fill_what_is_left_out(recipe_file: Path) -> None:
    """Training defaults depend on the model family, and an explicit value overrides them."""
    assert load_recipe(recipe_file).training.warmup == 200
    assert load_recipe(recipe_file, ["model.kind=transformer"]).training.warmup == 800
    assert load_recipe(recipe_file, ["training.learning_rate=0.5"]).training.learning_rate == 0.5


def test_the_schema_is_json_with_every_section() -> None:
    """The recipe schema parses as JSON, contains all sections, and describes their fields."""
    schema = json.loads(recipe_schema())
    assert {"data", "tokenizer", "model", "training", "search"} <= schema["properties"].keys()
    assert schema["$defs"]["RnnConfig"]["properties"]["hidden"]["description"]


def test_the_list_of_options_is_frozen() -> None:
    """A new option is a decision: it earns its place here, in a recipe and in a table."""
    assert "\n".join(option_names()) == Path(__file__).with_name("options.txt").read_text().strip()


@pytest.mark.parametrize(
    "symbol", ["", " ", "New York", "a\u00a0b", "a\u2581", "\0", "\u200b", "<s>", "</s>", "<unk>", "<pad>", "<0x41>"]
)
def test_user_symbols_that_can_be_no_token_are_refused(symbol: str) -> None:
    """In one line that names the key; so is one that is there twice."""
    for symbols in ([symbol], ["ok", symbol]):
        with pytest.raises(ConfigError, match=r"tokenizer\.user_symbols: ") as error:
            make_recipe(tokenizer={"user_symbols": symbols})
        assert str(error.value).count("\n") <= 1
    with pytest.raises(ConfigError, match=r"'<x>' is there twice"):
        make_recipe(tokenizer={"user_symbols": ["<x>", "ok", "<x>"]})


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(TEXT, st.one_of(TEXT, st.integers(-99, 99), st.booleans(), st.lists(TEXT), st.floats(0, 1)))
@example("a key", "\x7f\U0001f600")
def test_what_is_written_as_toml_is_read_again(key: str, value: object) -> None:
    """Any key and value, and names in plans and in recipes that are made."""
    assert tomllib.loads(toml_line(key, value)) == {key: value}
    plan = plan_to_toml({"title": key, "stages": [{"name": key}]})
    assert tomllib.loads(plan) == {"title": key, "stages": [{"name": key}]}
    size = Size()
    list(size.add([(f"a b {number}", "c d e") for number in range(1000)]))
    assert tomllib.loads(recipe_text(key, (key, "en"), size))["data"]["source"] == key
