"""The published schemas: valid, complete, and in step with the values that they describe."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from orchestrator.config import decode, decode_settings, draft
from orchestrator.config.decode import READ, UNDER, Surroundings
from orchestrator.config.decode_policy import routing
from orchestrator.config.decode_settings import settings
from orchestrator.config.schema import KINDS, published, schema, text
from orchestrator.decide.diff import CLASS_OF, ChangeClass
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec, Prices, Sampling
from tests.config.engines import ENGINES

AROUND = Surroundings(folder=Path("/conf"), env={}, engines=ENGINES)


def fields(kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    def walk(prefix: str, rule: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, inner in rule.get("properties", {}).items():
            yield prefix + name, inner
            yield from walk(f"{prefix}{name}.", inner)
            yield from walk(f"{prefix}{name}[].", inner.get("items", {}))

    return walk("", schema(kind))


EVERY_FIELD = [
    pytest.param(kind, rule, id=f"{kind}: {name}") for kind in KINDS for name, rule in fields(kind)
]


@pytest.mark.parametrize("kind", KINDS)
def test_the_schema_is_draft_07(kind: str) -> None:
    assert schema(kind)["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(schema(kind))


@pytest.mark.parametrize(("kind", "rule"), EVERY_FIELD)
def test_every_field_is_described_with_examples_that_are_valid(kind: str, rule: Mapping[str, Any]) -> None:
    assert rule["description"].endswith(".")
    assert rule["examples"], kind
    for example in [*rule["examples"], *([rule["default"]] if "default" in rule else [])]:
        Draft7Validator(rule).validate(example)


def test_an_unknown_kind_has_no_schema() -> None:
    with pytest.raises(KeyError):
        text("nothing")


def test_the_defaults_of_a_model_are_those_of_its_value() -> None:
    data = {
        name: rule["default"] for name, rule in schema("model")["properties"].items() if "default" in rule
    }
    for group in ("update", "prices"):
        inner = schema("model")["properties"][group]["properties"]
        data[group] = {name: rule["default"] for name, rule in inner.items()}
    needed = {"engine": "llama-cpp", "source": "demo:tiny"}
    spec = decode.model("m", needed | data, needed | data, AROUND)
    assert spec == decode.model("m", needed, needed, AROUND)
    left_out = {name for name in schema("model")["properties"] if name not in data}
    assert left_out == {*needed, "quantize", "endpoint", "api_key", "command"}


def test_the_defaults_of_a_policy_are_those_of_its_value() -> None:
    policy = RoutingPolicy(name="p", otherwise=("m",))
    data = {
        name: rule["default"] for name, rule in schema("routing")["properties"].items() if "default" in rule
    }
    assert set(data) == {"default", "rules", "fallback", "tiers"}
    assert routing("p", data | {"otherwise": ["m"]}) == policy


def test_the_defaults_of_the_settings_are_those_of_their_value() -> None:
    data: dict[str, Any] = {}
    for name, rule in fields("settings"):
        group, _, inner = name.rpartition(".")
        if "default" in rule and not rule.get("properties"):
            (data.setdefault(group, {}) if group else data)[inner] = rule["default"]
    assert settings(data, AROUND) == Settings()
    assert len(data) > 15


def test_every_field_of_the_values_can_be_set() -> None:
    dotted = {name for name, _ in fields("model") if "." in name}
    expected = {f"sampling.{name}" for name in Sampling.__dataclass_fields__}
    expected |= {f"prices.{name}" for name in Prices.__dataclass_fields__}
    assert dotted == expected | {"update.check", "update.apply"}
    written = {UNDER.get(name, name) for name in schema("model")["properties"]}
    assert written == set(ModelSpec.__dataclass_fields__) - {
        "name",
        "revision",
        "launch",
        "endpoints_written",
    }
    assert set(READ) | {"engine", "source"} == set(schema("model")["properties"])
    own = {name for name, rule in fields("settings") if not rule.get("properties")}
    assert own == {"listen", *decode_settings.READ, *decode_settings.FOLDERS}
    assert set(decode_settings.WRITTEN_AS) == set(Settings.__dataclass_fields__)


def test_what_an_edit_leads_to_is_what_the_plan_says() -> None:
    said = {name: rule["x-changes"] for name, rule in schema("model")["properties"].items()}
    assert said == {name: CLASS_OF.get(name, ChangeClass.LIVE) for name in said}


def test_the_published_schema_knows_the_engines() -> None:
    """What editors refuse is what the check refuses, as far as a schema can say it."""
    editor = Draft7Validator(published("model", ENGINES))
    Draft7Validator.check_schema(published("model", ENGINES))
    files: list[tuple[bool, dict[str, Any]]] = [
        (True, {"engine": "llama-cpp", "source": "demo:tiny", "quantize": "q8_0", "accelerator": "auto"}),
        (False, {"engine": "llama-cpp", "source": "demo:tiny", "quantize": "q9"}),
        (False, {"engine": "llama-cpp", "source": "demo:tiny", "command": ["x", "{port}"]}),
        (False, {"engine": "lama-cpp", "source": "demo:tiny"}),
        (True, {"engine": "openai", "source": "m", "endpoint": "http://10.0.0.7:8000"}),
        (False, {"engine": "openai", "source": "m"}),
        (False, {"engine": "openai", "source": "m", "endpoint": []}),
        (True, {"engine": "server", "source": "m", "command": ["x", "{port}"], "environment": {"A": "1"}}),
        (False, {"engine": "server", "source": "m", "command": "x {port}"}),
        (False, {"engine": "server", "source": "m", "command": ["x", "{port}"], "environment": {"A-B": "1"}}),
        (False, {"engine": "ollama", "source": "m", "health": "/"}),
    ]
    for fine, data in files:
        assert editor.is_valid(data) is fine, data
        found = draft.model("m", "models.d/m.yaml", json.dumps(data).encode(), AROUND)
        assert (not found.problems) is fine, (data, found.problems)


def test_other_schemas_know_no_engine() -> None:
    assert published("routing", ENGINES) == schema("routing")
    assert published("model", {}) == schema("model")
