"""Decides what the generated recogniser makes of a sentence: the hypothesis, with the errors real ones make.

Words are misheard as likely confusions (else as the real words that look most alike), small words are lost more often
than long ones, short words appear from nowhere; rarely nothing comes out, a noise becomes a polite phrase, or a phrase
is said again dozens of times. The rate is per spoken word. Punctuation, casing and number words differ from the
reference without being errors, so that the real normaliser has its work to do.
"""

from __future__ import annotations

import math
import random
from enum import Enum
from functools import lru_cache

from monitor.analysis.sentences import CALLS, CLINICAL, Words, bare


def _listed(text: str) -> tuple[str, ...]:
    """Words of a list written as running text."""
    return tuple(text.split())


RATE_MAX = 0.85
"""Most words that go wrong: at 1 a hypothesis would not resemble its sentence, and gaps could not be drawn."""

LOOP_PROBABILITY = 0.0004
"""Hypotheses that repeat themselves: a few in ten thousand utterances. At double, loops decide the WER of small
slices; at half, two weeks may show none among the corrected utterances."""

EMPTY_PROBABILITY = 0.003
"""Utterances of which nothing comes out (a handset that woke too late): 0.3 points of WER, whoever speaks."""

NUMBER_WORDS_PROBABILITY = 0.3
"""Hypotheses that spell numbers as words where the corrector writes digits: no error, once normalised."""

_SUBSTITUTION, _DELETION = 0.60, 0.22
_SMALL_SUBSTITUTION, _SMALL_DELETION = 0.32, 0.52
"""What an error is, for long words and for small ones; the rest are insertions after the word, which survives."""

_SMALL = frozenset(
    _listed("""
    a an and are as at be been by can for had has have he i if in is it me my no not of on or she that the they
    to was we will with you your
    """)
)

_INSERTED = ("the", "a", "and", "to", "so", "that", "okay", "in", "is", "now", "it", "we")

_HALLUCINATED = ("Thank you.", "Thank you for watching.", "Okay.", "Bye.", "you", "Thanks.")
"""What recognisers say of noise: for utterances whose reference is empty."""

_CONFUSIONS_TEXT = """
13 = 30; 14 = 40; 15 = 50; 16 = 60; 17 = 70; 18 = 80; 19 = 90; 30 = 13; 40 = 14; 50 = 15/60; 60 = 16;
80 = 18/8; 5 = 9; 9 = 5; 2 = to; 4 = for; 8 = ate; 10 = 2; 20 = plenty; 100 = 104; 500 = 505; 250 = 215;
2.5 = 25; milligrams = micrograms/milligram; micrograms = milligrams/micro;
millilitres = millimetres/millilitre; units = unit/minutes; gram = grand; not = now; no = know/now;
right = write/light; left = lift; pain = pane/pan; chest = chess/just; hypertension = hypotension;
dysphagia = dysphasia; hydroxyzine = hydralazine; hydralazine = hydroxyzine;
prochlorperazine = chlorpromazine; chlorpromazine = chlorpropamide; prednisolone = prednisone;
paracetamol = parasite a mole; furosemide = for a semi; amoxicillin = a moxie ceiling;
metformin = met foreman; ramipril = ram a pill; bisoprolol = by so prolol; apixaban = a pics a ban;
warfarin = warfare in; atorvastatin = a tour vastatin; omeprazole = lansoprazole;
lansoprazole = omeprazole; salbutamol = sell butamol; codeine = coding; morphine = more fin;
amlodipine = am low to pine; gabapentin = gabba pentin; sertraline = certain line;
gentamicin = gentle mice in; enoxaparin = in oxaparin; clopidogrel = clopped a grill; ward = word;
bed = bad/bread; bay = day; dose = does; often = of ten; oedema = a demon; nausea = nosy; fever = favour;
cough = coffee; rash = rush; drain = train; wound = wind; soft = sofa; calves = carves; dry = try;
clear = clean; clean = clear; hip = hep; stroke = struck; sepsis = sixties; anaemia = in near;
asthma = has ma; troponin = trope in in; lactate = lack tate; urea = your ear; cultures = vultures;
heart = hard; rate = right; pressure = precious; blood = bud; temperature = temper; okafor = okay for;
sinclair = since clear; patel = battle; kowalski = go all ski; davies = davis; reyes = rays;
campbell = camel; begum = big um; adeyemi = a day me; fraser = phaser; hughes = use;
lindqvist = lint twist; morgan = organ; thompson = tomson; chen = ten; registrar = register;
pharmacist = farm assist; consultant = consulting; nurse = nice; night = light; family = famine;
radiology = audiology; audiology = radiology; cardiology = radiology; clinic = click; eye = i;
hearing = herring; fracture = factor; monday = sunday; tuesday = thursday; thursday = tuesday;
wednesday = when's day; friday = fry day; march = much; april = a pill; june = junior;
morning = mourning; noon = none; quarter = water; half = have; past = passed; appointment = ointment;
letter = later; results = result; prescription = subscription; permit = limit; parking = barking;
number = numb; reference = preference; name = main; address = a dress; phone = foam; line = lime;
hold = old; call = cool; calling = falling; ring = bring; told = cold; week = weak; daughter = doctor;
doctor = daughter; bus = boss; drive = dive; water = what a; tablets = tablet; label = table;
breakfast = break fast; mouth = month; food = foot; skin = scan; scan = skin; cannula = can you la;
review = view; repeat = reheat; stop = top; start = tart; give = live; check = cheque; confirm = conform;
patient = patience; allergic = a lurgic; history = mystery; denies = the knees; where = wear;
which = witch; would = wood; there = their; hours = ours; days = daze; this = these; please = police;
sorry = story; booked = looked; due = do; side = sight; room = rum; leg = lake; hand = and;
vision = version
"""
"""`word = what it is taken for`, several separated by a slash; a phrase is a substitution with insertions."""


_ALSO_HEARD = _listed("""
about above action after agent alarm album angle answer apply autumn ballet bandage basket before better bottle
bottom branch breeze bridge bright broken butter button camera candle carbon carpet castle centre certain change
charge circle climate coast collar comma company concert contact cotton counter couple cradle dealer decade delay
desert dinner direct distance double drawer effort eleven engine evening expect famous father finger flower foreign
forest forget garden gather gentle glasses golden grammar handle hangover harbour hanging holding hollow imagine
income inside island jacket jungle ladder landing laundry leather lesson listen little lucky manage manner marble
market master matter meadow measles medal member middle minute mirror moment mother motion mountain narrow nation
nature needle notice number object offer office option orange order organ packet palace paper parcel patience
pattern people pepper perform picture planet plaster pocket powder present prison process promise protest quiet
rabbit rather reason record relief remember repair report rescue return ribbon river rubber sample season second
secret section settle shadow shoulder signal silver simple single sister spirit station still street stretch summer
supper surface system tailor talent target temple tender ticket timber tomato touch traffic treasure trouble tunnel
twelve uncle under valley velvet village violet visit wander weather wedding whisper window winter wonder yellow
""")
"""Ordinary words that a recogniser may hear beside those of its trade."""


class Style(Enum):
    """How a channel writes its hypotheses."""

    PUNCTUATED = "punctuated"
    PLAIN = "plain"
    """Lower case without punctuation, as streaming recognisers give."""


def hear(words: Words, rate: float, style: Style, rng: random.Random) -> str:
    """The hypothesis for `words` when each goes wrong with probability `rate`."""
    if not words:
        return _HALLUCINATED[int(rng.random() * len(_HALLUCINATED))]
    accident = rng.random()
    if accident < EMPTY_PROBABILITY:
        return ""
    heard = _misheard(words, min(rate, RATE_MAX), rng)
    if accident > 1.0 - LOOP_PROBABILITY:
        heard = _looped(heard, rng)
    if rng.random() < NUMBER_WORDS_PROBABILITY:
        heard = [NUMBER_WORDS.get(word, word) for word in heard]
    text = " ".join(heard)
    if style is Style.PLAIN:
        return text.lower().replace(",", "")
    return f"{text[:1].upper()}{text[1:]}." if text else ""


@lru_cache(maxsize=4096)
def sound_alikes(word: str) -> tuple[str, ...]:
    """What a lower-case word may be taken for, at least one phrase; never itself.

    >>> sound_alikes("hypertension")
    ('hypotension',)
    >>> sound_alikes("handover")
    ('hangover', 'hand', 'handle')
    """
    listed = _CONFUSIONS.get(word)
    if listed is not None:
        return listed
    if any(character.isdigit() for character in word):
        return _other_digits(word)
    ranked = sorted(_HEARABLE, key=lambda other: (-_likeness(word, other), other))
    return tuple(other for other in ranked[:4] if other != word)[:3]


def _misheard(words: Words, rate: float, rng: random.Random) -> Words:
    """Draws the gap to the next error rather than a coin for each word: three draws a sentence, not fifteen."""
    if rate <= 0.0:
        return words
    draw = rng.random
    log_kept = math.log1p(-rate)
    heard: Words = []
    start = 0
    while (wrong := start + int(math.log(1.0 - draw()) / log_kept)) < len(words):
        heard.extend(words[start:wrong])
        heard.extend(_error(words[wrong], rng))
        start = wrong + 1
    heard.extend(words[start:])
    return heard


def _error(word: str, rng: random.Random) -> Words:
    """What stands in the hypothesis where `word` went wrong."""
    plain = bare(word)
    if plain in _SMALL:
        substitution, deletion = _SMALL_SUBSTITUTION, _SMALL_DELETION
    else:
        substitution, deletion = _SUBSTITUTION, _DELETION
    kind = rng.random()
    if kind < substitution:
        options = sound_alikes(plain)
        return [options[int(rng.random() * len(options))]]
    if kind < substitution + deletion:
        return []
    return [word, _INSERTED[int(rng.random() * len(_INSERTED))]]


def _looped(heard: Words, rng: random.Random) -> Words:
    length = rng.randint(1, 4)
    start = rng.randrange(max(1, len(heard) - length))
    phrase = heard[start : start + length]
    return [*heard[: start + length], *phrase * rng.randint(12, 50)]


def _other_digits(word: str) -> tuple[str, ...]:
    at = next(place for place in range(len(word) - 1, -1, -1) if word[place].isdigit())
    digit = int(word[at])
    return tuple(f"{word[:at]}{(digit + step) % 10}{word[at + 1 :]}" for step in (1, 4, 5))


def _likeness(word: str, other: str) -> float:
    """Dice coefficient of the letter pairs, the first letter counted as a pair of its own: 0 to 1."""
    mine, others = _letter_pairs(word), _letter_pairs(other)
    return 2.0 * len(mine & others) / (len(mine) + len(others))


@lru_cache(maxsize=4096)
def _letter_pairs(word: str) -> frozenset[str]:
    return frozenset(word[place : place + 2] for place in range(len(word) - 1)) | {f"^{word[:1]}"}


def _number_words() -> dict[str, str]:
    ones = _listed("""
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen
    """)
    tens = _listed("- - twenty thirty forty fifty sixty seventy eighty ninety")
    words = {str(number): name for number, name in enumerate(ones)}
    for number in range(20, 100):
        words[str(number)] = tens[number // 10] + (f" {ones[number % 10]}" if number % 10 else "")
    words |= {"100": "one hundred", "250": "two hundred and fifty", "500": "five hundred", "2.5": "two point five"}
    return words


NUMBER_WORDS = _number_words()
"""Digits as a corrector writes them -> the words that a recogniser may write."""

_CONFUSIONS = {
    word.strip(): tuple(others.split("/"))
    for word, others in (entry.split(" = ") for entry in _CONFUSIONS_TEXT.replace("\n", " ").strip().split("; "))
}
_HEARABLE = sorted(
    word for word in {*CLINICAL.vocabulary(), *CALLS.vocabulary(), *_ALSO_HEARD} if word.isalpha() and len(word) > 2
)
