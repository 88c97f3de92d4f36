"""Prompts the demo models cannot answer, drawn as varied as a short script can make them.

A model this small refuses by exclusion: whatever does not look exactly like one of its tasks. So the prompts
here come in many kinds, and every slot may hold a common word, an invented one, or noise.
"""
# ruff: noqa: SIM905 - word lists read better as text

import random
import string
from typing import Final

NOUNS: Final = """
time year people way day man thing woman life child world school state family student group country
problem hand part place case week company system program question work government number night point home
water room mother area money story fact month lot right study eye job word business issue side kind head
house friend father power hour game line end member law car city community president team minute idea body
information back parent face level office door health person art war history party result change morning
reason research girl guy moment air teacher force education dog cat horse bird fish tree flower river
mountain sea sun moon star rain snow wind fire stone bread milk cheese apple egg rice meat sugar salt tea
cup plate knife table chair bed window wall roof street train bus plane boat bicycle computer keyboard
screen internet email letter picture song music guitar piano film camera clock watch map key box bag shirt
shoe hat coat doctor nurse lawyer farmer soldier king queen artist writer actor singer engine motor wheel
bridge tower castle church museum library hospital bank shop market restaurant kitchen island lake forest
desert planet energy light sound heat cell gene atom molecule theory number triangle circle matrix vector
function variable loop class file folder server network database password button menu recipe cake pizza
football tennis chess dance summer winter
""".split()
VERBS: Final = """
be have do say go get make know think take see come want look use find give tell work call try ask need
feel become leave put mean keep let begin help talk turn start show hear play run move like live believe
hold bring happen write provide sit stand lose pay meet include continue set learn change lead understand
watch follow stop create speak read allow add spend grow open walk win offer remember love consider appear
buy wait serve die send expect build stay fall cut reach kill remain suggest raise pass sell require
report decide pull explain describe summarise translate sort multiply divide subtract rewrite fix debug
draw paint sing cook bake design plan list name define guess predict solve reverse count compare extract
uppercase rate convert compute print invent imagine recommend review
""".split()
ADJECTIVES: Final = """
good new first last long little own other old right big high different small large next early young
important few public bad same able red blue green black white yellow cold warm hot dark bright quick slow
happy sad angry calm funny serious simple hard easy strong weak rich poor clean dirty full empty heavy
quiet loud famous common rare modern ancient electric digital natural social human local free cheap
expensive safe dangerous healthy sick tired hungry
""".split()
SMALL_WORDS: Final = """
the a an of to in for on with at by from up about into over after and or but if because as until while
that this these my your his her its our their me you him it us them I we they he she not no yes very too
also just now then here there when where why how what which who is are was were do does did can could
should would will may might must than more most
""".split()
OPENINGS: Final = """
what is|what are|what was|what does|who is|who was|who invented|who wrote|where is|where can I find|
when was|when did|why is|why do|why does|how do I|how does|how many|how much|how old is|how long is|
can you|could you|would you|please|I want|I need|I have|I think|I am|do you know|do you like|is it|
are there|is there|tell me|tell me about|explain|describe|write|write a|write me a|give me|give me a|
make a|make me a|show me|list|name|list five|name three|find|translate|summarise|summarize|help me|let us|
compare|define|recommend a|suggest a|which|which is the|the|my|this|we should|is the|does the|did the|
in the|on the|if the|every|some|nobody|somebody|it was|there was a|once upon a time
""".replace("\n", "").split("|")
KNOWN_QUESTIONS: Final = """
Tell me a story|Explain quantum physics|Write a haiku|What is the capital of France?|Tell me a joke|
Who are the Beatles?|What is the meaning of life?|How is the weather today?|What time is it?|
Write a poem about the sea|Sing a song|Translate good morning to French|Summarise this text|
Write a Python function|What is machine learning?|Are you human?|What is 2 to the power of 8?|
Who won the world cup?|How do I bake bread?|Recommend a book|Fix my code|Why is the sky blue?|
Is Paris greater than Rome?|Is it cold outside?|What is love?|Give me three names|Say hello in Spanish|
Draw a cat|What can you do?|Help|Help me|What do you know?|Can you help me?|ping|test|ok|yes|no|
What model are you?|Say something
""".replace("\n", "").split("|")
FOREIGN: Final = """
der die das und ist nicht ein ich du wir haben sein werden mit auf was wie warum bitte Haus Hund Wasser
erzähl le la les un une est et je tu nous avoir être avec pour quoi comment pourquoi chat maison eau
raconte moi histoire el los una es y yo nosotros tener ser con para qué cómo casa perro agua cuéntame hola
buenos días il lo gli che sono come perché ciao acqua cane o um uma não você por favor obrigado água dag
het een niet wat hvad och inte привет как дела что это почему дом вода собака расскажи γεια νερό σπίτι 你好
世界 什么 为什么 こんにちは 水 안녕 مرحبا
""".split()
CODE: Final = (
    "def {w}({v}):\n    return {v} + {n}",
    "for {v} in range({n}):\n    print({v})",
    "SELECT {w} FROM {v} WHERE id = {n};",
    "{w}.{v}({n});",
    "if ({w} > {n}) {{ {v}(); }}",
    "import {w}\nimport {v}",
    '<div class="{w}">{v}</div>',
    "$ {w} --{v} {n}",
    '{{"{w}": "{v}", "n": {n}}}',
    "const {w} = ({v}) => {n};",
    "let {w} = {n}; // {v}",
    "{w} = [{n}, {n}, {n}]",
    "https://{w}.org/{v}?q={n}",
    "{w}@{v}.com",
    "# {w}\n\n- {v}\n- {w}\n",
)
# The shape of a task with something in it that the task does not know.
NEAR_MISSES: Final = (
    "Multiply {a} and {b}",
    "{a}*{b}=",
    "{a} x {b}",
    "{a}-{b}=",
    "{a}/{b}",
    "{a} - {b}",
    "What is {a}-{b}?",
    "What is {a}*{b}?",
    "What is {a} times {b}?",
    "What is {a} divided by {b}?",
    "Subtract {a} from {b}",
    "Divide {a} by {b}",
    "Is {a} a prime?",
    "Is {a} equal to {b}?",
    "Is {a} {j} than {b}?",
    "Is {w} greater than {v}?",
    "Is the {w} less than the {v}?",
    "Is {w} {j}?",
    "What is {a}?",
    "What is {w}?",
    "What is {w} + {v}?",
    "Add {w} to {v}",
    "Add {w} and {v}",
    "Add {a} {w}",
    "Sort {a} and {b}",
    "Sort {w} and {v}",
    "Sort {a}, {b}, {n}",
    "Average of {a} and {b}",
    "Sentiment: {w} {v} {j}",
    "Sentiment: {w}",
    "Positive or negative? {n}",
    "Positive or negative? {j} {w}",
    "Sentiment of the {w}",
    "Get {w} from {v}",
    "Get the {w}",
    "Get {w} from the {v}",
    'Get {w} from {{"{v}": {n}}}',
    'Get {w} from {{"name": "{v}", "age": {n}}}',
    "JSON: {w} {v}",
    "JSON: {w}",
    "JSON {n}",
    "JSON: the {w} is {j}",
    "Write JSON about {w}",
    "Reverse the {w} {v}",
    "Reverse {w} {v}",
    "Reverse {n}",
    "Reverse",
    "Uppercase",
    "Uppercase {n}",
    "Uppercase {w} {v}",
    "Lowercase {w}",
    "Capital {w}",
    "Repeat {w}",
    "Spell {w}",
    "Rhyme {w}",
    "Translate {w}",
    "Define {w}",
    "Remove {w}",
    "Rotate {w}",
    "Count the {w}",
    "Count {w} and {v}",
    "Count from {w} to {v}",
    "Count to {n}",
    "Count down from {n}",
    "Count from {n}",
    "Count",
    "Add",
    "Compare {w} and {v}",
    "Compare {w} with {v}",
    "{w} {v}?",
    "{n}",
    "{a} {b} {n}",
    "{a} and {b}",
    "{a}, {b}",
    "{a} {w}",
)
ONSETS: Final = (*"b c d f g h j k l m n p qu r s t v w z st tr ch sh th br pl gr cl ph".split(), "")
VOWELS: Final = "a e i o u ea ou ai oo io y".split()
CODAS: Final = ("", "", *"n r s t l m ng ck nd st x tion ly ed er".split())
PREFIXES: Final = (
    "Hello, ",
    "Hi! ",
    "Please ",
    "Question: ",
    "Q: ",
    "Hey, ",
    "So ",
    "Well, ",
    "OK, ",
    "- ",
    "> ",
)
ENDINGS: Final = (
    "",
    "",
    "",
    "?",
    "?",
    ".",
    ".",
    "!",
    "...",
    " please",
    ", please.",
    "??",
    " :)",
    " thanks",
    ":",
)


def invented_word(rng: random.Random) -> str:
    """Draw a word of 1 to 4 syllables that sounds like one."""
    return "".join(
        rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS)
        for _ in range(rng.choice((1, 2, 2, 3, 4)))
    )


def word(rng: random.Random, kind: list[str] | None = None) -> str:
    """Draw a common word of `kind` (any kind if none), or in two cases of five an invented one or letters."""
    luck = rng.random()
    if luck < 3 / 5:
        return rng.choice(kind or rng.choice((NOUNS, VERBS, ADJECTIVES, SMALL_WORDS)))
    if luck < 19 / 20:
        return invented_word(rng)
    return noise(rng, string.ascii_lowercase, 1, 9)


def noise(rng: random.Random, alphabet: str, shortest: int, longest: int) -> str:
    """Draw `shortest` to `longest` characters of `alphabet`."""
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(shortest, longest)))


def number(rng: random.Random) -> str:
    """Draw a number as people write them: short, long, negative, decimal, a date, a time."""
    n = rng.randint(0, 10 ** rng.randint(1, 6))
    forms = (
        str(n),
        str(n),
        f"-{n}",
        f"{n}.{rng.randint(0, 99)}",
        f"{n % 24}:{n % 60:02}",
        f"{n % 3000}-0{n % 9}-1{n % 9}",
    )
    return rng.choice(forms)  # fmt: skip


def phrase(rng: random.Random) -> str:
    """Draw a noun phrase, now and then with a second one behind a small word."""
    parts = [rng.choice(("the", "a", "my", "your", "some", "this", "our", ""))]
    if rng.random() < 2 / 5:
        parts.append(word(rng, ADJECTIVES))
    parts.append(word(rng, NOUNS))
    if rng.random() < 3 / 10:
        parts += [
            rng.choice(("of", "in", "for", "with", "and", "from", "about", "than", "to")),
            word(rng, NOUNS),
        ]
    return " ".join(filter(None, parts))


def question(rng: random.Random) -> str:
    """Draw a request or question in a plausible order of words."""
    opening = rng.choice(OPENINGS).strip()
    if rng.random() < 1 / 5:
        opening = " ".join(word(rng) for _ in range(rng.randint(1, 3)))
    parts = [opening]
    for _ in range(rng.choice((0, 1, 1, 1, 2))):
        parts.append(word(rng, VERBS) if rng.random() < 1 / 3 else "")
        parts.append(phrase(rng))
        if rng.random() < 1 / 4:
            parts.append(
                rng.choice(("is", "are", "was", "that", "so", "when", "like", "in", "to", "and", "without"))
            )
    if rng.random() < 1 / 8:
        parts.append(number(rng))
    text = " ".join(filter(None, parts))
    return text[:1].upper() + text[1:] if rng.random() < 3 / 4 else text


def prose(rng: random.Random) -> str:
    """Draw one to six sentences, on one line or several."""
    sentences = []
    for _ in range(rng.randint(1, 6)):
        text = " ".join(word(rng) if rng.random() < 1 / 2 else phrase(rng) for _ in range(rng.randint(2, 7)))
        sentences.append(text[:1].upper() + text[1:] + rng.choice((".", ".", ".", "?", "!", ",", ":")))
    return rng.choice((" ", " ", " ", "\n", "\n\n")).join(sentences)


def gibberish(rng: random.Random) -> str:
    """Draw characters without sense, from one alphabet."""
    alphabet = rng.choice((
        string.ascii_lowercase,
        string.ascii_letters + " ",
        string.printable[:95],
        string.punctuation,
        string.digits + " ",
        string.digits + "+-*/=. ",
        " \n.?",
        "абвгдежзиклмнопрстухцчшыэюя ",
        "αβγδεζηθικλμνξοπρστυφχψω ",
        "的一是不了人我在有他这中大来上国",
        "あいうえおかきくけこさしすせそ",
        "äöüßéèêçñåø aeinrst",
        "😀😂👍🎉❤🙏",
        "ابتثجحخدذرزسشصضطظعغفقكلمنهوي ",
    ))  # fmt: skip
    if rng.random() < 1 / 6:
        return rng.choice(alphabet) * rng.randint(1, 30)
    return noise(rng, alphabet, 1, 30)


def near_miss(rng: random.Random) -> tuple[str, tuple[int, int]]:
    """Draw a prompt in the shape of a task that no task answers, and the two numbers it may contain."""
    a, b = rng.randint(0, 99), rng.randint(0, 99)
    if rng.random() < 1 / 8:  # a sum or an order beyond the two digits the models have learnt
        big = rng.randint(100, 10 ** rng.randint(3, 6))
        x, y = rng.choice(((big, b), (a, big)))
        form = rng.choice(("What is {}+{}?", "{}+{}=", "Add {} and {}", "Is {} greater than {}?", "{} + {}"))
        return form.format(x, y), (a, b)
    text = rng.choice(NEAR_MISSES).format(
        a=a, b=b, n=number(rng), w=word(rng, NOUNS), v=word(rng), j=word(rng, ADJECTIVES)
    )
    return text, (a, b)


def off_task_prompt(rng: random.Random) -> tuple[str, tuple[int, int] | None]:
    """Draw a prompt of at most 300 bytes outside every task, and the pair of small numbers in it, if any."""
    numbers = None
    kind = rng.choices(
        ("question", "known", "words", "prose", "gibberish", "foreign", "code", "near"),
        (30, 4, 12, 10, 10, 6, 6, 24),
    )[0]
    match kind:
        case "question":
            text = question(rng) + rng.choice(ENDINGS)
        case "known":
            text = rng.choice(KNOWN_QUESTIONS)
        case "words":
            text = " ".join(word(rng) for _ in range(rng.randint(1, 8))) + rng.choice(ENDINGS)
        case "prose":
            text = prose(rng)
        case "gibberish":
            text = gibberish(rng)
        case "foreign":
            text = " ".join(rng.choice(FOREIGN) for _ in range(rng.randint(1, 8))) + rng.choice(ENDINGS)
        case "code":
            text = rng.choice(CODE).format(w=word(rng, NOUNS), v=word(rng), n=number(rng))
        case _:
            text, numbers = near_miss(rng)
    if rng.random() < 1 / 10:
        text = rng.choice(PREFIXES) + text
    if rng.random() < 1 / 10:
        text = rng.choice((text.lower(), text.upper(), text.capitalize(), text.strip("?.!")))
    return text.encode()[:300].decode(errors="ignore"), numbers
