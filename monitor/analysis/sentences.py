"""Decides what people in the generated deployment say: clinical and call-centre utterances from a small grammar.

A template is a line of words and `{slots}`; a slot is filled with one of its phrases. Every text was written for this
project. A sentence is a list of words as a careful corrector would write them (digits for numbers, a comma after the
word it follows, no full stop): the recogniser works on the words, the corrector writes them out.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

Words = list[str]

_PHRASES_TEXT = """
drug: paracetamol | furosemide | amoxicillin | metformin | ramipril | bisoprolol | apixaban | warfarin |
  atorvastatin | omeprazole | lansoprazole | salbutamol | prednisolone | morphine | codeine | amlodipine |
  gabapentin | sertraline | levothyroxine | clopidogrel | co-codamol | tazocin | gentamicin | enoxaparin |
  hydroxyzine | hydralazine | prochlorperazine | chlorpromazine | doxycycline | ceftriaxone
dose: 40 milligrams | 50 milligrams | 15 milligrams | 2.5 milligrams | 500 milligrams | 1 gram |
  80 milligrams | 10 milligrams | 20 milligrams | 250 milligrams | 75 milligrams | 30 millilitres |
  5 milligrams | 100 micrograms | 25 micrograms | 13 units | 16 units | 60 milligrams | 14 units |
  a single dose
route: orally | by mouth | intravenously | under the skin | through the cannula | by nebuliser | with food
often: once a day | twice a day | 3 times a day | every 4 hours | every 6 hours | at night |
  in the morning | with breakfast | as required | before meals | for 5 days | for 7 days | on alternate days
symptom: chest pain | shortness of breath | a productive cough | ankle swelling | nausea | a headache |
  dizziness | abdominal pain | fever | palpitations | dysphagia | numbness in the left hand |
  blurred vision | pain on the right side | weakness in the right leg | vomiting | a rash | loss of appetite
finding: the abdomen is soft and not tender | the chest is clear | heart sounds are normal |
  there is no oedema | the wound is clean and dry | bowel sounds are present | the calves are soft |
  pupils are equal and reactive | there is a crackle at the left base | the catheter is draining well |
  the dressing is intact | there are no signs of infection | peripheral pulses are present |
  the drain has been removed
condition: type 2 diabetes | hypertension | atrial fibrillation | asthma | chronic kidney disease |
  heart failure | a urinary tract infection | pneumonia | a fractured hip | a previous stroke |
  hypothyroidism | anaemia | cellulitis | gallstones | osteoarthritis | sepsis
test: a full blood count | a chest x-ray | an ultrasound of the kidneys | a troponin |
  urea and electrolytes | a CT scan of the head | blood cultures | an ECG | a urine sample |
  an arterial blood gas | a group and save | liver function tests | a swallow assessment | a lactate
vital: blood pressure is 130 over 80 | blood pressure is 118 over 65 | heart rate is 72 and regular |
  heart rate is 110 | temperature is 37.2 | temperature is 38.6 | oxygen saturation is 94 percent on air |
  oxygen saturation is 97 percent on 2 litres | respiratory rate is 18 | respiratory rate is 24 |
  blood glucose is 6.4 | blood glucose is 13.1 | the early warning score is 3 |
  urine output is 30 millilitres an hour
bed: bed 4 | bed 12 | bed 15 | side room 2 | bay 3 | bed 19 | bed 7 | side room 6 | bay 5
person: Mrs Okafor | Mr Sinclair | Mrs Patel | Mr Kowalski | Miss Davies | Mr Reyes | Mrs Campbell |
  Mr Thompson | Mrs Begum | Miss Morgan | Mr Adeyemi | Mrs Fraser | Mr Hughes | Mrs Lindqvist | Mr Chen
staff: the registrar | the ward pharmacist | the night team | physiotherapy | the consultant |
  the charge nurse | the dietician | social services | the surgical team | radiology | the outreach nurse |
  the family
day: Monday | Tuesday | Wednesday | Thursday | Friday | the 3rd of March | the 14th of April |
  the 21st of May | tomorrow | next week | the 30th of March | the 8th of June
time: 8 in the morning | half past 9 | quarter to 3 | 2 in the afternoon | 10 o'clock | noon |
  6 this evening | 20 past 4 | 11 in the morning | 5 o'clock
clinic: cardiology | the fracture clinic | the eye clinic | dermatology | the diabetes clinic |
  outpatients | physiotherapy | the antenatal clinic | audiology | the hearing clinic | respiratory |
  the pain clinic
reference: NH 4027 118 | NH 7316 552 | NH 2048 963 | NH 9153 247 | NH 3382 716 | NH 6671 409 | NH 1590 834
phone: 0131 496 0182 | 0141 496 0377 | 0161 496 0725 | 0121 496 0943 | 0191 498 0261 | 0117 496 0518
item: my prescription | a repeat prescription | my test results | the parking permit | my discharge letter |
  a sick note | the referral letter | my appointment letter | transport to the hospital | an interpreter
polite: please | thank you | if that is all right | when you have a moment | as soon as possible |
  if you can
reason: because I have to work that day | because the bus does not run then |
  because my daughter cannot drive me | because I am still on antibiotics |
  because nobody told me the date | because I have been moved to another ward
"""
"""`slot: phrase | phrase | ...`; a line that starts with blanks goes on with the one above."""

_CLINICAL = """
Give {dose} of {drug} {route} {often}
Please prescribe {drug}, {dose}, {often}, and review on {day}
Stop the {drug} and start {drug} {dose} {often}
{person} in {bed} is complaining of {symptom} since this morning
She denies {symptom} and there is no history of {condition}
He has {condition} and takes {drug} {dose} {often}
On examination {finding} and {finding}
{vital}, {vital} and {finding}
Do not give {drug}, the patient is allergic and had {symptom} last time
No {symptom}, no {symptom}, and {finding}
Please request {test} and {test} before {time}
I have spoken to {staff} and they will see {person} at {time}
The plan is to repeat {test} on {day} and to continue {drug} {often}
{person} was admitted with {symptom} and a background of {condition}
Can {staff} review {bed}, {vital}
The last dose of {drug} was given at {time}, the next is due at {time}
Observations for {bed}, {vital}, {vital}
The patient is not for {test} until {staff} has agreed
Discharge on {day} with {drug} {dose} {often} and follow up in {clinic}
Increase the {drug} to {dose} {often} and check {test} in 2 days
I confirm that {drug} {dose} was given to {person} {route}
The family would like to speak to {staff} about {condition}
{person} slept well, ate half of breakfast and has not had {symptom}
Nil by mouth from midnight, {test} is booked for {time}
Wristband checked, {person}, {bed}, {drug} {dose}
There is no change in the {symptom} after {dose} of {drug}
Handover for {bed}, {condition}, waiting for {test} and for {staff}
Withhold {drug} if the heart rate is below 50 or the pressure is below 100
Impression is {condition}, less likely {condition}
Please keep the left leg raised and measure the calf again at {time}
"""

_CALLS = """
Good morning, I am calling about {item} and my number is {phone}
Could you tell me when {clinic} can see me, {polite}
I would like to move my appointment from {day} to {day} at {time}
My reference is {reference} and the name is {person}
No, I have not received {item} yet, I asked for it on {day}
I cannot come on {day} {reason}
Thank you for holding, can you confirm your date of birth and the first line of your address
I have you down for {clinic} on {day} at {time}, is that correct
Yes, that is right, {time} on {day} is fine
You will get a text message with the reference {reference}
I need {item} sent to the pharmacy on the corner, {polite}
I am calling on behalf of {person}, who has {symptom}
The doctor told me to ring if I had {symptom} after taking {drug}
How many tablets of {drug} should I take, the label says {dose}
Please do not stop taking {drug} until you have spoken to {staff}
I will put you through to {clinic}, please hold the line
Is there anything else that I can help you with today
The number to call is {phone}, it is open until 6 o'clock
I was told that somebody would ring me back about {item} {reason}
We have cancelled the appointment on {day} and booked you in for {day}
Which entrance should I use for {clinic} and where can I park
I am sorry to hear that, let me check what has happened to {item}
Can I change the phone number on my record to {phone}
She has been waiting since {day} and nobody has called about {item}
You need to stop eating at midnight and you may drink water until {time}
Your order number is {reference} and it will arrive by {day}
I have already spoken to {staff} and they said to call {clinic}
That is not my address, we moved out in the autumn
May I take your name and a phone number in case we are cut off
I will be 20 minutes late for {clinic}, can they still see me
"""

Phrase = tuple[str, ...]
Template = tuple[str | tuple[Phrase, ...], ...]
"""Words as they stand, and slots as the phrases that may fill them."""


class Grammar:
    """A set of templates, all equally likely, whose slots are filled with equally likely phrases."""

    def __init__(self, templates: str, slots: Mapping[str, Sequence[Phrase]]) -> None:
        self._templates = tuple(_template(line, slots) for line in templates.strip().splitlines())

    def say(self, rng: random.Random) -> Words:
        """One sentence, drawn with `rng`."""
        draw = rng.random
        words: Words = []
        for part in self._templates[int(draw() * len(self._templates))]:
            if isinstance(part, str):
                words.append(part)
            else:
                words.extend(part[int(draw() * len(part))])
        return words

    def vocabulary(self) -> frozenset[str]:
        """Every word that can be said, in lower case and without its comma."""
        parts = (part for template in self._templates for part in template)
        phrases = (((part,),) if isinstance(part, str) else part for part in parts)
        return frozenset(bare(word) for options in phrases for phrase in options for word in phrase)


def bare(word: str) -> str:
    """A word as it sounds.

    >>> bare("Okafor,")
    'okafor'
    """
    return word.rstrip(",").lower()


def written(words: Words) -> str:
    """The sentence as a corrector writes it: a capital first and a full stop last.

    >>> written(["the", "chest", "is", "clear"])
    'The chest is clear.'
    """
    text = " ".join(words)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _slots(text: str) -> dict[str, tuple[Phrase, ...]]:
    joined = text.strip().replace("\n  ", " ")
    lines = (line.partition(":") for line in joined.splitlines())
    return {name: tuple(tuple(phrase.split()) for phrase in phrases.split("|")) for name, _, phrases in lines}


def _template(line: str, slots: Mapping[str, Sequence[Phrase]]) -> Template:
    """`{drug},` is the slot `drug` with a comma after each of its phrases."""
    parts: list[str | tuple[Phrase, ...]] = []
    for word in line.split():
        if not word.startswith("{"):
            parts.append(word)
            continue
        name, _, after = word[1:].partition("}")
        parts.append(tuple((*phrase[:-1], phrase[-1] + after) for phrase in slots[name]))
    return tuple(parts)


_SLOTS = _slots(_PHRASES_TEXT)
CLINICAL = Grammar(_CLINICAL, _SLOTS)
CALLS = Grammar(_CALLS, _SLOTS)
DRUGS = tuple(" ".join(phrase) for phrase in _SLOTS["drug"])
