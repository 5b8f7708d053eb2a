"""The words of the phrasebook. Some German words share a spelling on purpose: only context tells a bank from a bench."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Noun:
    """A noun in both languages; `weak` adds -(e)n in accusative and dative singular."""

    gender: str
    german: str
    plural: str
    english: str
    english_plural: str
    kind: str
    weak: bool


@dataclass(frozen=True)
class Verb:
    """A verb in both languages; `kind` is the kind of its object, or empty; `particle` is split off in main clauses."""

    infinitive: str
    stem: str
    """Stem of the second and third person singular."""
    participle: str
    auxiliary: str
    particle: str
    frame: str
    """i: no object, a: accusative, d: dative, da: dative and accusative."""
    kind: str
    english: str
    past: str


# gender singular plural english plural kind; n after the kind marks a weak noun
_NOUNS = """
m Mann Männer man men person | f Frau Frauen woman women person | n Kind Kinder child children person
m Lehrer Lehrer teacher teachers person | m Arzt Ärzte doctor doctors person | m Freund Freunde friend friends person
m Nachbar Nachbarn neighbour neighbours person n | m Student Studenten student students person n
m Bäcker Bäcker baker bakers person | m Koch Köche cook cooks person
m Polizist Polizisten policeman policemen person n
m Gast Gäste guest guests person | m König Könige king kings person | f Königin Königinnen queen queens person
m Bauer Bauern farmer farmers person n | n Mädchen Mädchen girl girls person | m Junge Jungen boy boys person n
m Vater Väter father fathers person | f Mutter Mütter mother mothers person | m Bruder Brüder brother brothers person
f Schwester Schwestern sister sisters person | f Tante Tanten aunt aunts person | m Onkel Onkel uncle uncles person
m Sohn Söhne son sons person | f Tochter Töchter daughter daughters person | m Leiter Leiter manager managers person
f Ärztin Ärztinnen physician physicians person | m Fahrer Fahrer driver drivers person
m Dichter Dichter poet poets person
m Hund Hunde dog dogs animal | f Katze Katzen cat cats animal | n Pferd Pferde horse horses animal
m Vogel Vögel bird birds animal | f Kuh Kühe cow cows animal | f Maus Mäuse mouse mice animal
m Bär Bären bear bears animal n
m Strauß Strauße ostrich ostriches animal | f Schlange Schlangen snake snakes animal
n Schaf Schafe sheep sheep animal
m Apfel Äpfel apple apples food | f Birne Birnen pear pears food | n Brot Brote loaf loaves food
f Suppe Suppen soup soups food
m Kuchen Kuchen cake cakes food | n Ei Eier egg eggs food | n Gericht Gerichte dish dishes food
f Kartoffel Kartoffeln potato potatoes food | m Fisch Fische fish fish food | n Brötchen Brötchen roll rolls food
n Buch Bücher book books text | m Brief Briefe letter letters text | f Zeitung Zeitungen newspaper newspapers text
n Gedicht Gedichte poem poems text | m Roman Romane novel novels text | n Blatt Blätter sheet sheets text
f Karte Karten card cards text | f Geschichte Geschichten story stories text
f Tür Türen door doors door | n Fenster Fenster window windows door | n Schloss Schlösser lock locks door
m Koffer Koffer suitcase suitcases door | f Schachtel Schachteln box boxes door | n Tor Tore gate gates door
n Schloss Schlösser castle castles building | n Museum Museen museum museums building
f Kirche Kirchen church churches building
f Bank Banken bank banks building | n Gericht Gerichte court courts building
f Schule Schulen school schools building
n Krankenhaus Krankenhäuser hospital hospitals building | n Hotel Hotels hotel hotels building
m Turm Türme tower towers building | m Markt Märkte market markets building
f Bank Bänke bench benches seat | m Stuhl Stühle chair chairs seat | n Sofa Sofas sofa sofas seat
f Decke Decken blanket blankets seat
n Fahrrad Fahrräder bicycle bicycles machine | n Auto Autos car cars machine | f Uhr Uhren clock clocks machine
f Lampe Lampen lamp lamps machine | n Dach Dächer roof roofs machine | f Leiter Leitern ladder ladders machine
m Motor Motoren engine engines machine | f Decke Decken ceiling ceilings machine | f Birne Birnen bulb bulbs machine
f Blume Blumen flower flowers plant | f Kiefer Kiefern pine pines plant | n Blatt Blätter leaf leaves plant
m Baum Bäume tree trees plant | f Rose Rosen rose roses plant | m Strauß Sträuße bouquet bouquets plant
m Garten Gärten garden gardens place | m Wald Wälder forest forests place | f Küche Küchen kitchen kitchens place
m Park Parks park parks place | n Zimmer Zimmer room rooms place | n Dorf Dörfer village villages place
f Stadt Städte city cities place | m Keller Keller cellar cellars place | n Haus Häuser house houses place
m Schlüssel Schlüssel key keys tool | n Messer Messer knife knives tool | m Hammer Hämmer hammer hammers tool
m Stift Stifte pen pens tool | m Löffel Löffel spoon spoons tool
"""

# infinitive stem participle auxiliary particle frame kind english past
_VERBS = """
sehen sieh gesehen h - a any see saw | suchen such gesucht h - a any look_for looked_for
finden find gefunden h - a any find found | kennen kenn gekannt h - a person know knew
lieben lieb geliebt h - a person love loved | fragen frag gefragt h - a person ask asked
besuchen besuch besucht h - a person visit visited | treffen triff getroffen h - a person meet met
grüßen grüß gegrüßt h - a person greet greeted | rufen ruf angerufen h an a person call called
holen hol abgeholt h ab a person pick_up picked_up | laden läd eingeladen h ein a person invite invited
verstehen versteh verstanden h - a person understand understood
stellen stell vorgestellt h vor a person introduce introduced
füttern fütter gefüttert h - a animal feed fed | fangen fäng gefangen h - a animal catch caught
reiten reit geritten h - a animal ride rode | zeichnen zeichne gezeichnet h - a animal draw drew
essen iss gegessen h - a food eat ate | kochen koch gekocht h - a food cook cooked
schneiden schneid geschnitten h - a food cut cut | probieren probier probiert h - a food taste tasted
lesen lies gelesen h - a text read read | schreiben schreib geschrieben h - a text write wrote
lesen lies vorgelesen h vor a text recite recited | werfen wirf weggeworfen h weg a text throw_away threw_away
öffnen öffne geöffnet h - a door open opened | machen mach aufgemacht h auf a door unlock unlocked
machen mach zugemacht h zu a door shut shut | schließen schließ geschlossen h - a door close closed
betreten betritt betreten h - a building enter entered | besichtigen besichtig besichtigt h - a building tour toured
bauen bau gebaut h - a building build built | verlassen verläss verlassen h - a building leave left
reparieren reparier repariert h - a machine repair repaired | putzen putz geputzt h - a machine polish polished
machen mach ausgemacht h aus a machine turn_off turned_off | prüfen prüf geprüft h - a machine check checked
pflücken pflück gepflückt h - a plant pick picked | malen mal gemalt h - a plant paint painted
gießen gieß gegossen h - a plant water watered | kaufen kauf gekauft h - a seat buy bought
tragen träg getragen h - a seat carry carried | verkaufen verkauf verkauft h - a seat sell sold
nehmen nimm mitgenommen h mit a tool take_along took_along | verlieren verlier verloren h - a tool lose lost
brauchen brauch gebraucht h - a tool need needed | vergessen vergiss vergessen h - a tool forget forgot
schlafen schläf geschlafen h - i - sleep slept | lachen lach gelacht h - i - laugh laughed
arbeiten arbeit gearbeitet h - i - work worked | singen sing gesungen h - i - sing sang
tanzen tanz getanzt h - i - dance danced | warten wart gewartet h - i - wait waited
spielen spiel gespielt h - i - play played | weinen wein geweint h - i - cry cried
kommen komm angekommen s an i - arrive arrived | stehen steh aufgestanden s auf i - get_up got_up
hören hör aufgehört h auf i - stop stopped | kaufen kauf eingekauft h ein i - go_shopping went_shopping
fahren fähr weggefahren s weg i - drive_away drove_away | kommen komm zurückgekommen s zurück i - come_back came_back
helfen hilf geholfen h - d person help helped | danken dank gedankt h - d person thank thanked
folgen folg gefolgt s - d person follow followed | antworten antwort geantwortet h - d person answer answered
hören hör zugehört h zu d person listen_to listened_to | glauben glaub geglaubt h - d person believe believed
geben gib gegeben h - da tool give gave | zeigen zeig gezeigt h - da any show showed
schenken schenk geschenkt h - da plant offer offered | schicken schick geschickt h - da text send sent
bringen bring gebracht h - da food bring brought | leihen leih geliehen h - da machine lend lent
"""

_ADJECTIVES = """
alt old | neu new | groß big | klein small | schön beautiful | rot red | blau blue | grün green | schwarz black
weiß white
gut good | schlecht bad | lang long | kurz short | jung young | reich rich | arm poor | warm warm | kalt cold
schnell fast
langsam slow | stark strong | schwach weak | müde tired | ruhig calm | laut loud | billig cheap | wichtig important
freundlich friendly | glücklich happy | traurig sad | gefährlich dangerous | berühmt famous | seltsam strange
leicht light
schwer heavy | nass wet | trocken dry | sauber clean | schmutzig dirty
"""

_MANNERS = """
schnell quickly | langsam slowly | leise quietly | laut loudly | allein alone | gemeinsam together | heimlich secretly
sorgfältig carefully | fröhlich cheerfully | plötzlich suddenly | vorsichtig cautiously | geduldig patiently
"""

NAMES_MALE = [
    "Anton",
    "Bruno",
    "Emil",
    "Felix",
    "Georg",
    "Hugo",
    "Jakob",
    "Karl",
    "Leon",
    "Max",
    "Otto",
    "Paul",
    "Rolf",
    "Simon",
    "Tim",
    "Viktor",
]
NAMES_FEMALE = [
    "Anna",
    "Berta",
    "Clara",
    "Dora",
    "Emma",
    "Frieda",
    "Greta",
    "Hanna",
    "Ida",
    "Julia",
    "Klara",
    "Lena",
    "Marie",
    "Nora",
    "Petra",
    "Rosa",
]
CITIES = [
    "Berlin",
    "Hamburg",
    "Bremen",
    "Dresden",
    "Leipzig",
    "Bonn",
    "Kassel",
    "Ulm",
    "Erfurt",
    "Potsdam",
    "London",
    "Paris",
    "Rom",
    "Madrid",
    "Oslo",
    "Athen",
]
CITIES_ENGLISH = {"Rom": "Rome", "Athen": "Athens"}
SYLLABLES = ["ba", "der", "kel", "lo", "mar", "ni", "pol", "ra", "sten", "tu", "vil", "wen", "zo", "gra", "fin", "hus"]
WEEKDAYS = {
    "Montag": "Monday",
    "Dienstag": "Tuesday",
    "Mittwoch": "Wednesday",
    "Donnerstag": "Thursday",
    "Freitag": "Friday",
    "Samstag": "Saturday",
    "Sonntag": "Sunday",
}
MONTHS = {
    "Januar": "January",
    "März": "March",
    "April": "April",
    "Mai": "May",
    "Juni": "June",
    "Juli": "July",
    "August": "August",
    "Oktober": "October",
    "Dezember": "December",
}
ORDINALS = {
    "ersten": "first",
    "zweiten": "second",
    "dritten": "third",
    "vierten": "fourth",
    "fünften": "fifth",
    "siebten": "seventh",
    "achten": "eighth",
    "zehnten": "tenth",
    "zwölften": "twelfth",
    "zwanzigsten": "twentieth",
}
PREPOSITIONS = {
    "vor": "in front of",
    "hinter": "behind",
    "neben": "next to",
    "in": "in",
    "unter": "under",
    "auf": "on",
}
_GERMAN_ONES = [
    "null",
    "ein",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
]
_ENGLISH_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]
_GERMAN_TENS = ["zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"]
_ENGLISH_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def number(value: int) -> tuple[str, str]:
    """Returns a number from 2 to 12 or 20 to 99 in words; German says the ones first (vierundzwanzig: twenty-four)."""
    if value <= 12:
        return _GERMAN_ONES[value], _ENGLISH_ONES[value]
    tens, ones = divmod(value, 10)
    german, english = _GERMAN_TENS[tens - 2], _ENGLISH_TENS[tens - 2]
    if ones == 0:
        return german, english
    return f"{_GERMAN_ONES[ones]}und{german}", f"{english}-{_ENGLISH_ONES[ones]}"


def _entries(table: str) -> list[list[str]]:
    return [entry.split() for line in table.strip().splitlines() for entry in line.split("|") if entry.strip()]


NOUNS = [
    Noun(gender, german, plural, english, english_plural, kind, weak == ["n"])
    for gender, german, plural, english, english_plural, kind, *weak in _entries(_NOUNS)
]
VERBS = [Verb(*[field.replace("_", " ").replace("-", "") for field in entry]) for entry in _entries(_VERBS)]
ADJECTIVES = [(entry[0], entry[1]) for entry in _entries(_ADJECTIVES)]
MANNERS = [(entry[0], entry[1]) for entry in _entries(_MANNERS)]
