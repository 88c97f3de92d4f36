"""A model file, parsed and with defaults filled in; and the identity of what it loads."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum

REVISION_DIGITS = 12


class ModelState(StrEnum):
    """What the user wants of a model; the words of `state:` in its file."""

    ACTIVE = "active"
    TESTING = "testing"  # served, but only when named: no policy picks it
    DEPRECATED = "deprecated"  # as testing, and every answer says so
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the weights come from, resolved.

    `written` is the text as the file has it, with `${…}` unresolved: the only
    form that may be shown. `location` is an absolute path for `file`, and the
    name of a shipped model for `demo`; it may hold a substituted secret.
    """

    written: str
    scheme: str
    location: str = field(repr=False)
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Defaults that a request may override; None leaves the choice to the engine."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    max_tokens: int | None = None
    seed: int | None = None

    def as_request_fields(self) -> dict[str, float | int]:
        """Return the values that are set, under their names in a request body."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model as its file describes it.

    `revision` identifies what is loaded: it changes with the engine, the
    resolved source and every field that changes the loaded artefact, and with
    nothing else. `launch` identifies how a replica of it was started: two
    specs of one revision that need different processes differ in it.
    """

    name: str
    engine: str
    source: Source
    state: ModelState = ModelState.ACTIVE
    context: int = 4096
    parallel: int = 4
    capabilities: tuple[str, ...] = ("chat", "completion")
    sampling: Sampling = Sampling()
    revision: str = field(init=False)
    launch: str = field(init=False)

    def __post_init__(self) -> None:
        artefact = {
            "engine": self.engine,
            "scheme": self.source.scheme,
            "location": self.source.location,
            "sha256": self.source.sha256,
            "context": self.context,
        }
        object.__setattr__(self, "revision", digest(artefact))
        object.__setattr__(self, "launch", digest({"revision": self.revision, "parallel": self.parallel}))

    @property
    def wanted(self) -> bool:
        """True where the model should be loaded and served."""
        return self.state is not ModelState.ABSENT


def digest(content: Mapping[str, object]) -> str:
    """Return the first hexadecimal digits of the SHA-256 of `content` as canonical JSON."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:REVISION_DIGITS]
