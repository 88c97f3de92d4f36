"""Regular expressions into llama.cpp's grammars: what may stand between the quotes of a JSON string."""

from collections.abc import Iterable
from typing import Final

REPETITIONS: Final = 1024  # the largest count that a client may ask for
# Parts that may be missing. With 400 of them in a row, 60 tokens took llama.cpp 15 s; with 64, 0.1 s.
OPTIONALS: Final = 64

Span = tuple[int, int]

_LAST = 0x10FFFF
# Characters that JSON writes otherwise, or cannot write in UTF-8.
_NEVER_PLAIN: Final[tuple[Span, ...]] = (
    (0, 0x1F),
    (0x22, 0x22),
    (0x5C, 0x5C),
    (0x7F, 0x7F),
    (0xD800, 0xDFFF),
)
_ESCAPED: Final = {0x22: '"', 0x5C: "\\", 0x08: "b", 0x0C: "f", 0x0A: "n", 0x0D: "r", 0x09: "t"}
_DIGIT: Final[tuple[Span, ...]] = ((0x30, 0x39),)
_WORD: Final[tuple[Span, ...]] = (*_DIGIT, (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Final[tuple[Span, ...]] = ((0x09, 0x0D), (0x20, 0x20))
_SETS: Final = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS: Final = {"t": 0x09, "n": 0x0A, "v": 0x0B, "f": 0x0C, "r": 0x0D}
_CODES: Final = {"x": 2, "u": 4}  # hexadecimal digits


class PatternRefused(ValueError):
    """The pattern is broken, or uses what a grammar cannot say; the text names it."""


def pattern_rule(pattern: str) -> str:
    """Return the rule of the texts that match somewhere, as JSON writes them, without the quotes."""
    return _Reader(pattern).whole()


def _all_but(spans: Iterable[Span]) -> list[Span]:
    """Return the characters outside of some spans."""
    left: list[Span] = []
    begin = 0
    for first, last in sorted(spans):
        if first > begin:
            left.append((begin, first - 1))
        begin = max(begin, last + 1)
    if begin <= _LAST:
        left.append((begin, _LAST))
    return left


def _rule_of(spans: Iterable[Span]) -> str:
    """Return the rule of one character out of a set."""
    spans = list(spans)
    plain = _all_but([*_all_but(spans), *_NEVER_PLAIN])
    choices = []
    if plain:
        choices.append("[" + "".join(f"\\U{first:08X}-\\U{last:08X}" for first, last in plain) + "]")
    for code, letter in _ESCAPED.items():
        if any(first <= code <= last for first, last in spans):
            choices.append('"\\\\' + letter.replace("\\", "\\\\").replace('"', '\\"') + '"')
    if not choices:
        raise PatternRefused("it asks for a character that no text of JSON can hold")
    return f"({' | '.join(choices)})"


_ANY: Final = _rule_of([(0, _LAST)])
_DOT: Final = _rule_of(_all_but([(0x0A, 0x0A), (0x0D, 0x0D)]))


class _Reader:
    """Reads a pattern once, from the left."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._optionals = 0

    def whole(self) -> str:
        rule, _ = self._choice(depth=0)
        if self._at < len(self._pattern):
            raise self._refused("a closing parenthesis without an opening one")
        return rule

    def _refused(self, why: str) -> PatternRefused:
        return PatternRefused(f"{why}, at character {self._at + 1} of the pattern")

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _next(self, what: str) -> str:
        """Take a character that has to be there."""
        found = self._peek()
        if not found:
            raise self._refused(f"{what} is missing")
        self._at += 1
        return found

    def _choice(self, *, depth: int) -> tuple[str, bool]:
        """Read alternatives up to a closing parenthesis or the end; tell whether nothing at all would do."""
        alternatives = [self._sequence(depth)]
        while self._peek() == "|":
            self._at += 1
            alternatives.append(self._sequence(depth))
        return f"({' | '.join(rule for rule, _ in alternatives)})", any(empty for _, empty in alternatives)

    def _sequence(self, depth: int) -> tuple[str, bool]:
        begins = ends = depth > 0
        all_empty = True
        parts: list[str] = []
        if not depth and self._peek() == "^":
            self._at += 1
            begins = True
        while (found := self._peek()) and found not in "|)":
            if found == "$" and not depth and self._pattern[self._at + 1 : self._at + 2] in {"", "|"}:
                self._at += 1
                ends = True
                break
            part, empty = self._times(*self._atom(depth))
            parts.append(part)
            all_empty = all_empty and empty
        if not begins:
            parts.insert(0, f"{_ANY}*")
        if not ends:
            parts.append(f"{_ANY}*")
        return " ".join(parts) or '""', all_empty

    def _times(self, item: str, empty: bool) -> tuple[str, bool]:  # noqa: FBT001 (what `_atom` returns)
        """Read how often something may come."""
        found = self._peek()
        if found and found in "*+?":
            self._at += 1
            count = found
        elif found == "{":
            count = self._count()
        else:
            return item, empty
        if empty:
            # llama.cpp's time for it doubles with each repetition: a few dozen would never end.
            raise self._refused("what may be empty cannot be repeated")
        following = self._peek()
        if following and following in "*+?{":
            raise self._refused("one count after another, lazy or possessive, is not supported")
        optional = count in {"*", "?"} or count.startswith("{0")
        self._optionals += optional
        if self._optionals > OPTIONALS:
            raise self._refused(f"more than {OPTIONALS} parts that may be missing are not supported")
        return f"({item}){count}", optional

    def _count(self) -> str:
        end = self._pattern.find("}", self._at)
        least, comma, most = self._pattern[self._at + 1 : end].partition(",")
        if end < 0 or not least.isdecimal() or not (most.isdecimal() or not most):
            raise self._refused("a count must be {N}, {N,} or {N,M}")
        highest = int(most) if most else int(least)
        if not int(least) <= highest <= REPETITIONS:
            raise self._refused(f"a count must rise, and go up to {REPETITIONS} at most")
        self._at = end + 1
        return f"{{{int(least)}{',' if comma else ''}{int(most) if most else ''}}}"

    def _atom(self, depth: int) -> tuple[str, bool]:
        found = self._next("a character")
        if found == "(":
            return self._group(depth)
        if found == "[":
            return _rule_of(self._set()), False
        if found == ".":
            return _DOT, False
        if found == "\\":
            return _rule_of(self._escape()), False
        if found in "*+?{^$":
            self._at -= 1
            raise self._refused(f"{found!r} is not supported here")
        return _rule_of([(ord(found), ord(found))]), False

    def _group(self, depth: int) -> tuple[str, bool]:
        if self._peek() == "?":
            self._at += 1
            if self._peek() != ":":
                raise self._refused("groups that look around or have names are not supported")
            self._at += 1
        choice = self._choice(depth=depth + 1)
        if self._next("a closing parenthesis") != ")":
            raise AssertionError("a group ends at its parenthesis")
        return choice

    def _escape(self) -> list[Span]:
        """Read what follows a backslash."""
        letter = self._next("a character after the backslash")
        if letter.lower() in _SETS:
            spans = list(_SETS[letter.lower()])
            return spans if letter.islower() else _all_but(spans)
        if letter in _CODES:
            digits = self._pattern[self._at : self._at + _CODES[letter]]
            try:
                code = int(digits, 16)
            except ValueError:
                raise self._refused(f"\\{letter} needs {_CODES[letter]} hexadecimal digits") from None
            self._at += len(digits)
        elif letter.isascii() and letter.isalnum():
            if letter not in _CONTROLS:
                raise self._refused(f"\\{letter} is not supported")
            code = _CONTROLS[letter]
        else:
            code = ord(letter)
        return [(code, code)]

    def _set(self) -> list[Span]:
        """Read a set of characters behind its opening bracket."""
        negated = self._peek() == "^"
        self._at += negated
        spans: list[Span] = []
        while (found := self._next("a closing bracket")) != "]":
            first = self._escape() if found == "\\" else [(ord(found), ord(found))]
            if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in {"", "]"}:
                self._at += 1
                found = self._next("the end of a range")
                last = self._escape() if found == "\\" else [(ord(found), ord(found))]
                (low, lowest), (highest, high) = first[0], last[-1]
                if not low == lowest <= highest == high:
                    raise self._refused("a range of characters that does not rise")
                spans.append((low, high))
            else:
                spans += first
        return _all_but(spans) if negated else spans
