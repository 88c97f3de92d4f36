"""Names, servers and words: what is compared, what is read, and what people are told."""

import pytest

from orchestrator.engines.ollama.names import derived, is_ours, parse
from orchestrator.engines.ollama.place import default_url, is_here, port_of, urls_of
from orchestrator.engines.ollama.trouble import check_version, of_create, of_load, of_pull
from orchestrator.engines.ollama.words import as_refusal, said_in
from orchestrator.errors import DiskFull, EngineUnavailable, LoadFailed, SourceNotFound, SourceUnreachable
from tests.engines.ollama.replay import record
from tests.engines.ollama.rigs import on

ANY = ".".join("0000")  # what a server that serves all networks listens on
SAME = [
    ("gemma3", "gemma3:latest"),
    ("gemma3:1b", "Gemma3:1B"),
    ("gemma3:1b", "library/gemma3:1b"),
    ("gemma3:1b", "registry.ollama.ai/library/gemma3:1b"),
    ("hf.co/User/Repo:Q4", "hf.co/user/repo:q4"),
    ("127.0.0.1:5000/library/x", "127.0.0.1:5000/library/x:latest"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_one_model_has_many_names(one: str, other: str) -> None:
    assert parse(one).key == parse(other).key


@pytest.mark.parametrize("other", ["gemma3:4b", "me/gemma3:1b", "hf.co/library/gemma3:1b", "gemma:1b"])
def test_other_names_are_other_models(other: str) -> None:
    assert parse("gemma3:1b").key != parse(other).key


def test_what_we_make_is_named_after_what_it_is_made_of() -> None:
    spec = on("http://a:1")
    name = derived(spec, "ab" * 32)
    assert name.startswith("orchestrator/fast:")
    assert is_ours(name)
    assert derived(spec, "cd" * 32) != name
    assert derived(on("http://a:1", context=512), "ab" * 32) != name
    assert derived(on("http://a:1", "fünf (5)"), "ab" * 32).startswith("orchestrator/f-nf-5:")
    assert not is_ours("small:latest")
    assert len(parse(derived(on("http://a:1", "x" * 200), "ab" * 32)).model) <= 80


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        (ANY, "http://127.0.0.1:11434"),
        (f"{ANY}:80", "http://127.0.0.1:80"),
        (":5000", "http://127.0.0.1:5000"),
        ("box.lan", "http://box.lan:11434"),
        ("http://box.lan", "http://box.lan:80"),
        ("https://box.lan/ollama/", "https://box.lan:443/ollama"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("no:such:thing", "http://127.0.0.1:11434"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(written: str, url: str) -> None:
    assert default_url({"OLLAMA_HOST": written}) == url


def test_a_model_s_own_servers_come_before_the_usual_one() -> None:
    environment = {"OLLAMA_HOST": "elsewhere"}
    assert urls_of(on("http://a:1/", endpoints=("http://a:1/", "http://a:1", "http://b:2")), environment) == (
        "http://a:1",
        "http://b:2",
    )
    assert urls_of(on("", endpoints=()), environment) == ("http://elsewhere:11434",)


def test_this_machine_is_told_from_others() -> None:
    assert all(is_here(url) for url in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"))
    assert not any(is_here(url) for url in ("http://192.0.2.7:1", "http://box.lan:1", "https://ollama.com"))
    assert (port_of("http://a:7"), port_of("https://a"), port_of("http://a")) == (7, 443, 80)


# What a real server has answered, and what becomes of it for the client: status, code, field, words.
TOLD = [
    ("overflow_both_false", 400, "context_length_exceeded", None, "exceeds the available context"),
    ("overflow_shift_false", 400, "context_length_exceeded", None, "longer than the context"),
    ("overflow_native_both_false", 400, "context_length_exceeded", None, "3613 tokens"),
    ("embed_overflow_truncate_false", 400, "context_length_exceeded", None, "input length"),
    ("chat_tools_unsupported", 400, "unsupported_parameter", "tools", "small does not support tools"),
    ("chat_think_unsupported", 400, "unsupported_parameter", "reasoning_effort", "does not support thinking"),
    ("chat_images_unsupported", 400, "unsupported_content", "messages", "multimodal"),
    ("chat_images_native", 400, "unsupported_content", "messages", "image input is not supported"),
    ("chat_format_wrong", 400, "unsupported_schema", "response_format", "invalid format"),
    ("chat_format_bad_schema", 400, "unsupported_schema", "response_format", "Unrecognized schema"),
    ("generate_suffix_unsupported", 400, "unsupported_parameter", "suffix", "insert"),
    ("embed_unsupported", 400, "unsupported_operation", None, "does not support embeddings"),
    ("embed_chat_refused", 400, "unsupported_operation", None, "does not support chat"),
    ("queue_full", 503, "upstream_busy", None, "maximum pending requests"),
    ("load_failure_runner", 502, "upstream_failed", None, "unknown model architecture"),
    ("chat_option_wrong_type", 502, "upstream_failed", None, "must be of type"),
    ("host_header_foreign", 502, "upstream_auth", None, "refuses the daemon"),
]


@pytest.mark.parametrize(("name", "status", "code", "param", "words"), TOLD)
def test_what_a_server_says_is_told_in_people_s_words(
    name: str, status: int, code: str, param: str | None, words: str
) -> None:
    heard = record(name)
    told = as_refusal(heard["status"], heard["body"].encode(), "http://a:1")
    assert (told.status, told.code, told.param) == (status, code, param)
    assert words in told.what
    assert "{" not in told.what.replace('{"type":"nonsense"}', "")
    assert "registry.ollama.ai" not in told.what


def test_words_that_are_no_json_stay_as_they_are() -> None:
    assert said_in(b"405 method not allowed") == "405 method not allowed"
    assert said_in(b'{"error":"{not json"}') == "{not json"
    assert said_in(b'{"other":1}') == '{"other":1}'
    assert len(said_in(b"x" * 5000)) == 600


PULLS = [
    ("pull_unknown", SourceNotFound),
    ("pull_bad_name", SourceNotFound),
    ("pull_unreachable", SourceUnreachable),
    ("pull_broken", SourceUnreachable),
    ("pull_corrupt", SourceUnreachable),
]


@pytest.mark.parametrize(("name", "kind"), PULLS)
def test_why_a_pull_failed_is_told_from_the_words(name: str, kind: type) -> None:
    last = record(name)["body"].splitlines()[-1]
    error = of_pull("gemma3:1b", said_in(last))
    assert type(error) is kind
    assert "gemma3:1b" in error.what
    assert error.fix


def test_a_full_disk_is_one_thing_and_an_old_server_another() -> None:
    assert isinstance(of_pull("x", "write /models/blobs/x: no space left on device"), DiskFull)
    assert isinstance(of_create("x", "write: no space left on device"), DiskFull)
    old = of_pull("x", "pull model manifest: 412: The model requires a newer version of Ollama")
    assert isinstance(old, EngineUnavailable)
    assert isinstance(of_load(503, "server busy", "http://a:1"), LoadFailed)
    memory = of_load(500, "model requires more system memory (9 GiB) than is available", "http://a:1")
    assert "ollama ps" in memory.fix


@pytest.mark.parametrize("version", ["0.12.11", "0.3.14", "v0.5.0", "0.12.99-rc1"])
def test_an_old_server_is_refused_with_the_way_to_a_newer_one(version: str) -> None:
    with pytest.raises(EngineUnavailable, match=r"0\.13\.0") as caught:
        check_version("http://a:1", version)
    assert "install" in caught.value.fix


@pytest.mark.parametrize("version", ["0.13.0", "0.33.0-rc2", "1.0.0", "0.0.0", "a build of mine"])
def test_a_new_server_is_not(version: str) -> None:
    check_version("http://a:1", version)
