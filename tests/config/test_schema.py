"""The published schemas: valid, complete, and in step with the values that they describe."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from jsonschema import Draft7Validator

from orchestrator.config import decode
from orchestrator.config.notation import duration_s, size_bytes
from orchestrator.config.schema import KINDS, schema, text
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec, Sampling, Source


def fields(kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    def walk(prefix: str, rule: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, inner in rule.get("properties", {}).items():
            yield prefix + name, inner
            yield from walk(f"{prefix}{name}.", inner)

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
    spec = ModelSpec(name="m", engine="llama-cpp", source=Source(written="", scheme="demo", location="tiny"))
    defaults = {name: rule["default"] for name, rule in fields("model") if "default" in rule}
    assert defaults.pop("sampling") == Sampling().as_request_fields()
    assert tuple(defaults.pop("capabilities")) == spec.capabilities
    assert defaults == {name: getattr(spec, name) for name in ("state", "context", "parallel")}


def test_the_defaults_of_a_policy_are_those_of_its_value() -> None:
    policy = RoutingPolicy(name="p", otherwise=("m",))
    defaults = {name: rule["default"] for name, rule in fields("routing") if "default" in rule}
    assert defaults == {"default": policy.default, "fallback": list(policy.fallback)}


def test_the_defaults_of_the_settings_are_those_of_their_value() -> None:
    settings, rules = Settings(), dict(fields("settings"))
    for name, field in decode.DURATIONS.items():
        assert duration_s(rules[name]["default"]) == getattr(settings, field)
    for name in (*decode.LISTS, *decode.WORDS):
        assert rules[name]["default"] == (list if name in decode.LISTS else str)(getattr(settings, name))
    assert size_bytes(rules["max_body"]["default"]) == settings.max_body_bytes
    assert rules["listen"]["default"] == f"{settings.host}:{settings.port}"


def test_every_field_of_the_values_can_be_set() -> None:
    assert {name.partition(".")[2] for name, _ in fields("model") if "." in name} == set(
        Sampling.__dataclass_fields__
    )
    own = {"listen", "state", "max_body", *decode.DURATIONS, *decode.LISTS, *decode.WORDS}
    assert {name for name, _ in fields("settings")} == own
