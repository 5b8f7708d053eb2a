"""Words, lengths and case: different sentences stay different and the same the same, in a dozen scripts and more."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmt.corpus.words import count_letters, count_words, join_words, lower, normalise, split_words

DIFFERENT = {
    "Devanagari": ("मेरा घर", "मेरी घर", "मेरे घर"),
    "Bengali": ("আমি খাই", "আমি খাও", "আমি খাে"),
    "Tamil": ("கல்", "கால்", "கள்"),
    "Telugu": ("పాట", "పోటు", "పేట"),
    "Thai": ("มา", "ม้า", "หมา", "มี", "มือ"),
    "Lao": ("ປາ", "ປ່າ", "ປີ"),
    "Khmer": ("កា", "កី", "កូ"),
    "Burmese": ("စာ", "စား", "စီ"),
    "Tibetan": ("ཀ", "ཀི", "ཀུ"),
    "Sinhala": ("කලා", "කලී", "කල"),
    "Arabic": ("كَتَبَ", "كُتِبَ", "كتب"),
    "Hebrew": ("סֵפֶר", "סָפַר", "ספר"),
    "Cyrillic": ("все", "всё"),
    "Greek": ("πότε", "ποτέ"),
    "Korean": ("학교", "학생"),
    "Japanese": ("かき", "かぎ", "がき"),
    "Chinese": ("买", "卖"),
    "Georgian": ("სახლი", "სახლს"),
    "Ethiopic": ("ሰላም", "ሰላማ"),
    "Vietnamese": ("ma", "má", "mà", "mã", "mạ"),
    "Yoruba": ("o\u0323\u0300ro\u0323", "o\u0323ro\u0323"),
}
SAME = [
    ("Ach, SO!", "ach so", ""),
    ("STRASSE", "Straße", "de"),
    ("ΟΔΟΣ", "οδος", "el"),
    ("यह मेरा घर है।", "यह मेरा घर है", "hi"),
    ("هل أنت هنا؟", "هل أنت هنا", "ar"),
    ("我很好。", "我很好", "zh"),
    ("Pe\u00adni\u00adzil\u00adlin", "Penizillin", "de"),
    ("क्\u200dष", "क्ष", "hi"),
    ("Cafe\u0301", "CAFÉ", "fr"),
    ("ﬁne", "FINE", "en"),
    ("LKW´s", "lkw s", "de"),
    ("Liebe ❤\ufe0f", "liebe", "de"),
    ("IŞIK", "ışık", "tr"),
    ("İSTANBUL", "istanbul", "tr"),
    ("İstanbul", "istanbul", "en"),
    ("DİYARBAKIR", "Diyarbakır", "tr-TR"),
]


@pytest.mark.parametrize("script", DIFFERENT)
def test_vowel_signs_and_points_are_letters(script: str) -> None:
    """Sentences that differ in them alone are different, composed or not."""
    for form in ("NFC", "NFD"):
        texts = [unicodedata.normalize(form, text) for text in DIFFERENT[script]]
        assert len({normalise(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(("one", "other", "language"), SAME)
def test_case_punctuation_and_form_make_no_difference(one: str, other: str, language: str) -> None:
    """Normalisation maps two spellings of the same sentence to the same text."""
    assert normalise(one, language) == normalise(other, language)


def test_the_turkish_letters_i_are_two() -> None:
    """In Turkish and Azerbaijani alone, folded and lower-cased."""
    assert normalise("SINIR", "tr") == normalise("sınır", "tr") != normalise("sinir", "tr")
    assert normalise("SINIR", "en") == normalise("sinir", "en")
    assert [lower("IĞDIR İL", language) for language in ("tr", "az_AZ", "tur")] == ["ığdır il"] * 3
    assert lower("I\u0307L", "tr") == "il"
    assert lower("ISLE Straße", "de") == "isle straße"


@given(st.text(max_size=40), st.sampled_from(["", "tr", "hi"]))
def test_normalised_text_stays_as_it_is(text: str, language: str) -> None:
    """It is one line without outer spaces, empty for blank text alone, and the same however the text is composed."""
    found = normalise(text, language)
    assert found == " ".join(found.split())
    assert bool(found) == bool(" ".join(unicodedata.normalize("NFKC", text).split()))
    assert normalise(unicodedata.normalize("NFD", text), language) == normalise(
        unicodedata.normalize("NFC", text), language
    )


def test_signs_alone_stay() -> None:
    """A sentence of punctuation alone is kept by normalisation, and different ones stay different."""
    assert normalise("?!") == "?!"
    assert normalise("…") != normalise("!")


@given(st.text(alphabet=st.characters(max_codepoint=0x17F), max_size=60))
def test_words_of_alphabets_are_what_white_space_separates(text: str) -> None:
    """For Latin text, word counting and splitting agree with `str.split`."""
    assert count_words(text) == len(text.split())
    assert split_words(text) == text.split()


@given(st.text(alphabet="買った猫กินข้าวခေခြံ a.b\u3002", max_size=40))
def test_words_of_any_script_hold_all_letters(text: str) -> None:
    """Nothing but white space is lost, and there are at most as many words as characters."""
    assert "".join(split_words(text)) == "".join(text.split())
    assert bool(count_words(text)) <= bool(text.strip())
    assert count_words(text) <= len(text)


def test_sentences_without_spaces_have_words() -> None:
    """About as many as their translations; what stands in an alphabet among them counts as itself."""
    assert count_words("我昨天在北京买了一本很有意思的书。") == 8
    assert count_words("用 Python 写程序") == 3
    assert count_words("ฉันซื้อหนังสือที่น่าสนใจมากเล่มหนึ่ง") in range(6, 10)
    assert split_words("我爱 Berlin") == ["我", "爱", "Berlin"]
    assert split_words("ที่นี่") == ["ที่", "นี่"]


def test_a_letter_is_as_long_in_any_form() -> None:
    """Composed or not; a sign of Han or kana says as much as two letters of an alphabet."""
    for text in ("Trường đại học", "학교에 갔다", "naïve"):
        assert count_letters(unicodedata.normalize("NFD", text)) == len(unicodedata.normalize("NFC", text))
    assert count_letters("我爱你") == 6


@pytest.mark.parametrize("text", ["Der Hund schläft.", "我爱你", "ที่นี่ดี", "我爱 Berlin sehr", ""])
def test_words_join_to_their_line(text: str) -> None:
    """With the spaces that it had, and no others."""
    assert join_words(split_words(text)) == text
