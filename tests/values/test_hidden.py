"""What of a model's file may never be shown."""

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.values.hidden import hiding, is_substituted
from orchestrator.values.spec import ModelSpec, Source

KEYS = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n  kqhkiG9w0BAQ\n-----END KEY-----"


def spec(written: str = "gemma", location: str = "", **fields: object) -> ModelSpec:
    source = Source(written=written, scheme="name", location=location or written)
    return ModelSpec(name="fast", engine="server", source=source, **fields)  # type: ignore[arg-type]  # fields vary


SOURCES = [
    ("hf:a/${env:REPO}/x.gguf", "a/s3cr3t-repo/x.gguf", "s3cr3t-repo", "${env:REPO}"),
    ("file:models/${env:X}/m.gguf", "/etc/o/models/s3cr3t/m.gguf", "s3cr3t", "${env:X}"),
    ("file:~/${file:x}", "/home/me/s3cr3t.gguf", "s3cr3t.gguf", "${file:x}"),
    ("https://h/x?key=${env:K}@sha256:" + "a" * 64, "https://h/x?key=s3cr3t", "s3cr3t", "${env:K}"),
    ("${credential:all}", "s3cr3t-name", "s3cr3t-name", "${credential:all}"),
    ("a$${b}-${env:K}", "a${b}-s3cr3t-name", "s3cr3t-name", "${env:K}"),
]


@pytest.mark.parametrize(("written", "location", "secret", "shown"), SOURCES)
def test_what_a_reference_in_the_source_stands_for(
    written: str, location: str, secret: str, shown: str
) -> None:
    hide = hiding(spec(written, location))
    assert hide(f"there is no {secret} here") == f"there is no {shown} here"
    assert secret not in hide(f"{location} is not there")


def test_several_references_in_one_endpoint() -> None:
    written = "http://me:${env:PASS}@box/${file:path}/v1/"
    model = spec(endpoints_written=(written,), endpoints=("http://me:s3cr3t@box/hidden-path/v1",))
    hide = hiding(model)
    assert hide("box: s3cr3t refused at /hidden-path/v2") == "box: ${env:PASS} refused at /${file:path}/v2"
    assert hide("http://me:s3cr3t@box/hidden-path/v1") == written


def test_what_has_become_of_a_text_in_another_way_is_hidden_as_a_whole() -> None:
    model = spec(endpoints_written=("http://${env:HOST}/v1?x",), endpoints=("http://s3cr3t/v2",))
    assert hiding(model)("no answer from http://s3cr3t/v2") == "no answer from http://${env:HOST}/v1?x"


def test_a_value_with_several_lines_is_hidden_line_by_line() -> None:
    hide = hiding(spec(environment=(("PEM", KEYS),)))
    said = [*KEYS.splitlines(), json.dumps({"PEM": KEYS}), repr(KEYS), KEYS]
    for text in said:
        assert not [line for line in KEYS.splitlines() if line.strip() in hide(text)], text


@given(st.text(st.characters(codec="utf-8"), min_size=6, max_size=40).filter(lambda text: len(set(text)) > 3))
def test_a_key_is_found_in_every_quoting(key: str) -> None:
    hide = hiding(spec(api_key=key))
    for text in (key, json.dumps(key), repr(key), quote(key), quote(key, safe="")):
        assert key not in hide(f"<{text}>") or key in "<(api_key)>"


def test_short_values_of_the_environment_are_no_secrets() -> None:
    assert hiding(spec(environment=(("GPUS", "0,1"),)))("on GPUs 0,1") == "on GPUs 0,1"


def test_an_escaped_reference_is_none() -> None:
    assert not is_substituted("$${HOME}/x")
    assert hiding(spec("a$${b}c", "a${b}c"))("a${b}c") == "a${b}c"
