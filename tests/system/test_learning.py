"""Each family learns: short strings reversed, and what attention is for shows on longer ones."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from nmt.config.recipe import Recipe
from nmt.config.search import SearchConfig
from nmt.scoring.accuracy import accuracy_by_length
from nmt.scoring.metrics import Bucket
from nmt.storage.bundle import load_model
from nmt.training.trainer import Trainer
from nmt.translation.translator import Translator
from nmt_data.prepare import prepare
from tiny import make_recipe

FAMILIES: dict[str, dict[str, Any]] = {
    "bottleneck": {"kind": "rnn", "attention": "none", "embedding": 32, "hidden": 128, "dropout": 0.0},
    "additive": {"kind": "rnn", "embedding": 32, "hidden": 48, "dropout": 0.0},
    "bilinear": {"kind": "rnn", "attention": "bilinear", "cell": "lstm", "embedding": 32, "hidden": 48, "dropout": 0.0},
    "convolution": {
        "kind": "convolution",
        "embedding": 32,
        "hidden": 64,
        "encoder_layers": 3,
        "decoder_layers": 2,
        "dropout": 0.0,
    },
    "transformer": {
        "kind": "transformer",
        "width": 64,
        "feed_forward": 128,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "dropout": 0.0,
    },
    "visual": {
        "kind": "visual",
        "image_encoder": "slices",
        "base": {"kind": "rnn", "embedding": 32, "hidden": 48, "dropout": 0.0},
    },
}
UPDATES = {"bottleneck": 250, "additive": 180, "bilinear": 180, "transformer": 250, "convolution": 200, "visual": 180}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_reversing_short_strings(family: str, tmp_path: Path) -> None:
    """Trained for seconds on strings of up to 6 letters, it reverses most that it never saw, letter by letter."""
    card = tmp_path / "card.toml"
    pairs = _strings()
    for split, rows in (("train", pairs[:3600]), ("valid", pairs[3600:3650])):
        for side, name in enumerate(("input", "output")):
            (tmp_path / f"{split}.{name}").write_text("".join(f"{' '.join(pair[side])}\n" for pair in rows))
    card.write_text(
        'name = "short"\ntitle = "t"\nlicence = "x"\nlanguages = ["input", "output"]\n'
        '[splits]\ntrain = "train.{language}"\nvalid = "valid.{language}"\n'
    )
    training = {
        "updates": UPDATES[family],
        "batch_tokens": 512,
        "validate_every": 1000,
        "learning_rate": 4e-3,
        "warmup": 50,
    }
    recipe = make_recipe(
        FAMILIES[family], data={"corpus": str(card), "limit": None}, training={**training, "label_smoothing": 0.0}
    )
    run = tmp_path / "run"
    run.mkdir()
    Trainer(recipe, prepare(recipe), run, torch.device("cpu")).run()
    translator = Translator(load_model(run), search=SearchConfig(beam=2))
    results = translator.translate([" ".join(source) for source, _ in pairs[3700:3900]])
    targets = [target for _, target in pairs[3700:3900]]
    right = sum(
        a == b
        for result, target in zip(results, targets, strict=True)
        for a, b in zip(result.split(), target, strict=False)
    )
    assert right / sum(map(len, targets)) > 0.9


def _strings() -> list[tuple[str, str]]:
    import random

    generator = random.Random(5)
    strings = {"".join(generator.choices("abcdef", k=generator.randint(1, 6))) for _ in range(9000)}
    return [(string, string[::-1]) for string in sorted(strings, key=lambda string: (hash_of(string), string))]


def hash_of(string: str) -> int:
    """An order that is the same in every process."""
    import zlib

    return zlib.crc32(string.encode())


@pytest.mark.slow
@pytest.mark.thorough
def test_what_a_fixed_vector_holds_grows_with_it_and_attention_has_no_such_limit(tmp_path: Path) -> None:
    """The study of symbols in a small form: strings of up to 14 letters, trained for seconds."""
    found: dict[str, list[Bucket]] = {}
    for name, changes in {
        "narrow": {"hidden": 24},
        "wide": {"hidden": 128},
        "attention": {"attention": "bilinear"},
    }.items():
        model = {"kind": "rnn", "attention": "none", "embedding": 32, "hidden": 48, "dropout": 0.0} | changes
        run = tmp_path / name
        run.mkdir()
        recipe = _symbols(tmp_path, model)
        Trainer(recipe, prepare(recipe), run, torch.device("cpu")).run()
        test = prepare(recipe).testset("test")
        lines = Translator(load_model(run), search=SearchConfig(beam=1)).translate(test.source)
        found[name] = accuracy_by_length(test.source, lines, test.target)
    short, long = ({name: buckets[place].score.value for name, buckets in found.items()} for place in (0, -1))
    assert short["wide"] > 90
    assert long["attention"] > 90
    assert long["narrow"] < long["wide"] < 60


def _symbols(folder: Path, model: dict[str, Any]) -> Recipe:
    """Strings of 2 to 14 letters to reverse, and a test of 2, 6, 10 and 14."""
    generator = random.Random(3)
    lengths = {"train": range(2, 15), "valid": range(2, 15), "test": (2, 6, 10, 14)}
    for split, count in (("train", 12_000), ("valid", 50), ("test", 200)):
        letters = [generator.choices("abcdefghijklmnopqrst", k=generator.choice(lengths[split])) for _ in range(count)]
        (folder / f"{split}.input").write_text("".join(f"{' '.join(item)}\n" for item in letters))
        (folder / f"{split}.output").write_text("".join(f"{' '.join(item[::-1])}\n" for item in letters))
    card = 'name = "symbols"\ntitle = "t"\nlicence = "x"\nlanguages = ["input", "output"]\n[splits]\n'
    (folder / "card.toml").write_text(card + "".join(f'{split} = "{split}.{{language}}"\n' for split in lengths))
    training = {"updates": 450, "batch_tokens": 512, "validate_every": 1000, "learning_rate": 6e-3, "warmup": 50}
    return make_recipe(
        model, data={"corpus": str(folder / "card.toml"), "limit": None}, training=training | {"label_smoothing": 0.0}
    )
