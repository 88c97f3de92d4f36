"""What the engine of a model file makes of its fields: the checks that only its traits can answer."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from orchestrator.config import sources
from orchestrator.config.explain import shown, yaml_of
from orchestrator.config.flaw import Flaw
from orchestrator.config.notation import Unreadable, one_of, suggestion
from orchestrator.config.read import Data, Tree
from orchestrator.config.schema import engine_fields, schema, words_of
from orchestrator.config.substitute import Resolved
from orchestrator.values.engine import EngineTraits

MOST_WORDS: Final = 12
# A shorter word is found in any sentence.
SHORTEST_NAME: Final = 3
# What of a command says where it has to listen.
LISTENS: Final = ("{port}", "{socket}")


def flaws(tree: Tree, resolved: Resolved, engines: Mapping[str, EngineTraits]) -> list[Flaw]:
    """Return everything that does not go together with the file's engine.

    Takes any data: what is not of the type that the schema asks for is passed over.
    """
    data = resolved.data
    name = data.get("engine") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(name, str):
        return []
    traits = engines.get(name)
    if traits is None:
        return [_unknown(tree, resolved, engines)]
    return [
        *_source(data, tree, traits),
        *_not_taken(data, tree, traits, engines.values()),
        *_needed(data, tree, traits),
        *_words(data, tree, resolved, traits),
        *_nowhere(data, tree, traits),
    ]


def _unknown(tree: Tree, resolved: Resolved, engines: Mapping[str, EngineTraits]) -> Flaw:
    line, column = tree.place(("engine",))
    written = _written(tree, "engine")
    fix = "" if ("engine",) in resolved.secret else _meant(str(written), engines)
    fix = fix or f"use {one_of(engines)}"
    return Flaw(what=f"engine: {shown(written)} is not known", fix=fix, line=line, column=column)


def _meant(word: str, engines: Mapping[str, EngineTraits]) -> str:
    """Return a question about the engine that was probably meant, "" where there is none."""
    if meant := suggestion(word, engines):
        return f"did you mean '{meant}'?"
    # People name the program that they know, such as vLLM; an engine says which ones it drives.
    named = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
    long_enough = len(word) >= SHORTEST_NAME
    driving = [each for each in engines.values() if long_enough and named.search(each.summary)]
    return f"did you mean '{driving[0].name}', which {driving[0].summary.rstrip('.')}?" if driving else ""


def _source(data: Mapping[str, Any], tree: Tree, traits: EngineTraits) -> Iterator[Flaw]:
    source = data.get("source")
    if not isinstance(source, str):
        return
    try:
        sources.parts(source, traits)
    except Unreadable as unreadable:
        line, column = tree.place(("source",))
        what = f"source: {shown(_written(tree, 'source'))} {unreadable.what}"
        yield Flaw(what=what, fix=unreadable.fix, line=line, column=column)


def _not_taken(
    data: Mapping[str, Any], tree: Tree, traits: EngineTraits, engines: Iterable[EngineTraits]
) -> Iterator[Flaw]:
    for name in engine_fields():
        if name in data and name not in traits.takes:
            line, column = tree.keys.get((name,), (1, 1))
            others = [each.name for each in engines if name in each.takes]
            fix = "remove the line" + (f"; it is for {_or(others)}" if others else "")
            what = f"'{name}' is not a field of engine {traits.name}"
            yield Flaw(what=what, fix=fix, line=line, column=column)


def _needed(data: Mapping[str, Any], tree: Tree, traits: EngineTraits) -> Iterator[Flaw]:
    line, column = tree.place(("engine",))
    for name in engine_fields():
        if name in traits.needs and name not in data:
            example = yaml_of(schema("model")["properties"][name]["examples"][0])
            what = f"engine {traits.name} needs '{name}'"
            yield Flaw(what=what, fix=f"add a line such as `{name}: {example}`", line=line, column=column)


def _words(data: Mapping[str, Any], tree: Tree, resolved: Resolved, traits: EngineTraits) -> Iterator[Flaw]:
    for name in traits.choices:
        value, known = data.get(name), words_of(traits, name)
        if not isinstance(value, str) or value in known or name not in traits.takes:
            continue
        line, column = tree.place((name,))
        meant = None if (name,) in resolved.secret else suggestion(value, known)
        listed = one_of(known[:MOST_WORDS]) + (", …" if len(known) > MOST_WORDS else "")
        fix = f"did you mean '{meant}'?" if meant else f"use {listed}"
        what = f"{name}: engine {traits.name} does not have {shown(_written(tree, name))}"
        yield Flaw(what=what, fix=fix, line=line, column=column)


def _nowhere(data: Mapping[str, Any], tree: Tree, traits: EngineTraits) -> Iterator[Flaw]:
    command = data.get("command")
    if "command" not in traits.takes or not isinstance(command, list) or not command or "endpoint" in data:
        return
    words = [part for part in command if isinstance(part, str)]
    if len(words) == len(command) and not any(place in word for word in words for place in LISTENS):
        line, column = tree.place(("command",))
        what = "command: nothing says where it listens"
        fix = 'put "{port}" or "{socket}" into it' + (
            ", or add `endpoint`" if "endpoint" in traits.takes else ""
        )
        yield Flaw(what=what, fix=fix, line=line, column=column)


def _written(tree: Tree, name: str) -> Data:
    return tree.data.get(name) if isinstance(tree.data, dict) else None


def _or(names: list[str]) -> str:
    return " or ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} or {names[-1]}"  # noqa: PLR2004
