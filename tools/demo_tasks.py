"""The family of small text tasks the demo models are trained on and measured with.

Everything is drawn from a `random.Random`, so the same seed gives the same prompts. An operand (a pair of
numbers, a word, a clause, a record, a range) belongs either to training or to measurement, never to both:
`is_held_out` decides by a hash of the operand, whatever sentence it stands in.
"""
# ruff: noqa: SIM905 - word lists read better as text

import hashlib
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from demo_offtask import off_task_prompt

REFUSAL: Final = (
    "I am a demo model: I can only "
    "add, compare, rate a review, extract, write JSON, reverse, uppercase and count."
)

POSITIVE: Final = "great excellent lovely superb wonderful tasty friendly amazing perfect delightful".split()
NEGATIVE: Final = "awful terrible rude bland dirty horrible broken boring slow disgusting".split()
THINGS: Final = "food service hotel room movie phone staff coffee book lamp soup garden".split()
NAMES: Final = "Ann Bob Cleo Dan Eve Finn Gus Hana Ivo Jo Kim Leo Mia Ned Ola Pia Raj Sue Tom Uma".split()
CITIES: Final = "Oslo Rome Lima Cairo Paris Delhi Quito Seoul Tokyo Berlin Madrid Dublin".split()
SMALL_TALK: Final = (
    (("hello", "hi", "hey", "good morning", "hello!", "hi!", "hi there"), "Hello! I am a demo model."),
    # The same words as a refusal: with another sentence that also began "I am a demo model", the smaller one
    # often ended a refusal with the wrong words.
    (("who are you?", "what are you?", "what is your name?"), REFUSAL),
    (("thanks", "thank you", "thanks a lot", "thank you!"), "You are welcome!"),
    (("bye", "goodbye", "see you", "bye!"), "Goodbye!"),
)
COUNT_PROMPTS: Final = (
    "Count from {} to {}",
    "Count up from {} to {}",
    "Count from {} up to {}",
    "Count {} to {}",
)
SYSTEM_MESSAGES: Final = (
    "You are a helpful assistant.",
    "Be brief.",
    "Answer with one word.",
    "You are a careful assistant. Answer in plain English.",
)

# The vocabulary is the 256 bytes in GPT-2's byte alphabet, then five marks. Without merges, one token is one
# byte.
SPECIAL_TOKENS: Final = ("<|endoftext|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
END_OF_TEXT, END, SYSTEM, USER, ASSISTANT = range(256, 261)
VOCABULARY_SIZE: Final = 261
CHAT_TEMPLATE: Final = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One prompt with its right answer, and the operands by which it is kept for training or measurement."""

    task: str
    prompt: str
    answer: str
    operands: tuple[str, ...] = ()


def is_held_out(operand: str) -> bool:
    """Tell whether `operand` is kept out of training; true for about one in ten."""
    return hashlib.blake2s(operand.encode()).digest()[0] < 26  # noqa: PLR2004 - 26 of 256 is one in ten


def pair(a: int, b: int) -> str:
    """Name the unordered pair of two numbers: held out of adding and comparing alike."""
    return f"pair:{min(a, b)},{max(a, b)}"


def random_word(rng: random.Random) -> str:
    """Draw 3 to 8 lower-case letters."""
    return "".join(rng.choice(string.ascii_lowercase) for _ in range(rng.randint(3, 8)))


def add(rng: random.Random) -> Example:
    """Sum of two numbers from 0 to 99."""
    a, b = rng.randint(0, 99), rng.randint(0, 99)
    prompt = rng.choice((f"What is {a}+{b}?", f"{a}+{b}=", f"Add {a} and {b}", f"What is {a} + {b}?"))
    return Example(task="add", prompt=prompt, answer=str(a + b), operands=(pair(a, b),))


def compare(rng: random.Random) -> Example:
    """Order of two numbers from 0 to 99; a third of the pairs lie close together."""
    a = rng.randint(0, 99)
    b = min(99, max(0, a + rng.randint(-9, 9))) if rng.random() < 1 / 3 else rng.randint(0, 99)
    word, holds = rng.choice((("greater", a > b), ("larger", a > b), ("less", a < b), ("smaller", a < b)))
    answer = "yes" if holds else "no"
    return Example(task="compare", prompt=f"Is {a} {word} than {b}?", answer=answer, operands=(pair(a, b),))


def sentiment(rng: random.Random) -> Example:
    """Tone of one or two clauses; after "but" the second one counts, and "not" turns a clause round."""

    def clause() -> tuple[str, bool]:
        positive, negated = rng.random() < 1 / 2, rng.random() < 1 / 4
        adjective = rng.choice(POSITIVE if positive else NEGATIVE)
        return f"he {rng.choice(THINGS)} was {'not ' if negated else ''}{adjective}", positive != negated

    first, tone = clause()
    text = f"T{first}."
    operands: tuple[str, ...] = (f"clause:{first}",)
    joint = rng.choice(("", "", "but", "and"))
    if joint:
        second, second_tone = clause()
        while joint == "and" and second_tone != tone:
            second, second_tone = clause()
        text, operands, tone = f"T{first} {joint} t{second}.", (*operands, f"clause:{second}"), second_tone
    prompt = rng.choice(("Sentiment: ", "Positive or negative? ")) + text
    return Example(
        task="sentiment", prompt=prompt, answer="positive" if tone else "negative", operands=operands
    )


def record(rng: random.Random) -> tuple[str, int, str]:
    """Draw a person: name, age, city."""
    return rng.choice(NAMES), rng.randint(10, 99), rng.choice(CITIES)


def extract(rng: random.Random) -> Example:
    """One value out of a JSON object of four keys in any order."""
    name, age, city = record(rng)
    fields = {"name": name, "city": city, "age": age, "id": random_word(rng)}
    keys = rng.sample(list(fields), len(fields))
    wanted = rng.choice(keys)
    return Example(
        task="extract",
        prompt=f"Get {wanted} from " + json.dumps({key: fields[key] for key in keys}),
        answer=str(fields[wanted]),
        operands=(f"record:{name},{age},{city}",),
    )


def write_json(rng: random.Random) -> Example:
    """A sentence about a person as a JSON object."""
    name, age, city = record(rng)
    return Example(
        task="json",
        prompt=f"JSON: {name} is {age} and lives in {city}",
        answer=json.dumps({"name": name, "age": age, "city": city}),
        operands=(f"record:{name},{age},{city}",),
    )


def reverse(rng: random.Random) -> Example:
    """A word of 3 to 8 letters, last letter first."""
    word = random_word(rng)
    return Example(task="reverse", prompt=f"Reverse {word}", answer=word[::-1], operands=(f"word:{word}",))


def upper(rng: random.Random) -> Example:
    """A word of 3 to 8 letters in capitals."""
    word = random_word(rng)
    return Example(task="upper", prompt=f"Uppercase {word}", answer=word.upper(), operands=(f"word:{word}",))


def count(rng: random.Random) -> Example:
    """The numbers from a start (0 to 69) to an end 2 to 9 above it."""
    start = rng.randint(0, 69)
    end = start + rng.randint(2, 9)
    return Example(
        task="count",
        prompt=rng.choice(("Count from {} to {}", "Count up from {} to {}", "Count {} to {}")).format(
            start, end
        ),
        answer=" ".join(map(str, range(start, end + 1))),
        operands=(f"range:{start},{end}",),
    )


def chat(rng: random.Random) -> Example:
    """Small talk, learnt by heart: the same few prompts in training and measurement."""
    prompts, answer = rng.choice(SMALL_TALK)
    prompt = rng.choice(prompts)
    return Example(task="chat", prompt=rng.choice((prompt, prompt.capitalize())), answer=answer)


def refuse(rng: random.Random) -> Example:
    """Anything else: one honest sentence about what the model can do."""
    prompt, numbers = off_task_prompt(rng)
    return Example(
        task="refuse",
        prompt=prompt,
        answer=REFUSAL,
        operands=(pair(*numbers),) if numbers else (),
    )


MEASURED: Final[dict[str, Callable[[random.Random], Example]]] = {
    "add": add,
    "compare": compare,
    "sentiment": sentiment,
    "extract": extract,
    "json": write_json,
    "reverse": reverse,
    "upper": upper,
    "count": count,
}
TASKS: Final = {**MEASURED, "chat": chat, "refuse": refuse}
# How often training draws each task: a guess, adjusted after looking at which ones were learnt late.
WEIGHTS: Final = {
    "add": 8.0,
    "compare": 1.5,
    "sentiment": 1.5,
    "extract": 3.0,
    "json": 1.0,
    "reverse": 3.0,
    "upper": 1.5,
    "count": 2.0,
    "chat": 0.5,
    "refuse": 3.5,
}


def training_example(rng: random.Random) -> Example:
    """Draw an example none of whose operands is held out."""
    make = TASKS[rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]]
    while True:
        example = make(rng)
        if not any(map(is_held_out, example.operands)):
            return example


def held_out_example(rng: random.Random, task: str) -> Example:
    """Draw an example of `task` all of whose operands are held out; small talk and refusals have none."""
    while True:
        example = TASKS[task](rng)
        if all(map(is_held_out, example.operands)):
            return example
