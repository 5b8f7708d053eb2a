"""German and English word forms: articles, endings, conjugation."""

from __future__ import annotations

from nmt_data.synthetic.lexicon import Noun, Verb

Words = list[str]

DEFINITE = {
    "nom": {"m": "der", "f": "die", "n": "das", "p": "die"},
    "acc": {"m": "den", "f": "die", "n": "das", "p": "die"},
    "dat": {"m": "dem", "f": "der", "n": "dem", "p": "den"},
}
WEAK = {
    "nom": {"m": "e", "f": "e", "n": "e", "p": "en"},
    "acc": {"m": "en", "f": "e", "n": "e", "p": "en"},
    "dat": {"m": "en", "f": "en", "n": "en", "p": "en"},
}
STRONG = {
    "nom": {"m": "er", "f": "e", "n": "es", "p": "e"},
    "acc": {"m": "en", "f": "e", "n": "es", "p": "e"},
    "dat": {"m": "em", "f": "er", "n": "em", "p": "en"},
}
EIN = {
    "nom": {"m": "", "f": "e", "n": "", "p": "e"},
    "acc": {"m": "en", "f": "e", "n": "", "p": "e"},
    "dat": {"m": "em", "f": "er", "n": "em", "p": "en"},
}
# person and number: German, English, possessives of both
PRONOUNS = {
    "1s": ("ich", "I", "mein", "my"),
    "2s": ("du", "you", "dein", "your"),
    "3m": ("er", "he", "sein", "his"),
    "3f": ("sie", "she", "ihr", "her"),
    "1p": ("wir", "we", "unser", "our"),
    "2p": ("ihr", "you", "euer", "your"),
    "3p": ("sie", "they", "ihr", "their"),
}
HAVE = {"1s": "habe", "2s": "hast", "3s": "hat", "1p": "haben", "2p": "habt", "3p": "haben"}
BE = {"1s": "bin", "2s": "bist", "3s": "ist", "1p": "sind", "2p": "seid", "3p": "sind"}
WAS = {"1s": "war", "2s": "warst", "3s": "war", "1p": "waren", "2p": "wart", "3p": "waren"}
WILL = {"1s": "werde", "2s": "wirst", "3s": "wird", "1p": "werden", "2p": "werdet", "3p": "werden"}
MODALS = {
    "can": {"1s": "kann", "2s": "kannst", "3s": "kann", "1p": "können", "2p": "könnt", "3p": "können"},
    "may": {"1s": "darf", "2s": "darfst", "3s": "darf", "1p": "dürfen", "2p": "dürft", "3p": "dürfen"},
    "should": {"1s": "soll", "2s": "sollst", "3s": "soll", "1p": "sollen", "2p": "sollt", "3p": "sollen"},
    "want to": {"1s": "will", "2s": "willst", "3s": "will", "1p": "wollen", "2p": "wollt", "3p": "wollen"},
    "have to": {"1s": "muss", "2s": "musst", "3s": "muss", "1p": "müssen", "2p": "müsst", "3p": "müssen"},
}


def decline_determiner(kind: str, case: str, gender: str, value: str, possessive: str) -> tuple[Words, str]:
    """Returns the German determiner, and the ending of an adjective after it."""
    weak, strong, ein = WEAK[case][gender], STRONG[case][gender], EIN[case][gender]
    match kind:
        case "def":
            return [DEFINITE[case][gender]], weak
        case "dies":
            return [f"dies{strong}"], weak
        case "indef":
            return ([], strong) if gender == "p" else ([f"ein{ein}"], weak if ein else strong)
        case "number":
            return [value], strong
        case _:
            stem = possessive if kind == "own" else "kein"
            stem = "eur" if stem == "euer" and ein else stem
            return [f"{stem}{ein}"], weak if ein else strong


def noun_form(noun: Noun, case: str, plural: bool) -> str:
    """Returns the German noun in a case."""
    if plural:
        return noun.plural + ("n" if case == "dat" and noun.plural[-1] not in "ns" else "")
    if noun.weak and case != "nom":
        return noun.german + ("n" if noun.german.endswith(("e", "er", "ar")) else "en")
    return noun.german


def conjugate(infinitive: str, stem: str, person: str) -> str:
    """Returns the present tense; `stem` is that of the second and third person singular."""
    root = infinitive.removesuffix("n") if infinitive.endswith(("ern", "eln")) else infinitive.removesuffix("en")
    match person:
        case "1s":
            return root + "e"
        case "2s":
            link = "e" if stem == root and stem[-1] in "td" else ""
            return stem + (link + "st" if stem[-1] not in "sßzx" else "t")
        case "3s":
            link = "e" if stem == root and stem[-1] in "td" else ""
            return stem + (link + "t" if stem[-1] != "t" or link else "")
        case "2p":
            return f"{stem}t" if stem.endswith("e") else root + ("et" if root[-1] in "td" else "t")
        case _:
            return infinitive


def german_verb(verb: Verb, tense: str, person: str, modal: str) -> tuple[str, Words, Words]:
    """Returns the finite verb, the end of a main clause, and the end of a subordinate clause."""
    infinitive = verb.particle + verb.infinitive
    match tense:
        case "present":
            finite = conjugate(verb.infinitive, verb.stem, person)
            return finite, [verb.particle] if verb.particle else [], [verb.particle + finite]
        case "past":
            finite = (HAVE if verb.auxiliary == "h" else BE)[person]
            return finite, [verb.participle], [verb.participle, finite]
        case "future":
            return WILL[person], [infinitive], [infinitive, WILL[person]]
        case _:
            return MODALS[modal][person], [infinitive], [infinitive, MODALS[modal][person]]


def english_verb(verb: Verb, tense: str, person: str, modal: str) -> tuple[str, str, str]:
    """Returns the auxiliary (or none), the form of do to use without one, and the verb."""
    does = "does" if person == "3s" else "do"
    match tense:
        case "present":
            return "", does, third(verb.english, person)
        case "past":
            return "", "did", verb.past
        case "future":
            return "will", "", verb.english
        case _ if modal in ("want to", "have to"):
            return "", does, f"{third(modal, person)} {verb.english}"
        case _:
            return modal, "", verb.english


def base_form(verb: Verb, tense: str, modal: str) -> str:
    """Returns the English verb after a form of do."""
    return f"{modal} {verb.english}" if tense == "modal" else verb.english


def third(verb: str, person: str) -> str:
    """Puts a verb into the third person singular if needed; only the first word of a phrasal verb changes."""
    if person != "3s":
        return verb
    head, _, tail = verb.partition(" ")
    if head == "have":
        head = "has"
    elif head.endswith(("s", "sh", "ch", "x", "o")):
        head += "es"
    elif head.endswith("y") and head[-2] not in "aeiou":
        head = head[:-1] + "ies"
    else:
        head += "s"
    return f"{head} {tail}" if tail else head


def english_be(person: str, past: bool) -> str:
    """Returns the form of be."""
    if past:
        return "was" if person in ("1s", "3s") else "were"
    return {"1s": "am", "3s": "is"}.get(person, "are")
