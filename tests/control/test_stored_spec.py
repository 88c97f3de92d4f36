"""Specs in the store: whole again where nothing is missing, and without a secret."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.control.store import Store
from orchestrator.control.stored_spec import StoredSpec, spec_from_json, spec_to_json
from orchestrator.values.memory import Footprint
from orchestrator.values.spec import (
    Apply,
    LoadWhen,
    ModelSpec,
    ModelState,
    Prices,
    Sampling,
    Source,
    Update,
)
from orchestrator.values.state import Resolution, State
from tests.builders import CONFIG, NOW, replica, spec, state

FULL = spec(
    source=Source(written="file:x", scheme="file", location="/x", sha256="ab", resolved="sha256:cd"),
    state=ModelState.TESTING,
    load=LoadWhen.ON_DEMAND,
    idle_s=7.5,
    pinned=True,
    context=99,
    parallel=3,
    quantize="q8_0",
    accelerator="cpu",
    memory_bytes=77,
    capabilities=("chat", "json"),
    sampling=Sampling(temperature=0.5, seed=7),
    update=Update(check_every_s=60.0, apply=Apply.ROLLOUT),
    endpoints=("http://a:1",),
    endpoints_written=("http://a:1/",),
    paid=True,
    prices=Prices(input_per_million=1.0, output_per_million=2.5),
    command=("serve", "{port}"),
    health="/ok",
)


def test_a_spec_survives_json_with_every_field_that_is_no_secret() -> None:
    plain = [f.name for f in fields(ModelSpec) if f.init and f.name not in {"name", "engine"}]
    bare = spec()
    same = {name for name in plain if getattr(FULL, name) == getattr(bare, name)}
    assert same == {"api_key", "environment"}, "every other field is put to the test"
    assert spec_from_json(spec_to_json(FULL)) == whole(FULL)


def test_a_spec_that_an_older_version_stored_is_read() -> None:
    known = json.loads(spec_to_json(spec()))
    of_then = ("name", "engine", "source", "state", "context", "parallel", "capabilities", "sampling")
    text = json.dumps({name: known[name] for name in (*of_then, "revision", "launch")})
    assert spec_from_json(text) == whole(spec())


def whole(value: ModelSpec) -> StoredSpec:
    return StoredSpec(spec=value, launch=value.launch)


SECRET = "hunter2"  # noqa: S105 (the point of it)
SECRETIVE: list[tuple[str, dict[str, Any]]] = [
    ("source", {"source": Source(written="file:${env:X}", scheme="file", location=f"/{SECRET}")}),
    ("api_key", {"api_key": SECRET}),
    ("environment", {"environment": (("TOKEN", SECRET),)}),
    (
        "endpoint",
        {
            "endpoints": (f"https://a/{SECRET}/v1", f"https://b/v1?key={SECRET}"),
            "endpoints_written": ("https://a/${env:X}/v1", "https://b/v1?key=${env:X}"),
        },
    ),
    ("endpoint of which nobody knows how it was written", {"endpoints": (f"https://a/{SECRET}",)}),
]


@pytest.mark.parametrize(("what", "held"), SECRETIVE, ids=[case[0] for case in SECRETIVE])
def test_no_secret_is_ever_in_the_file(tmp_path: Path, what: str, held: dict[str, Any]) -> None:
    store = Store.open(tmp_path, config=CONFIG, now=NOW)
    wanted = spec(**held)
    moved = Resolution(written=wanted.source.written, resolved="sha256:ab")
    after = state(wanted, replica(wanted), stable=wanted, resolution=moved)
    store.save(State(), replace(after, footprints={wanted.launch: Footprint(load_s=1.0)}))
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    store.close()
    written += b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert wanted.launch.encode() in written, what
    assert SECRET.encode() not in written


@pytest.mark.parametrize(("what", "held"), SECRETIVE[:4], ids=[case[0] for case in SECRETIVE[:4]])
def test_a_stored_spec_is_whole_again_only_with_the_very_secret(what: str, held: dict[str, Any]) -> None:
    wanted = spec(**held)
    stored = spec_from_json(spec_to_json(wanted))
    assert stored.whole(None) is None, what
    assert stored.whole(replace(wanted, parallel=9, context=9)) == wanted
    assert stored.whole(spec(**rotated(held))) is None


def rotated(held: Any) -> Any:  # noqa: ANN401 (what a field may hold)
    """The same with another secret in its place."""
    match held:
        case str():
            return held.replace(SECRET, "rotated")
        case Source():
            return replace(held, location=rotated(held.location))
        case dict():
            return {key: rotated(item) for key, item in held.items()}
        case _:
            return tuple(rotated(item) for item in held)
