"""Valid data of model files into specs; defaults are those of the values themselves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from orchestrator.config.notation import (
    base_url,
    duration_s,
    memory_bytes,
    recurrence_s,
)
from orchestrator.config.paths import expand
from orchestrator.config.sources import parts
from orchestrator.values.engine import EngineTraits
from orchestrator.values.spec import Apply, LoadWhen, ModelSpec, ModelState, Prices, Sampling, Source, Update

Fields = Mapping[str, Any]
NO_ENGINES: Final[Mapping[str, EngineTraits]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the meaning of a text depends on.

    `folder` is the configuration folder, absolute; `env` the environment;
    `engines` are those that there are, by name. Only model files ask for them.
    """

    folder: Path
    env: Mapping[str, str] = field(repr=False)
    engines: Mapping[str, EngineTraits] = field(default_factory=lambda: NO_ENGINES)


def model(name: str, data: Fields, written: Fields, around: Surroundings) -> ModelSpec:
    """Return the spec of a model file.

    Args:
        name: the stem of the file.
        data: its fields, resolved and valid.
        written: the same fields with `${…}` as in the file.
        around: where relative paths start, and what the engines are.
    """
    given: dict[str, Any] = {
        "name": name,
        "engine": data["engine"],
        "source": source(data["source"], written["source"], data["engine"], around),
    }
    given |= {UNDER.get(key, key): read(data[key]) for key, read in READ.items() if key in data}
    if "endpoint" in written:
        given["endpoints_written"] = tuple(_several(written["endpoint"]))
    return ModelSpec(**given)


def source(text: str, written: str, engine: str, around: Surroundings) -> Source:
    """Return where the weights come from; a path is absolute."""
    found = parts(text, around.engines[engine])
    location = found.location
    if found.scheme == "file":
        location = str(expand(location, around.env, around.folder))
    return Source(written=written, scheme=found.scheme, location=location, sha256=found.sha256)


def sampling(data: Fields) -> Sampling:
    """Return sampling defaults; a whole number may be written as `40.0`, a real one as `1`."""
    whole = {"top_k", "max_tokens", "seed"}
    given: dict[str, Any] = {key: (int if key in whole else float)(item) for key, item in data.items()}
    return Sampling(**given)


def update(data: Fields) -> Update:
    """Return how a source is followed."""
    given: dict[str, Any] = {}
    if "check" in data:
        given["check_every_s"] = recurrence_s(data["check"])
    if "apply" in data:
        given["apply"] = Apply(data["apply"])
    return Update(**given)


def prices(data: Fields) -> Prices:
    """Return what an endpoint takes."""
    return Prices(**{name: float(price) for name, price in data.items()})


def endpoints(data: str | list[str]) -> tuple[str, ...]:
    """Return the URLs of one or several servers."""
    return tuple(base_url(url) for url in _several(data))


def environment(data: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Return variables in the order of their names: in which they are written means nothing."""
    return tuple(sorted(data.items()))


def _several(data: str | list[str]) -> list[str]:
    return [data] if isinstance(data, str) else data


READ: Final[Mapping[str, Callable[[Any], object]]] = {
    "state": ModelState,
    "load": LoadWhen,
    "idle": duration_s,
    "pinned": bool,
    "context": int,
    "parallel": int,
    "memory": memory_bytes,
    "quantize": str,
    "accelerator": str,
    "update": update,
    "endpoint": endpoints,
    "api_key": str,
    "paid": bool,
    "prices": prices,
    "command": tuple,
    "environment": environment,
    "health": str,
    "capabilities": tuple,
    "sampling": sampling,
}
# Fields of the value under other names than in the file.
UNDER: Final = {"idle": "idle_s", "memory": "memory_bytes", "endpoint": "endpoints"}
