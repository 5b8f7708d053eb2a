"""A shortlist holds what words become; search among it is search among them, for each sentence on its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nmt.config.search import SearchConfig
from nmt.corpus.encoded import EncodedCorpus, Ragged
from nmt.corpus.prepared import Prepared
from nmt.corpus.tokenizer import EOS
from nmt.decoding.shortlist import Shortlist, Shortlisted
from nmt.errors import CheckpointError, ConfigError
from nmt.runtime.device import SearchPrecision
from nmt.storage.bundle import LoadedModel, load_model
from nmt.translation.result import Options
from nmt.translation.translator import Translator
from tiny import VOCABULARY, make_batch, make_model, make_recipe

PRINTS = {"source": "s", "target": "t"}


def test_a_lexical_model_finds_what_words_become() -> None:
    """Each token becomes itself plus seven, in any order, beside a token that stands everywhere."""
    generator = torch.Generator().manual_seed(1)
    sources = [torch.randint(4, 14, (5,), generator=generator).tolist() for _ in range(300)]
    targets = [[20, *(token + 7 for token in reversed(source))] for source in sources]
    corpus = EncodedCorpus(Ragged.of(sources), Ragged.of(targets))
    found = Shortlist.build(corpus, (15, 24), PRINTS, each=2, frequent=1)
    for token in range(4, 14):
        assert token + 7 in found.table[token].tolist()
    assert found.frequent.tolist() == [0, 1, 2, 3, 20]
    ids, own = found.candidates(torch.tensor([[4, 5, EOS], [6, 6, EOS]]), 24)
    assert {11, 12}.issubset(ids[own[0]].tolist())
    assert 13 in ids[own[1]].tolist()
    assert 11 not in ids[own[1]].tolist() or 11 in found.table[6].tolist()


@pytest.mark.parametrize("name", ["additive", "transformer", "convolution", "visual", "visual-slices"])
def test_a_list_of_everything_changes_nothing(name: str) -> None:
    """The same tokens and scores as without; the model has its output layer back afterwards."""
    from nmt.decoding.beam_search import beam_search

    model = make_model(name)
    whole = Shortlist(torch.zeros((VOCABULARY, 1), dtype=torch.int64), torch.arange(VOCABULARY), PRINTS)
    narrowed = Shortlisted(model, model.output, whole, "fp32")
    source, lengths = make_batch([6, 3, 5])
    config = SearchConfig(beam=3)
    plain = beam_search(model, source, lengths, config, best=2)
    with narrowed:
        found = narrowed.finished(beam_search(narrowed, source, lengths, config, best=2))
    assert [[item.tokens for item in items] for items in found] == [[item.tokens for item in items] for items in plain]
    assert found[0][0].score == pytest.approx(plain[0][0].score)
    assert model.output is narrowed.plain


def test_only_what_is_listed_is_said_whatever_stands_beside_it() -> None:
    """A batch is its sentences one by one, each within its own list."""
    from nmt.decoding.beam_search import beam_search

    model = make_model("transformer")
    table = torch.arange(VOCABULARY)[:, None].repeat(1, 2)
    shortlist = Shortlist(table, torch.arange(4), PRINTS)
    narrowed = Shortlisted(model, model.output, shortlist, "fp32")
    source, lengths = make_batch([6, 3, 5])
    config = SearchConfig(beam=3)
    together = narrowed.finished(beam_search(narrowed, source, lengths, config))
    for row, length in enumerate(lengths.tolist()):
        one = source[row : row + 1, :length]
        ((alone,),) = narrowed.finished(beam_search(narrowed, one, lengths[row : row + 1], config))
        assert alone.tokens == together[row][0].tokens
        assert set(alone.tokens) <= {*one[0].tolist(), 0, 1, 2, 3}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_trained_model_hardly_misses_the_rest(trained: Path, tmp_path: Path, precision: SearchPrecision) -> None:
    """Most translations are the same, in any precision, from a file that says whose it is."""
    from nmt_data.prepare import prepare

    loaded = load_model(trained)
    sizes = loaded.tokenizers.source.vocabulary_size, loaded.tokenizers.target.vocabulary_size
    prints = loaded.tokenizers.fingerprints
    path = tmp_path / "list"
    Shortlist.build(prepare(loaded.recipe).train, sizes, prints, each=30, frequent=50).save(path)
    lines = prepare(loaded.recipe).testset("test").source[:60]
    config = SearchConfig(beam=2)
    free = Translator(loaded, search=config, precision=precision)
    narrow = Translator(loaded, search=config, precision=precision, options=Options(shortlist=path))
    same = sum(one == other for one, other in zip(narrow.translate(lines), free.translate(lines), strict=True))
    assert same >= 30  # a model trained for seconds, and 8-bit rounding, which is of the rows that are there
    for one, other in zip(
        *(side.score_targets(lines[:2], ["a dog .", "the man ."]) for side in (narrow, free)), strict=True
    ):
        assert one.log_probability == pytest.approx(other.log_probability)


def test_a_search_that_fails_leaves_the_whole_vocabulary(trained: Path, tmp_path: Path) -> None:
    """Forced scores after it are those of a model without a list."""
    from nmt_data.prepare import prepare

    loaded = load_model(trained)
    sizes = loaded.tokenizers.source.vocabulary_size, loaded.tokenizers.target.vocabulary_size
    path = tmp_path / "list"
    Shortlist.build(prepare(loaded.recipe).train, sizes, loaded.tokenizers.fingerprints, each=5, frequent=9).save(path)
    translator = Translator(loaded, options=Options(shortlist=path))
    before = translator.score_targets(["ein Hund"], ["a dog ."])[0].log_probability

    def fail(*_: object) -> None:
        raise MemoryError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shortlisted, "step", fail)
        with pytest.raises(MemoryError):
            translator.translate(["ein Hund"])
    assert translator.score_targets(["ein Hund"], ["a dog ."])[0].log_probability == before


def test_another_models_list_is_refused(tmp_path: Path, prepared: Prepared) -> None:
    """With the reason; so are a damaged file and options that need the whole vocabulary."""
    model = make_model("additive").float()
    loaded = LoadedModel(model, prepared.tokenizers, make_recipe(), tmp_path, {})
    path = tmp_path / "list"
    Shortlist(torch.zeros((23, 1), dtype=torch.int64), torch.arange(5), PRINTS).save(path)
    with pytest.raises(CheckpointError, match="other tokenizers"):
        Translator(loaded, options=Options(shortlist=path))
    path.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read as a shortlist"):
        Translator(loaded, options=Options(shortlist=path))
    with pytest.raises(ConfigError, match="a shortlist goes with one model"):
        Translator(loaded, options=Options(shortlist=path, forbidden=["x"]))
