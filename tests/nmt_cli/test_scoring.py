"""How a test set is scored: one way, whether it is named or given as files, that fits its language, is said, and is there."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sacrebleu.metrics.bleu import BLEU

from command import run
from nmt.config.data import Tokenization
from nmt.config.reading import recipe_to_toml
from nmt.config.recipe import Recipe
from nmt.errors import ConfigError
from nmt.scoring.metrics import score
from nmt.scoring.significance import paired_test
from nmt.scoring.tokenization import check_tokenization, default_tokenization, unsegmented
from nmt_cli.testsets import choose_testsets, in_case
from nmt_data.prepare import prepare
from tiny import make_recipe

CHINESE = ["我今天喜欢苹果，对吗？", "他明天看见书。", "我们现在要水。", "你今天买面包，对吗？", "她要茶。"]
ENGLISH = [
    "Today I like apples , right ?",
    "He sees Books tomorrow .",
    "We want water .",
    "You buy Bread .",
    "She wants Tea .",
]
PRESENT = [scheme for scheme in get_args(Tokenization) if scheme not in ("ja-mecab", "ko-mecab", "flores200")]


def _recipe(folder: Path, language: str = "en", tokenize: str | None = None, **data: object) -> Recipe:
    """A corpus of a few sentences into a language, and a recipe."""
    for name in ("train", "valid", "test"):
        for side, lines in (("de", ENGLISH), (language, CHINESE if language == "zh" else ENGLISH)):
            (folder / f"{name}.{side}").write_text("".join(f"{line}\n" for line in lines * 4), encoding="utf-8")
    card = f'name = "mine"\ntitle = "t"\nlicence = "l"\nlanguages = ["de", "{language}"]\n'
    card += f'tokenize = "{tokenize}"\n' if tokenize else ""
    splits = "".join(f'{name} = "{name}.{{language}}"\n' for name in ("train", "valid", "test"))
    (folder / "card.toml").write_text(f"{card}[splits]\n{splits}")
    data = {"corpus": str(folder / "card.toml"), "source": "de", "target": language, **data}
    return make_recipe(data=data, tokenizer={"kind": "character", "vocabulary": 60})


@given(
    st.sampled_from(["en", "zh", "fr", "zh-TW"]),
    st.none() | st.sampled_from(PRESENT),
    st.booleans(),
    st.none() | st.sampled_from(PRESENT),
)
@settings(deadline=None, max_examples=12)
def test_a_test_set_is_scored_alike_by_name_and_as_files(
    language: str, card: str | None, lowercase: bool, asked: str | None
) -> None:
    """Text, word splitting and case are the same, so the score and its signature are."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        recipe = _recipe(folder, language, card, lowercase=lowercase)
        files = f"{folder / 'test.de'}:{folder / f'test.{language}'}"
        (named,), (given_,) = choose_testsets(recipe, ["test"], asked), choose_testsets(recipe, [files], asked)
    assert (named.source, named.target) == (given_.source, given_.target)
    assert (named.tokenize, named.lowercase) == (given_.tokenize, given_.lowercase)
    assert (named.tokenize, named.lowercase) == (asked or card or default_tokenization(language), lowercase)


@pytest.mark.parametrize("language", ["tr", "az", "tr-TR", "en"])
def test_files_and_cached_test_sets_are_lower_cased_as_the_corpus_is(
    language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turkish and Azerbaijani have an i with a dot and one without, in both cases; other languages have not."""
    lines = ["Isparta IŞIK İyi .", "Ilık su İçin .", "Irmak Derin ."]
    recipe = _recipe(tmp_path, language, lowercase=True)
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.{language}").write_text("".join(f"{line}\n" for line in lines * 10))
        (tmp_path / f"{name}.de").write_text("".join(f"{line}\n" for line in lines * 10))
    files = tmp_path / "test.de", tmp_path / f"test.{language}"
    monkeypatch.setattr("nmt_data.sacrebleu_cache.cached_testset", lambda *_: files)
    named, given_, cached = (
        choose_testsets(recipe, [name])[0] for name in ("test", ":".join(map(str, files)), "other")
    )
    assert (named.source, named.target) == (given_.source, given_.target) == (cached.source, cached.target)
    assert in_case(lines * 10, recipe) == named.target
    assert ("ısparta" in named.target[0]) == (language != "en")
    assert "isparta" in named.source[0]


def test_the_signature_tells_the_truth_about_case(tmp_path: Path) -> None:
    """Scores of lower-cased text say so, and are those that sacreBLEU has for them; so are p-values."""
    recipe = _recipe(tmp_path, lowercase=True)
    translations = [line.replace("He", "he").replace("like", "LIKE") for line in ENGLISH] * 4
    (testset,) = choose_testsets(recipe, ["test"])
    (found,) = score(translations, testset.target, lowercase=testset.lowercase, metrics=("bleu",))
    reference = BLEU(lowercase=True).corpus_score(translations, [ENGLISH * 4])
    assert (found.value, "|case:lc|" in found.signature) == (pytest.approx(reference.score), True)
    test = paired_test({"a": translations, "b": translations}, testset.target, lowercase=testset.lowercase)
    assert [item.score for item in test if item.metric == "bleu"] == [pytest.approx(reference.score)] * 2
    assert all("case:lc" in item.signature for item in test)


def test_the_default_is_that_of_sacrebleus_command() -> None:
    """For every language that it knows of, in any spelling of a code; 13a for all others."""
    for language, scheme in BLEU._TOKENIZER_MAP.items():
        for spelling in (language, language.upper(), f"{language}-XX", f"{language}_Hant"):
            assert default_tokenization(spelling) == scheme
    assert {default_tokenization(code) for code in ("zho_Hans", "cmn")} == {"zh"}
    assert {default_tokenization(code) for code in ("de", "en", "th", "zhx", "jam", "output", "")} == {"13a"}


def test_several_targets_are_each_split_in_their_way(tmp_path: Path) -> None:
    """Each test set by its own language, the mixed validation set by the way that splits them all."""
    (tmp_path / "two").mkdir()
    recipe = _recipe(tmp_path / "two", "zh")
    more = [recipe.data.model_dump(include={"corpus", "source", "target"})]
    recipe = _recipe(tmp_path, more=more, tag_target=True)
    prepared = prepare(recipe)
    assert [item.name for item in choose_testsets(recipe, [])] == ["test", "test.de-zh"]
    for language, name in ((recipe.data.target, "test"), ("zh", "test.de-zh")):
        assert [item.name for item in choose_testsets(recipe, [], language=language)] == [name]
        assert [item.name for item in choose_testsets(recipe, [name], language=language)] == [name]
    with pytest.raises(ConfigError, match=r"test is into .*, not into zh"):
        choose_testsets(recipe, ["test"], language="zh")
    assert {name: prepared.testset(name).tokenize for name in prepared.testsets()} == {
        "test": "13a",
        "test.de-zh": "zh",
        "valid": "zh",
    }


def test_a_chinese_target_is_validated_by_words_of_chinese(tmp_path: Path) -> None:
    """With everything at its default; that is said, and what the tokenizer rewrites is too."""
    recipe = _recipe(tmp_path, "zh")
    (tmp_path / "recipe.toml").write_text(recipe_to_toml(recipe))
    done = run("train", tmp_path / "recipe.toml", "--run", tmp_path / "run", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    assert "valid: BLEU splits words by zh; TER does not" in done.stderr
    assert "40% of the references of valid hold letters that the tokenizer rewrites (， ？)" in done.stderr
    (tmp_path / "hypothesis").write_text("".join(f"{line}\n" for line in CHINESE * 4), encoding="utf-8")
    shown = run("evaluate", tmp_path / "run", "-t", "test", "--hypothesis", tmp_path / "hypothesis", "--json")
    (bleu, *_) = json.loads(shown.stdout)[0]["scores"]
    assert (bleu["value"], "tok:zh" in bleu["signature"]) == (pytest.approx(100), True)


def test_files_alone_are_split_by_the_suffix_of_the_reference(tmp_path: Path) -> None:
    """The language in the suffix of the reference file decides the tokenisation."""
    _recipe(tmp_path, "zh")
    (testset,) = choose_testsets(None, [f"{tmp_path / 'test.de'}:{tmp_path / 'test.zh'}"])
    assert testset.tokenize == "zh"


@pytest.mark.parametrize("language", ["ja", "ko"])
def test_what_splitting_needs_is_missed_before_training(
    tmp_path: Path, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the corpus is prepared, too; the card can name another way."""
    monkeypatch.setattr(f"sacrebleu.tokenizers.tokenizer_{language}_mecab.MeCab", None)
    monkeypatch.setenv("NMT_HOME", str(tmp_path / "home"))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(recipe_to_toml(_recipe(tmp_path, language)))
    command = ("train", recipe, "--run", tmp_path / "run", "--device", "cpu", "--set", "training.updates=1")
    refused = run(*command)
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"nmt: words cannot be split by {language}-mecab: it needs MeCab")
    assert f"pip install 'sacrebleu[{language}]'" in refused.stderr
    assert not (tmp_path / "home").exists()
    _recipe(tmp_path, language, "char")
    assert run(*command).exit_code == 0


@pytest.mark.parametrize(
    "failure", [OSError("no network"), ImportError(), AssertionError(), RuntimeError("a\nb"), SystemExit(1)]
)
def test_whatever_keeps_a_way_from_working_is_one_line(failure: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any failure of a tokeniser becomes a configuration error of one line naming the scheme."""

    def refuse(**_: object) -> None:
        raise failure

    monkeypatch.setattr("nmt.scoring.tokenization.BLEU", refuse)
    for scheme in get_args(Tokenization):
        with pytest.raises(ConfigError) as error:
            check_tokenization(scheme)
        assert str(error.value).startswith(f"words cannot be split by {scheme}: ")
        assert "\n" not in str(error.value)


def test_text_without_spaces_is_told_from_text_with_them() -> None:
    """Thai, Lao, Burmese, Khmer, Japanese and Chinese as they are written; not what is split already, nor other scripts."""
    whole = ["สุนัขกำลังนอนหลับ", "ໝາກຳລັງນອນ", "ခွေးအိပ်နေသည်", "ឆ្កែកំពុងដេក", "犬が寝ています。", "狗在睡觉。"]
    other = [
        "The dog sleeps.",
        "Der Hund schläft.",
        "Собака спит.",
        "कुत्ता सो रहा है।",
        "الكلب نائم",
        "개가 자고 있다.",
        "הכלב ישן",
    ]
    split = ["สุนัข กำลัง นอน หลับ", "犬 が 寝て い ます 。", "狗 在 睡觉 。", ""]
    assert all(unsegmented([line]) for line in whole)
    assert not any(unsegmented([line]) for line in [*other, *split])
    assert not unsegmented([])


def test_a_usual_way_that_takes_sentences_for_words_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the language of the card is no code that sacreBLEU knows."""
    recipe = _recipe(tmp_path, "zh", "13a")
    choose_testsets(recipe, ["test"])
    assert "takes sentences for words; choose char or flores200" in capsys.readouterr().err
    choose_testsets(recipe, ["test"], "13a")  # who asks for it knows
    assert "takes sentences for words" not in capsys.readouterr().err
