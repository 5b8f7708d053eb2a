"""What would do nothing, or cannot be a number, is refused in one line before the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from command import run
from nmt.config.recipe import Recipe
from nmt.errors import ConfigError
from nmt.scoring.metrics import resampling_seed
from nmt.translation.alignment import read_gold
from tiny import make_recipe

DIGITS = "9" * 5000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("attend", "MODEL", "--reverse", "MODEL"), "--reverse is for --gold"),
        (("attend", "MODEL", "--pairs", "TEXT", "--gold", "TEXT", "--shifted"), "--gold prints error rates"),
        (("attend", "MODEL", "--pairs", "TEXT", "--gold", "TEXT", "--plot", "maps"), "--gold prints error rates"),
        (("attend", "MODEL", "--pairs", "TEXT", "--gold", "TEXT", "--format", "pharaoh"), "--gold prints error rates"),
        (("attend", "MODEL", "TEXT", "--format", "entropy", "--head", "1"), "all layers and heads"),
        (("translate", "MODEL", "TEXT", "--word-starts"), "--word-starts is for --forbid and --constrained"),
        (("translate", "MODEL", "TEXT", "--samples", "4"), "--samples is for --mbr"),
        (("translate", "MODEL", "TEXT", "--mbr", "chrf2", "--samples", "4", "--beam", "2"), "give one of them"),
        (("translate", "MODEL", "TEXT", "--diversity", "2"), "--diversity is for groups"),
        (("translate", "MODEL", "TEXT", "--sample", "--stopping", "count"), "--stopping is for plain search"),
        (("translate", "MODEL", "TEXT", "--sample", "--groups", "2"), "--groups is for plain search"),
        (("translate", "MODEL", "TEXT", "--constrained", "--stopping", "exact"), "--stopping is for plain search"),
        (("translate", "MODEL", "TEXT", "--forbid", "a" * 2000), "a forbidden phrase has 2,000 characters"),
        (("export", "MODEL", "--output", "out", "--text", "TEXT"), "--text is for --verify"),
        (("compare", "TEXT", "TEXT", "--testset", "TEXT:TEXT", "--device", "nonsense"), "nonsense"),
    ],
)
def test_options_without_effect_are_refused(
    trained: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Nothing is written either."""
    text = tmp_path / "text"
    text.write_text("eins ||| zwei\n")
    (tmp_path / "elsewhere").mkdir()
    given = [item.replace("MODEL", str(trained)).replace("TEXT", str(text)) for item in arguments]
    places = [str(tmp_path / "elsewhere" / item) if item in ("maps", "out") else item for item in given]
    result = run(*places)
    assert result.exit_code == 1
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("number", ["nan", "inf", "1e300", DIGITS])
@pytest.mark.parametrize("verb", [("prepare", "RECIPE", "--memory"), ("serve", "RECIPE", "--timeout")])
def test_numbers_that_are_none_are_refused(verb: tuple[str, ...], number: str, tmp_path: Path) -> None:
    """They pass the lower bound of an option."""
    result = run(*(item.replace("RECIPE", str(tmp_path)) for item in verb), number)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_numbers_of_thousands_of_digits_are_wrong_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python refuses to read them, wherever they stand."""
    result = run("train", "recipes/phrasebook-attention", "--run", tmp_path / "run", "--set", f"seed={DIGITS}")
    assert result.exit_code == 1
    assert result.stderr.startswith("nmt: seed")
    for link in (f"1-{DIGITS}", "00-1", "0-1", "1-0", "١-1"):
        with pytest.raises(Exception, match=r"is no link; write 1-2 or 1p2"):
            read_gold([link], "gold")
    for seed in (DIGITS, str(2**32), "-1", "x"):
        monkeypatch.setenv("SACREBLEU_SEED", seed)
        with pytest.raises(ConfigError, match="SACREBLEU_SEED must be a whole number below"):
            resampling_seed()


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "x" * 101, "ß" * 51, ".a", "a/b", "a:b", " "])
def test_names_that_no_folder_can_have_are_refused(name: str) -> None:
    """A name of a recipe is that of its run."""
    with pytest.raises(ValueError, match="names files, so it must"):
        Recipe.model_validate({**make_recipe().model_dump(), "name": name})
