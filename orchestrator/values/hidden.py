"""What of a model's file may never be shown, and texts without it."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from urllib.parse import quote

from orchestrator.values.spec import ModelSpec

Hide = Callable[[str], str]

# What a secret has at least, in characters: a shorter value, such as `0,1`, would be found in any text.
SHORTEST: Final = 6
_KEY: Final = "(api_key)"
_REFERENCE: Final = re.compile(r"(\$\$\{|\$\{[^{}]*\})")
_BEGINNING: Final = re.compile(r"\A(?:(?:file|hf|demo|ollama):)?~?")
_PINNED: Final = re.compile(r"@sha256:[0-9a-f]{64}\Z")


def hiding(spec: ModelSpec, more: Mapping[str, str] | None = None) -> Hide:
    """Return what puts, into a text for people, names in place of what must not be shown.

    Those are the key, the values of `environment`, and what `${…}` in the source and the endpoints stands
    for. A value is found also where it was quoted for JSON or a URL, and each line of one that has several.

    Args:
        spec: the model.
        more: further secrets of it, with what is put in their place.
    """
    names = dict(more or {})
    for name, value in spec.environment:
        if len(value) >= SHORTEST:
            names[value] = f"${{{name}}}"
    source = spec.source
    names |= _substituted(source.written, source.location)
    for written, url in zip(spec.endpoints_written, spec.endpoints, strict=False):
        names |= _substituted(written, url)
    if spec.api_key.strip():
        names[spec.api_key] = names[spec.api_key.strip()] = _KEY
    forms = {form: name for value, name in names.items() for form in _forms(value)}
    longest_first = sorted(forms, key=len, reverse=True)

    def hide(text: str) -> str:
        for form in longest_first:
            text = text.replace(form, forms[form])
        return text

    return hide


def is_substituted(written: str) -> bool:
    """Say whether a text as a file has it holds `${…}`."""
    return any(part != "$${" for part in _REFERENCE.findall(written))


def _forms(value: str) -> Iterator[str]:
    """Yield the shapes in which a value may turn up."""
    yield value
    yield json.dumps(value)[1:-1]
    yield repr(value)[1:-1]
    yield quote(value, safe="")
    yield quote(value)
    for line in value.splitlines():
        if len(line.strip()) >= SHORTEST:
            yield line.strip()


def _substituted(written: str, found: str) -> Mapping[str, str]:
    """Return what the references of a text stand for, given what has come of it; mostly it has none."""
    if not is_substituted(written):
        return {}
    beginning = _BEGINNING.match(written)
    scheme = beginning[0] if beginning else ""
    rest = _PINNED.sub("", written.removeprefix(scheme)).rstrip("/")
    parts = _REFERENCE.split(rest)
    whole = "".join(_pattern(part) for part in parts) + "/*"
    # A path that is written from some folder on has become an absolute one.
    is_relative = scheme.endswith("~") or (scheme == "file:" and not rest.startswith(("/", "${")))
    match = re.fullmatch(f".*{whole}" if is_relative else whole, found, re.DOTALL)
    references = [part for part in parts if _is_reference(part)]
    values = match.groups() if match else (found,)
    names = references if match else [written]
    return {found: written} | {
        value: name for value, name in zip(values, names, strict=True) if len(value) >= SHORTEST
    }


def _pattern(part: str) -> str:
    if part == "$${":
        return re.escape("${")
    return "(.*)" if _is_reference(part) else re.escape(part)


def _is_reference(part: str) -> bool:
    return part.startswith("${") and part.endswith("}")
