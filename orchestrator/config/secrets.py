"""What must not be written into a file, what must not leave it, and what of a file is never shown."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from orchestrator.config.flaw import LINE_BREAK, At, Flaw
from orchestrator.config.notation import suggestion
from orchestrator.config.read import Data, Tree
from orchestrator.config.schema import schema
from orchestrator.config.substitute import Resolved

# Words that say that a secret is near; references are no secrets.
SENSITIVE: Final = re.compile(r"api.?k|token\b|secret|passw|credential|environ", re.IGNORECASE)
REFERENCE: Final = re.compile(r"\$\{[^}\s]*\}?")
KEY: Final = re.compile(r"[\w-]+(?=[\"']?\s*:)")
# How alike a field and a secret one must be for a slip of the pen: higher and `tokken` shows what it holds.
SLIP: Final = 0.75


def misplaced_secrets(kind: str, tree: Tree, resolved: Resolved) -> Iterator[Flaw]:
    """Yield a flaw for each secret that stands in the file itself, and for each on a command line."""
    rule = schema(kind)
    for at in _must_refer(rule, tree.data, ()):
        if at not in resolved.secret:
            what = "must not be written into this file"
            fix = 'put it into a file of its own and write "${file:PATH}", or use "${env:NAME}"'
            yield _flaw(tree, at, f"a {'token' if at[-1] == 'token' else 'key'} {what}", fix)
    for at in sorted(resolved.secret, key=tree.place):
        if rule.get("properties", {}).get(at[0] if at else "", {}).get("x-argv"):
            what = "what ${…} stands for would be seen by every user of the machine"
            yield _flaw(tree, at, what, "put it into `environment`; a path can be written out")


def secret_lines(kind: str, text: str) -> frozenset[int]:
    """Return the lines on which somebody may have written a secret: such a field, and all below it."""
    secret: set[int] = set()
    fields = _secret_fields(kind)
    inside = False
    for number, line in enumerate(LINE_BREAK.split(text), start=1):
        if _may_hold_one(REFERENCE.sub("", line), fields):
            inside = True
        elif line[:1].isalpha():
            inside = False
        if inside:
            secret.add(number)
    return frozenset(secret)


def _may_hold_one(line: str, fields: frozenset[str]) -> bool:
    return bool(SENSITIVE.search(line)) or any(
        suggestion(key.lower(), fields, alike=SLIP) for key in KEY.findall(line)
    )


@cache
def _secret_fields(kind: str) -> frozenset[str]:
    """Return the names of all fields of a kind of file that are never shown."""
    found: set[str] = set()
    rules = [schema(kind)]
    while rules:
        for name, rule in rules.pop().get("properties", {}).items():
            rules.append(rule)
            if rule.get("x-secret"):
                found.add(name)
    return frozenset(found)


def _must_refer(rule: Mapping[str, Any], data: Data, at: At) -> Iterator[At]:
    """Yield the path of every text that has to be a reference."""
    match data:
        case str() if rule.get("x-read") == "secret":
            yield at
        case list():
            for index, item in enumerate(data):
                yield from _must_refer(rule.get("items", {}), item, (*at, index))
        case dict():
            for key, item in data.items():
                yield from _must_refer(rule.get("properties", {}).get(key, {}), item, (*at, key))
        case _:
            pass


def _flaw(tree: Tree, at: At, what: str, fix: str) -> Flaw:
    line, column = tree.place(at)
    names = ".".join(key for key in at if isinstance(key, str))
    return Flaw(what=f"{names}: {what}", fix=fix, line=line, column=column)
