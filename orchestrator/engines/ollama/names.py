"""Names as Ollama has them, compared by their parts, and the names of what we make there. Pure."""

import re
from dataclasses import dataclass, replace
from typing import Final

from orchestrator.values.spec import ModelSpec

HOST: Final = "registry.ollama.ai"
NAMESPACE: Final = "library"
TAG: Final = "latest"
# The namespace of all that this engine makes on a server; nothing outside of it is ever changed.
OURS: Final = "orchestrator"
_UNFIT: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_MODEL_LENGTH: Final = 60
_DIGITS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """A model's name with all four parts; `x` and `X:latest` are the same name."""

    host: str
    namespace: str
    model: str
    tag: str

    @property
    def key(self) -> tuple[str, ...]:
        """What two ways of writing one name have in common."""
        return tuple(part.lower() for part in (self.host, self.namespace, self.model, self.tag))


def parse(text: str) -> Name:
    """Return the parts of a name; what is left out is what Ollama puts there."""
    rest = text.partition("@")[0]
    head, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        head, tag = rest, TAG
    parts = head.split("/")
    found = Name(host=HOST, namespace=NAMESPACE, model=parts[-1], tag=tag)
    if len(parts) > 1:
        found = replace(found, namespace=parts[-2])
    if len(parts) > 2:  # noqa: PLR2004 (the host comes first, where it is there)
        found = replace(found, host="/".join(parts[:-2]))
    return found


def derived(spec: ModelSpec, content: str) -> str:
    """Return the name of what we make for a spec: `orchestrator/fast:3f2a…-8c1d…`.

    The same settings and the same content have the same name; what has another name is something else.

    Args:
        spec: its source need not be resolved.
        content: the hexadecimal digest of what it is made from.
    """
    model = _UNFIT.sub("-", spec.name).strip(".-")[:_MODEL_LENGTH] or "model"
    settled = replace(spec, source=replace(spec.source, resolved=content))
    return f"{OURS}/{model}:{settled.revision}-{content[:_DIGITS]}"


def is_ours(text: str) -> bool:
    """Say whether a name is one that this engine, here or elsewhere, has given."""
    name = parse(text)
    return (name.host, name.namespace) == (HOST, OURS)
