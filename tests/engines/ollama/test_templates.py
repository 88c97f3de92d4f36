"""Templates in Jinja as Ollama's: only where they do exactly the same."""

import os
import struct
from pathlib import Path

import pytest

from orchestrator.engines.ollama import translate
from orchestrator.engines.ollama.header import Header, header_of
from orchestrator.engines.ollama.templates import template_for
from orchestrator.engines.ollama.weights import Load, peak_bytes
from tests.engines.ollama.replay import record
from tests.engines.real_time import REAL_TIME

DEMO = Path("orchestrator/demo")
CHATML = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% for m in messages %}"
    "{% set content = '<|start|>' + m['role'] + '<|stop|>\n\n' + m['content'] | trim + '<|eot|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{{ '<|start|>assistant<|stop|>\n\n' }}"
)
# Gemma's: no role of its own for the system, which goes into the first question.
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}<start_of_turn>{{ m['role'] }}\n{{ first if loop.first else '' }}{{ m['content'] }}"
    "<end_of_turn>\n{% endfor %}<start_of_turn>model\n"
)
STRICT = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' and not loop.first and loop.previtem['role'] == 'user' %}"
    "{{ raise_exception('turns must alternate') }}{% endif %}"
    "[{{ m['role'] }}]{{ m['content'] }}[/]{% endfor %}"
    "[assistant]"
)


def test_the_shipped_models_have_theirs() -> None:
    for name in ("tiny", "small"):
        header = header_of(DEMO / f"{name}.gguf")
        assert (header.bos, header.eos) == ("<|endoftext|>", "<|end|>")
        assert template_for(header) == (
            '{{ range .Messages }}{{ if eq .Role "system" }}<|system|>{{ .Content }}<|end|>'
            '{{ else if eq .Role "assistant" }}<|assistant|>{{ .Content }}<|end|>'
            "{{ else }}<|user|>{{ .Content }}<|end|>{{ end }}{{ end }}<|assistant|>"
        )


def test_a_plain_one_is_found_out() -> None:
    made = template_for(Header(template=CHATML))
    assert "{{ else }}<|im_start|>user\n{{ .Content }}<|im_end|>\n{{ end }}" in made
    assert made.endswith("<|im_start|>assistant\n")


def test_the_token_that_begins_a_document_is_not_said_twice() -> None:
    made = template_for(Header(template=LLAMA3, bos="<|begin|>"))
    assert made.startswith("{{ range .Messages }}")
    assert '{{ if eq .Role "system" }}<|start|>system<|stop|>\n\n{{ .Content }}<|eot|>' in made


def test_one_that_refuses_some_turns_is_found_out_by_the_others() -> None:
    assert "{{ else }}[user]{{ .Content }}[/]" in template_for(Header(template=STRICT))


@pytest.mark.parametrize(
    "template",
    [
        "",
        GEMMA,
        CHATML + "{% if tools %}{{ tools | tojson }}{% endif %}",
        "{{ messages | length }}",
        "{% for m in messages %}{{ loop.index }}:{{ m['content'] }}{% endfor %}",
        "{% if %}",
        "{{ raise_exception('no') }}",
    ],
)
def test_what_is_not_plain_is_left_to_ollama(template: str) -> None:
    assert template_for(Header(template=template, bos="<bos>")) == ""


def test_braces_in_a_template_stay_text() -> None:
    made = template_for(Header(template=CHATML.replace("<|im_end|>", "}}{{{{ '{{' }}{{ '")))
    assert "{{{{" not in made


def test_a_file_that_is_none_has_no_header(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"GGUF", b"GGUF" + struct.pack("<IQQ", 3, 0, 9) + b"\xff" * 64)):
        path = tmp_path / str(number)
        path.write_bytes(content)
        assert header_of(path) == Header()
    assert header_of(tmp_path / "missing") == Header()


def test_an_estimate_covers_what_a_real_server_says_it_takes() -> None:
    import json  # noqa: PLC0415 (only here)

    shown = json.loads(record("show")["body"])["model_info"]
    (resident,) = json.loads(record("ps_loaded")["body"])["models"]
    size = next(
        each for each in json.loads(record("tags")["body"])["models"] if each["name"] == "small:latest"
    )
    load = Load(weights_bytes=size["size"], context=resident["context_length"], slots=1)
    assert peak_bytes(shown, load) > resident["size"]


def test_an_estimate_knows_the_cache_by_its_formula() -> None:
    info = {
        "general.architecture": "x",
        "x.block_count": 10,
        "x.embedding_length": 1024,
        "x.attention.head_count": 8,
        "x.attention.head_count_kv": [2, 4],
        "x.attention.key_length": 64,
        "x.attention.value_length": 32,
        "x.context_length": 4096,
        "x.vocab_size": 1000,
    }

    def peak(context: int, slots: int) -> int:
        return peak_bytes(info, Load(weights_bytes=0, context=context, slots=slots))

    a_token = 10 * 4 * (64 + 32) * 2
    masks = 512 * 2
    assert peak(2048, 2) - peak(1024, 2) == (a_token + masks) * 1024 * 2
    assert peak(1 << 20, 1) == peak(4096, 1)  # no more than the model was trained for


def test_an_estimate_knows_that_some_layers_look_back_a_window_only() -> None:
    def peak(context: int, **more: object) -> int:
        info = {
            "general.architecture": "gemma3",
            "gemma3.block_count": 12,
            "gemma3.embedding_length": 1024,
            "gemma3.attention.head_count": 8,
            "gemma3.attention.sliding_window": 512,
            "gemma3.vocab_size": 1000,
        } | {f"gemma3.attention.{name}": value for name, value in more.items()}
        return peak_bytes(info, Load(weights_bytes=0, context=context, slots=1))

    a_layer = 1024 * 2 * 2
    masks = 512 * 2
    assert peak(4096) - peak(3072) == (2 * a_layer + masks) * 1024  # every sixth layer has all of it
    assert peak(4096, sliding_window_pattern=3) - peak(3072, sliding_window_pattern=3) == (
        (4 * a_layer + masks) * 1024
    )
    unknown = {"sliding_window_pattern": None} | {"sliding_window": 0}
    assert peak(4096, **unknown) - peak(3072, **unknown) == (12 * a_layer + masks) * 1024


def test_an_estimate_knows_that_more_is_computed_at_once_where_the_context_is_long() -> None:
    info = {"general.architecture": "x", "x.embedding_length": 1024, "x.vocab_size": 1000}

    def peak(context: int, slots: int, *, embeds: bool = False) -> int:
        return peak_bytes(info, Load(weights_bytes=0, context=context, slots=slots, embeds=embeds))

    a_row = 4 * (4 + 3 * 4) * 1024
    assert peak(4096, 2) - peak(4096, 1) >= 512 * a_row
    assert peak(32_768, 2) - peak(32_768, 1) >= 1024 * a_row
    assert peak(2048, 1, embeds=True) - peak(2048, 1) >= 1536 * a_row


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'x' * (10 ** 11) }}",
        "{{ 1 // 0 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
    ids=["no end", "all memory", "arithmetic", "recursion"],
)
@REAL_TIME
async def test_what_a_template_does_to_its_reader_is_no_business_of_the_daemon_s(
    template: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translate, "WITHIN_S", 2.0)
    path = tmp_path / "m.gguf"
    key = b"tokenizer.chat_template"
    pair = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(template)) + template.encode()
    path.write_bytes(struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + pair)
    assert await translate.translated(path, tmp_path, os.environ) == ""


@REAL_TIME
async def test_a_plain_template_is_translated_in_a_child(tmp_path: Path) -> None:
    here = await translate.translated(DEMO / "tiny.gguf", tmp_path, os.environ)
    assert here == template_for(header_of(DEMO / "tiny.gguf")) != ""


@pytest.mark.parametrize("kind", [99, 9])
@pytest.mark.parametrize("inner", [9, 12, 77])
def test_a_header_that_makes_no_sense_says_nothing(kind: int, inner: int, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    pair = struct.pack("<Q", 1) + b"k" + struct.pack("<I", kind)
    path.write_bytes(
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + pair + struct.pack("<IQ", inner, 2**63 - 1) * 3000
    )
    assert header_of(path) == Header()
