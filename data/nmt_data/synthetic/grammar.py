"""A small grammar of German and English that says each meaning in both languages."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from nmt_data.synthetic import lexicon
from nmt_data.synthetic.lexicon import Noun, Verb
from nmt_data.synthetic.morphology import (
    BE,
    DEFINITE,
    HAVE,
    MODALS,
    PRONOUNS,
    WAS,
    base_form,
    conjugate,
    decline_determiner,
    english_be,
    english_verb,
    german_verb,
    noun_form,
    third,
)

Item = TypeVar("Item")
Words = list[str]

_CONJUNCTIONS = {"weil": "because", "obwohl": "although", "wenn": "when", "während": "while", "bevor": "before"}
_COORDINATORS = {"und": "and", "aber": "but", "denn": "for", "oder": "or"}
_SAYING = {
    "sagen": ("sag", "say", "said", "gesagt"),
    "glauben": ("glaub", "think", "thought", "geglaubt"),
    "hoffen": ("hoff", "hope", "hoped", "gehofft"),
}


@dataclass(frozen=True)
class Phrase:
    """A noun phrase in the German cases, and in English."""

    german: dict[str, Words]
    english: Words
    person: str
    """1s 2s 3s 1p 2p 3p"""
    possessives: tuple[str, str]
    indefinite: bool = False
    pronoun: bool = False


@dataclass(frozen=True)
class Clause:
    """The parts of a clause, which can be put in any order."""

    subject: Phrase
    finite: str
    middle: list[Words]
    """German objects, negation, manner and place, in order."""
    end: Words
    """Particle, participle or infinitive: last in a main clause."""
    subordinate_end: Words
    """As `end`, with the finite verb: last in a subordinate clause."""
    auxiliary: str
    """English auxiliary, before the subject in questions; empty if only questions and negation need one."""
    support: str
    verb: str
    base: str
    negative: bool
    rest: Words
    """English after the verb."""
    time: tuple[Words, Words] | None


class Grammar:
    """Draws meanings from a random generator; the same seed gives the same sentences."""

    def __init__(self, generator: random.Random) -> None:
        self.random = generator
        self.structure: list[str] = []
        """The structure of the current sentence: all choices except words."""

    def sentence(self, clauses: int, detail: float) -> tuple[str, str]:
        """Draws a sentence with this many clauses; `detail` is the chance of each optional part."""
        self.structure = []
        german, english = Words(), Words()
        mark = "."
        for index in range(clauses):
            if index:
                conjunction = self._pick(list(_COORDINATORS))
                self._note(conjunction)
                german += [",", conjunction]
                english += [",", _COORDINATORS[conjunction]]
            elif clauses == 1 and self._chance(0.15):
                mark = "?"
                part = self._question(detail)
                german, english = part
                continue
            part = self._statement(detail)
            german += part[0]
            english += part[1]
        return _finish(german, mark), _finish(english, mark)

    def _statement(self, detail: float) -> tuple[Words, Words]:
        match self._choose(
            {"plain": 6, "copula": 2, "subordinate": 2 * detail, "front": 1.5 * detail, "saying": detail}
        ):
            case "copula":
                return self._copula(detail)
            case "subordinate":
                main, clause = self._main(self._clause(detail)), self._subordinate(self._clause(detail / 2))
                return main[0] + [","] + clause[0], main[1] + clause[1]
            case "front":
                fronted = self._subordinate(self._clause(detail / 2))
                german, english = self._main(self._clause(detail), inverted=True)
                return fronted[0] + [","] + german, fronted[1] + [","] + english
            case "saying":
                return self._saying(detail)
            case _:
                return self._main(self._clause(detail))

    def _main(self, clause: Clause, inverted: bool = False) -> tuple[Words, Words]:
        """Makes a main clause: the verb is second, after the subject or the time, and first after a fronted clause."""
        time_first = clause.time is not None and not inverted and self._chance(0.4)
        self._note("time first" if time_first else "subject first")
        subject = clause.subject.german["nom"]
        time = clause.time[0] if clause.time else Words()
        front = time if time_first else subject
        german = [clause.finite, *subject] if inverted else [*front, clause.finite, *(subject if time_first else [])]
        german += ([] if time_first else time) + _flat(clause.middle) + clause.end
        english = clause.subject.english + _predicate(clause)
        if clause.time:
            english = clause.time[1] + [","] + english if time_first else english + clause.time[1]
        return german, english

    def _subordinate(self, clause: Clause) -> tuple[Words, Words]:
        """Makes a subordinate clause: the verb is last."""
        conjunction = self._pick(list(_CONJUNCTIONS))
        self._note(conjunction)
        german = [conjunction, *_verb_last(clause)]
        english = [_CONJUNCTIONS[conjunction], *clause.subject.english, *_predicate(clause)]
        return german, english + (clause.time[1] if clause.time else [])

    def _question(self, detail: float) -> tuple[Words, Words]:
        clause = self._clause(detail, modal=True)
        word = self._choose({"": 2, "warum": 1, "wo": 1, "wann": 0 if clause.time else 1})
        self._note(f"question {word}")
        time = clause.time or (Words(), Words())
        german = [clause.finite, *clause.subject.german["nom"], *time[0], *_flat(clause.middle), *clause.end]
        negation = ["not"] if clause.negative else []
        auxiliary, verb = (clause.auxiliary, clause.verb) if clause.auxiliary else (clause.support, clause.base)
        english = [auxiliary, *clause.subject.english, *negation, verb, *clause.rest, *time[1]]
        if word:
            german = [word, *german]
            english = [{"warum": "why", "wo": "where", "wann": "when"}[word], *english]
        return german, english

    def _saying(self, detail: float) -> tuple[Words, Words]:
        subject = self._subject(0.0)
        infinitive = self._pick(list(_SAYING))
        stem, base, past, participle = _SAYING[infinitive]
        clause = self._clause(detail)
        is_past = self._chance(0.4)
        self._note(f"saying {is_past}")
        time = clause.time[1] if clause.time else []
        english = [
            past if is_past else third(base, subject.person),
            "that",
            *clause.subject.english,
            *_predicate(clause),
            *time,
        ]
        finite = HAVE[subject.person] if is_past else conjugate(infinitive, stem, subject.person)
        german = [finite, *([participle] if is_past else []), ",", "dass", *_verb_last(clause)]
        return subject.german["nom"] + german, subject.english + english

    def _copula(self, detail: float) -> tuple[Words, Words]:
        subject = self._subject(detail)
        german, english = self._pick(lexicon.ADJECTIVES)
        past, negative = self._chance(0.3), self._chance(0.25)
        self._note(f"copula {past} {negative}")
        verb = (WAS if past else BE)[subject.person]
        english_verb = english_be(subject.person, past)
        degree = self._choose({"": 2, "sehr very": 1, "zu too": 1, "noch still": 1})
        words = degree.split()
        self._note(degree)
        return (
            [*subject.german["nom"], verb, *(["nicht"] if negative else []), *words[:1], german],
            [*subject.english, english_verb, *(["not"] if negative else []), *words[1:], english],
        )

    def _clause(self, detail: float, modal: bool = False, subject: Phrase | None = None) -> Clause:
        verb = self._pick(lexicon.VERBS)
        subject = subject or self._subject(detail)
        objects = self._objects(verb, subject, detail)
        indefinite = any(phrase.indefinite for phrase in objects)
        negative = not indefinite and self._chance(0.2)
        tense = self._choose({"present": 3, "past": 3, "future": 1.5, "modal": 3 if modal else 1.5})
        time = self._time(tense) if self._chance(detail) else None
        manner = self._pick(lexicon.MANNERS) if self._chance(0.4 * detail) else None
        place = self._place(detail) if self._chance(0.7 * detail) else None
        self._note(f"{verb.frame} {bool(verb.particle)} {tense} {negative} {manner is not None} {place is not None}")
        cases = {"i": [], "a": ["acc"], "d": ["dat"], "da": ["dat", "acc"]}[verb.frame]
        middle = [phrase.german[case] for phrase, case in zip(objects, cases, strict=True)]
        middle += [["nicht"]] if negative else []
        middle += [[manner[0]]] if manner else []
        middle += [place[0]] if place else []
        rest = [word for phrase in objects for word in phrase.english]
        rest += ([manner[1]] if manner else []) + (place[1] if place else [])
        finite, end, subordinate_end = german_verb(verb, tense, subject.person, self._modal(tense))
        auxiliary, support, main = english_verb(verb, tense, subject.person, self._last_modal)
        base = main if auxiliary else base_form(verb, tense, self._last_modal)
        return Clause(
            subject, finite, middle, end, subordinate_end, auxiliary, support, main, base, negative, rest, time
        )

    def _objects(self, verb: Verb, subject: Phrase, detail: float) -> list[Phrase]:
        if verb.frame == "i":
            return []
        direct = self._phrase(verb.kind, detail, owner=subject)
        if verb.frame != "da":
            return [direct]
        return [self._phrase("person", detail / 2, owner=subject), direct]

    def _subject(self, detail: float) -> Phrase:
        kind = self._choose({"pronoun": 3, "name": 2, "title": 1.5, "noun": 5})
        self._note(kind)
        match kind:
            case "pronoun":
                key = self._pick(list(PRONOUNS))
                german, english, *possessives = PRONOUNS[key]
                person = "3s" if key in ("3m", "3f") else key
                words = {case: [german] for case in DEFINITE}
                self._note(person)
                return Phrase(words, [english], person, (possessives[0], possessives[1]), pronoun=True)
            case "name":
                return self._name()
            case "title":
                return self._title()
            case _:
                return self._phrase(self._choose({"person": 5, "animal": 1}), detail)

    def _name(self) -> Phrase:
        female = self._chance(0.5)
        name = self._pick(lexicon.NAMES_FEMALE if female else lexicon.NAMES_MALE)
        possessives = PRONOUNS["3f" if female else "3m"][2:]
        return Phrase({case: [name] for case in DEFINITE}, [name], "3s", (possessives[0], possessives[1]))

    def _title(self) -> Phrase:
        """Draws Mr or Mrs and a name of two or three syllables that is in no list, so that it must be copied."""
        female = self._chance(0.5)
        name = "".join(self.random.choices(lexicon.SYLLABLES, k=self.random.choice([2, 2, 3]))).capitalize()
        titles = ("Frau", "Frau", "Mrs") if female else ("Herr", "Herrn", "Mr")
        words = {case: [titles[0] if case == "nom" else titles[1], name] for case in DEFINITE}
        possessives = PRONOUNS["3f" if female else "3m"][2:]
        return Phrase(words, [titles[2], name], "3s", (possessives[0], possessives[1]))

    def _phrase(self, kind: str, detail: float, owner: Phrase | None = None) -> Phrase:
        """Draws a noun of a kind with determiner, and perhaps an adjective and a relative clause."""
        if kind == "person" and self._chance(0.25):
            return self._name() if self._chance(0.6) else self._title()
        choices = [noun for noun in lexicon.NOUNS if kind in ("any", noun.kind)]
        noun = self._pick(choices)
        plural = self._chance(0.3)
        determiners = {"def": 5.0, "indef": 3.0, "dies": 1.5, "kein": 0.8, "number": 1.5 if plural else 0}
        if owner:
            determiners["own"] = 2.0
        determiner = self._choose(determiners)
        adjective = self._pick(lexicon.ADJECTIVES) if self._chance(0.5 * detail + 0.1) else None
        self._note(f"{determiner} {plural} {adjective is not None}")
        german, english = self._decline(noun, plural, determiner, adjective, owner)
        if self._chance(0.22 * detail):
            relative = self._relative(noun, plural, detail / 3)
            german = {case: words + relative[0] for case, words in german.items()}
            english = english + relative[1]
        person = "3p" if plural else "3s"
        possessives = PRONOUNS["3p" if plural else "3f" if noun.gender == "f" else "3m"][2:]
        return Phrase(german, english, person, (possessives[0], possessives[1]), determiner in ("indef", "kein"))

    def _decline(
        self, noun: Noun, plural: bool, determiner: str, adjective: tuple[str, str] | None, owner: Phrase | None
    ) -> tuple[dict[str, Words], Words]:
        value = (
            lexicon.number(self.random.choice([*range(2, 13), *range(20, 100)])) if determiner == "number" else ("", "")
        )
        gender = "p" if plural else noun.gender
        german: dict[str, Words] = {}
        for case in DEFINITE:
            possessive = owner.possessives[0] if owner else ""
            article, ending = decline_determiner(determiner, case, gender, value[0], possessive)
            attribute = [adjective[0].removesuffix("e") + ending] if adjective else []
            german[case] = [*article, *attribute, noun_form(noun, case, plural)]
        head = [adjective[1]] if adjective else []
        head = [*head, noun.english_plural if plural else noun.english]
        english = {
            "def": ["the"],
            "indef": [] if plural else ["an" if head[0][0] in "aeiou" else "a"],
            "dies": ["these" if plural else "this"],
            "kein": ["no"],
            "number": [value[1]],
            "own": [owner.possessives[1] if owner else ""],
        }[determiner]
        return german, english + head

    def _relative(self, noun: Noun, plural: bool, detail: float) -> tuple[Words, Words]:
        """Draws a relative clause, verb last, with the noun as its subject or accusative object."""
        gender = "p" if plural else noun.gender
        human = noun.kind == "person"
        if human and self._chance(0.5):
            possessives = PRONOUNS["3p" if plural else "3f" if gender == "f" else "3m"][2:]
            itself = Phrase(
                {"nom": [DEFINITE["nom"][gender]]}, ["who"], "3p" if plural else "3s", (possessives[0], possessives[1])
            )
            clause = self._clause(detail, subject=itself)
            time = clause.time[1] if clause.time else []
            self._note("relative subject")
            return [",", *_verb_last(clause), ","], ["who", *_predicate(clause), *time]
        verb = self._pick([verb for verb in lexicon.VERBS if verb.frame == "a" and verb.kind in ("any", noun.kind)])
        subject = self._subject(0.0)
        tense = self._choose({"present": 1, "past": 1})
        self._note(f"relative object {tense}")
        _, _, end = german_verb(verb, tense, subject.person, "can")
        main = english_verb(verb, tense, subject.person, "can")[2]
        link = "whom" if human else "that"
        return [",", DEFINITE["acc"][gender], *subject.german["nom"], *end, ","], [link, *subject.english, main]

    def _time(self, tense: str) -> tuple[Words, Words]:
        kind = self._choose({"day": 2, "weekday": 2, "clock": 1.5, "date": 1.5, "season": 1})
        self._note(kind)
        match kind:
            case "day":
                options = {"past": "gestern yesterday", "future": "morgen tomorrow"}
                words = options.get(tense, self._pick(["heute today", "jetzt now"])).split()
                return [words[0]], [words[1]]
            case "weekday":
                german, english = self._pick(list(lexicon.WEEKDAYS.items()))
                return ["am", german], ["on", english]
            case "clock":
                german, english = lexicon.number(self.random.randint(2, 12))
                return ["um", german, "Uhr"], ["at", english, "o'clock"]
            case "date":
                ordinal, month = self._pick(list(lexicon.ORDINALS.items())), self._pick(list(lexicon.MONTHS.items()))
                return ["am", ordinal[0], month[0]], ["on", "the", ordinal[1], "of", month[1]]
            case _:
                german, english = self._pick([("Winter", "winter"), ("Sommer", "summer"), ("Herbst", "autumn")])
                return ["im", german], ["in", english]

    def _place(self, detail: float) -> tuple[Words, Words]:
        if self._chance(0.3):
            city = self._pick(lexicon.CITIES)
            self._note("city")
            return ["in", city], ["in", lexicon.CITIES_ENGLISH.get(city, city)]
        german, english = self._pick(list(lexicon.PREPOSITIONS.items()))
        self._note(german)
        kind = {"auf": "seat", "unter": "plant", "in": "place"}.get(german, "building")
        phrase = self._phrase(kind, detail / 2)
        return [german, *phrase.german["dat"]], [*english.split(), *phrase.english]

    def _modal(self, tense: str) -> str:
        self._last_modal = self._pick(list(MODALS)) if tense == "modal" else ""
        self._note(self._last_modal)
        return self._last_modal

    _last_modal = ""

    def _note(self, choice: str) -> None:
        self.structure.append(choice)

    def _chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def _pick(self, items: Sequence[Item]) -> Item:
        return items[self.random.randrange(len(items))]

    def _choose(self, weights: dict[str, float]) -> str:
        return self.random.choices(list(weights), list(weights.values()))[0]


def _predicate(clause: Clause) -> Words:
    """Returns the English verb group and the words after it, without the time."""
    if not clause.negative:
        return [*([clause.auxiliary] if clause.auxiliary else []), clause.verb, *clause.rest]
    auxiliary = clause.auxiliary or clause.support
    return [*(["cannot"] if auxiliary == "can" else [auxiliary, "not"]), clause.base, *clause.rest]


def _verb_last(clause: Clause) -> Words:
    time = clause.time[0] if clause.time else []
    return [*clause.subject.german["nom"], *time, *_flat(clause.middle), *clause.subordinate_end]


def _flat(parts: list[Words]) -> Words:
    return [word for part in parts for word in part]


def _finish(words: Words, mark: str) -> str:
    """Joins words to a sentence, with punctuation and a capital."""
    text = " ".join(words).replace(" ,", ",").replace(",,", ",").rstrip(",")
    return text[0].upper() + text[1:] + mark
