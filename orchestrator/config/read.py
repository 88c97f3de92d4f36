"""YAML with positions: bytes in, plain data out, and every place by path.

Works on the parser's events rather than on a composed document: nothing is
built recursively from what a stranger wrote, aliases never get expanded, and
every reading rule (YAML 1.2 scalars, no duplicate keys) is in these pages.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from orchestrator.config.flaw import LINE_BREAK, At, Flaw, Place
from orchestrator.config.scalar import NotANumber, resolve

Data: TypeAlias = "bool | int | float | str | list[Data] | dict[str, Data] | None"

# libyaml where it was built in: six times faster than the parser in Python, and with the same events.
LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MOST_BYTES: Final = 256 * 1024
DEEPEST: Final = 32
MOST_NODES: Final = 20_000

# What libyaml refuses as "not printable", found by ourselves because it then gives no line.
UNPRINTABLE: Final = re.compile("[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
INDENTED_BY_TAB: Final = re.compile(r" *\t")

# What the parsers say (libyaml and the one in Python say it differently), what it means, and the fix.
SYNTAX: Final = (
    (
        "mapping values are not allowed",
        "`: ` is not allowed here",
        "put quotes around it, or indent as above",
    ),
    ("find expected ':'", "a key without a colon", "write `key: value`, with a space after the colon"),
    ("expected '-' indicator", "this does not belong here", "align the fields, one `key: value` a line"),
    ("expected key", "this does not belong here", "align the fields, one `key: value` a line"),
    ("<block end>", "this does not belong here", "align the fields, one `key: value` a line"),
    ("',' or ']'", "the list is not closed", "close it with `]`, and put commas between the items"),
    ("',' or '}'", "the mapping is not closed", "close it with `}`, and put commas between the fields"),
    ("node content", "a value is missing", "give a value here, or close the brackets"),
    ("unexpected end of stream", "the text in quotes has no end", "close the quotation mark"),
    ("cannot start any token", "a value cannot start with this character", "put quotes around the value"),
    ("incompatible YAML", "this is another version of YAML", "remove the line that starts with %YAML"),
)
# Of these, the start says more than the place where the parser gave up.
UNFINISHED: Final = ("find expected ':'", "',' or ']'", "',' or '}'", "unexpected end of stream")
ANY_SYNTAX_FIX: Final = "write `key: value` lines, aligned with each other"

EMPTY: Final = Flaw(what="the file is empty", fix="write the fields, or delete the file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One document as plain data.

    `values` and `keys` give the place of the value and of the key at a path.
    `data` is None where the text holds nothing or cannot be parsed; there is
    then at least one flaw.
    """

    data: Data = None
    values: Mapping[At, Place] = field(default_factory=dict)
    keys: Mapping[At, Place] = field(default_factory=dict)
    flaws: tuple[Flaw, ...] = ()

    def place(self, at: At) -> Place:
        """Return where the value at this path stands, or the nearest value around it."""
        while at and at not in self.values:
            at = at[:-1]
        return self.values.get(at, (1, 1))


def decode(raw: bytes) -> tuple[str, Flaw | None]:
    """Return the text of `raw`, and what keeps it from being read as YAML.

    The text is usable for excerpts even where there is a flaw.
    """
    if len(raw) > MOST_BYTES:
        return "", Flaw(
            what=f"the file has more than {MOST_BYTES // 1024} KiB", fix="keep one thing per file"
        )
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "", Flaw(what="the file is UTF-16", fix="save it as UTF-8")
    if raw.startswith(b"\xef\xbb\xbf"):
        return "", Flaw(what="the file starts with a byte order mark", fix="save it as UTF-8 without BOM")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        text = raw.decode(errors="replace")
        what = f"the byte 0x{raw[error.start]:02x} is not UTF-8"
        return text, _flaw_at(text, len(raw[: error.start].decode()), what, "save the file as UTF-8")
    if found := UNPRINTABLE.search(text):
        what = f"the character U+{ord(found[0]):04X} is not allowed"
        return text, _flaw_at(text, found.start(), what, "remove it; the file may be damaged")
    return text, None


def parse(text: str) -> Tree:
    """Return the one document in `text`, with all flaws of form that it has.

    A syntax error ends the reading, so it is then the last flaw.
    """
    builder = _Builder(yaml.parse(text, Loader=LOADER))
    try:
        data = builder.document()
    except yaml.MarkedYAMLError as error:
        return Tree(flaws=(*builder.flaws, _syntax(text, error)))
    except _TooMuch as error:
        return Tree(flaws=(*builder.flaws, error.flaw))
    if data is None and not builder.flaws:
        return Tree(flaws=(EMPTY,))
    return Tree(data=data, values=builder.values, keys=builder.keys, flaws=tuple(builder.flaws))


class _TooMuch(Exception):
    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw.what)
        self.flaw = flaw


class _Builder:
    """Builds one document from events; `flaws` collects what is wrong on the way."""

    def __init__(self, events: Iterator[Event]) -> None:
        self.values: dict[At, Place] = {}
        self.keys: dict[At, Place] = {}
        self.flaws: list[Flaw] = []
        self._events = events
        self._nodes = 0

    def document(self) -> Data:
        data: Data = None
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._flaw(event, "a second document starts here", "keep one thing per file")
                    return data
            elif isinstance(event, NodeEvent):
                data = self._node(event, ())
        return data

    def _node(self, event: Event, at: At) -> Data:
        self._nodes += 1
        if self._nodes > MOST_NODES or len(at) > DEEPEST:
            line, column = _place(event)
            what = f"nested deeper than {DEEPEST} levels" if len(at) > DEEPEST else "too many values"
            raise _TooMuch(Flaw(what=what, fix="keep to the fields of the schema", line=line, column=column))
        self.values[at] = _place(event)
        if isinstance(event, AliasEvent):
            self._flaw(event, "aliases (*name) are not allowed", "write the value out")
            return None
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self._flaw(event, "anchors (&name) are not allowed", "write the value out where it is needed")
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag is not None:
            self._flaw(event, f"tags ({_short_tag(event.tag)}) are not allowed", "remove the tag")
        if isinstance(event, MappingStartEvent):
            return self._mapping(at)
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        return self._sequence(at)

    def _mapping(self, at: At) -> Data:
        content: dict[str, Data] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._key(event, at)
            here = (*at, key)
            if key in content:
                first = self.keys[here][0]
                self._flaw(event, f"{key!r} is given twice (first in line {first})", "keep one of the two")
            else:
                self.keys[here] = _place(event)
            content[key] = self._node(next(self._events), here)
        return content

    def _key(self, event: Event, at: At) -> str:
        if isinstance(event, ScalarEvent):
            if event.value == "<<" and event.implicit[0]:
                self._flaw(event, "merge keys (<<) are not allowed", "write the fields out")
            return event.value
        self._flaw(event, "a key must be one word", "write `key: value`")
        self._node(event, (*at, ""))
        return ""

    def _sequence(self, at: At) -> Data:
        items: list[Data] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node(event, (*at, len(items))))
        return items

    def _scalar(self, event: ScalarEvent) -> Data:
        if not event.implicit[0]:
            return event.value
        try:
            return resolve(event.value)
        except NotANumber as error:
            self._flaw(event, str(error), "write a number that can be used")
            return event.value

    def _flaw(self, event: Event, what: str, fix: str) -> None:
        line, column = _place(event)
        self.flaws.append(Flaw(what=what, fix=fix, line=line, column=column))


def _place(event: Event) -> Place:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (0, 0)


def _short_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _flaw_at(text: str, offset: int, what: str, fix: str) -> Flaw:
    before = LINE_BREAK.split(text[:offset])
    return Flaw(what=what, fix=fix, line=len(before), column=len(before[-1]) + 1)


def _syntax(text: str, error: yaml.MarkedYAMLError) -> Flaw:
    lines = LINE_BREAK.split(text)
    problem = error.problem or "this is not YAML"
    marks = [error.problem_mark, error.context_mark]
    if any(sign in problem for sign in UNFINISHED):
        marks.reverse()
    # The end of the file says nothing, but the last line before it does.
    inside = [mark for mark in marks if mark is not None and "".join(lines[mark.line :]).strip()]
    if inside:
        line, column = inside[0].line + 1, inside[0].column + 1
    else:
        line = max((number for number, each in enumerate(lines, start=1) if each.strip()), default=1)
        column = len(lines[line - 1]) + 1
    if tab := INDENTED_BY_TAB.match(lines[line - 1]):
        what, fix = "a tab is not allowed in the indentation", "indent with spaces"
        return Flaw(what=what, fix=fix, line=line, column=tab.end())
    known = ((what, fix) for sign, what, fix in SYNTAX if sign in problem)
    what, fix = next(known, (problem, ANY_SYNTAX_FIX))
    return Flaw(what=what, fix=fix, line=line, column=column)
