"""The grammar of `source`: each kind, and every way to write it wrongly."""

import pytest

from orchestrator.config.notation import Unreadable
from orchestrator.config.sources import Parts, forms, parts
from orchestrator.values.engine import EngineTraits
from tests.config.engines import FAR, LLAMA_CPP, OLLAMA, OPENAI, SERVER

PIN = "ab" * 32


@pytest.mark.parametrize(
    ("text", "traits", "scheme", "location", "pinned"),
    [
        ("file:/a b.gguf", LLAMA_CPP, "file", "/a b.gguf", False),
        ("file:weights/", LLAMA_CPP, "file", "weights/", False),
        (f"file:a.gguf@sha256:{PIN}", LLAMA_CPP, "file", "a.gguf", True),
        ("demo:tiny", LLAMA_CPP, "demo", "tiny", False),
        ("hf:org/repo", LLAMA_CPP, "hf", "org/repo", False),
        ("hf:org/repo@v1.0", LLAMA_CPP, "hf", "org/repo@v1.0", False),
        ("hf:org/repo@refs/pr/3", LLAMA_CPP, "hf", "org/repo@refs/pr/3", False),
        ("hf:org/repo/a.gguf", LLAMA_CPP, "hf", "org/repo/a.gguf", False),
        ("hf:org/repo/sub/a b.gguf@main", LLAMA_CPP, "hf", "org/repo/sub/a b.gguf@main", False),
        (f"hf:org/repo/a.gguf@main@sha256:{PIN}", LLAMA_CPP, "hf", "org/repo/a.gguf@main", True),
        (f"hf:org/repo/a.gguf@sha256:{PIN}", LLAMA_CPP, "hf", "org/repo/a.gguf", True),
        (f"https://h/a.gguf?x=1@sha256:{PIN}", LLAMA_CPP, "https", "https://h/a.gguf?x=1", True),
        ("gemma3:1b", OLLAMA, "ollama", "gemma3:1b", False),
        ("gemma3n", OLLAMA, "ollama", "gemma3n", False),
        ("user/model:tag", OLLAMA, "ollama", "user/model:tag", False),
        ("hf.co/user/repo:Q4_K_M", OLLAMA, "ollama", "hf.co/user/repo:Q4_K_M", False),
        ("registry.lan:5000/library/m", OLLAMA, "ollama", "registry.lan:5000/library/m", False),
        (f"gemma3:1b@sha256:{PIN}", OLLAMA, "ollama", "gemma3:1b", True),
        ("file:a.gguf", OLLAMA, "file", "a.gguf", False),
        ("google/gemma-3-27b-it:free", OPENAI, "name", "google/gemma-3-27b-it:free", False),
        ("/models/a", OPENAI, "name", "/models/a", False),
        ("hf:org/repo", SERVER, "hf", "org/repo", False),
        ("oci:registry/a", FAR, "oci", "registry/a", False),
        ("anything goes", FAR, "mine", "anything goes", False),
    ],
)
def test_what_is_taken(text: str, traits: EngineTraits, scheme: str, location: str, *, pinned: bool) -> None:
    expected = Parts(scheme=scheme, location=location, sha256=PIN if pinned else None)
    assert parts(text, traits) == expected
    assert location not in repr(parts(text, traits))


@pytest.mark.parametrize(
    ("text", "traits", "what", "fix"),
    [
        ("", LLAMA_CPP, "is not a source", "file:PATH, or hf:"),
        ("tiny.gguf", LLAMA_CPP, "is not a source", "demo:tiny or demo:small"),
        ("ollama://gemma3", LLAMA_CPP, "is not a source", "file:PATH"),
        ("file:", LLAMA_CPP, "names no file", "file: and a path"),
        ("file:a\0b", LLAMA_CPP, "cannot be seen", "file:PATH"),
        (f"file:{'a' * 5000}", LLAMA_CPP, "is too long", "file:PATH"),
        ("demo:tinny", LLAMA_CPP, "is not a shipped model", "demo:tiny, demo:small"),
        ("demo:tiny@sha256:12", LLAMA_CPP, "not a SHA-256", "64 digits"),
        (f"demo:tiny@sha256:{PIN.upper()}", LLAMA_CPP, "not a SHA-256", "0-9a-f"),
        ("hf:repo", LLAMA_CPP, "is not a place on the Hugging Face Hub", "hf:ORG/REPO"),
        ("hf:", LLAMA_CPP, "is not a place", "hf:ORG/REPO"),
        ("hf:org/repo:Q4_K_M", LLAMA_CPP, "is not a place", "name the file in place of the quantisation"),
        ("hf:org/repo/../x", LLAMA_CPP, "is not a place", "hf:ORG/REPO/FILE"),
        ("hf:org/..", LLAMA_CPP, "is not a place", "hf:ORG/REPO"),
        ("hf:org/repo@", LLAMA_CPP, "is not a place", "@REVISION"),
        ("hf:org/repo@a b", LLAMA_CPP, "is not a place", "@REVISION"),
        ("hf:https://huggingface.co/org/repo", LLAMA_CPP, "is not a place", "hf:ORG/REPO"),
        (f"hf:org/repo@sha256:{PIN}", LLAMA_CPP, "a whole repository", "name the file"),
        ("https://h/a.gguf", LLAMA_CPP, "is not pinned", "sha256sum FILE"),
        (f"https://h@sha256:{PIN}", LLAMA_CPP, "is not the address of a file", "https://HOST/FILE"),
        (f"https://h:99999/a@sha256:{PIN}", LLAMA_CPP, "is not the address of a file", "https://HOST/FILE"),
        (f"https:///a@sha256:{PIN}", LLAMA_CPP, "is not the address of a file", "https://HOST/FILE"),
        (f"https://h/a b@sha256:{PIN}", LLAMA_CPP, "is not the address of a file", "https://HOST/FILE"),
        ("http://h/a.gguf", LLAMA_CPP, "without encryption", "https://…@sha256:…; or download it"),
        ("http://h/a.gguf", OLLAMA, "without encryption", "a tag such as gemma3:1b"),
        ("gemma3:1b:2", OLLAMA, "is not a tag", "ollama pull"),
        ("gemma 3", OLLAMA, "is not a tag", "ollama pull"),
        ("ollama:gemma3:1b", OLLAMA, "is not a tag", "gemma3:1b"),
        ("~/a.gguf", OLLAMA, "is not a source", "file:PATH"),
        ("./a.gguf", OLLAMA, "is not a source", "file:PATH"),
        ("demo:tiny", OLLAMA, "does not take", "file:PATH, or a tag"),
        (
            "hf:org/repo",
            OPENAI,
            "of a kind that engine openai does not take",
            "the name that its server gives",
        ),
        (" a", OPENAI, "is not a name", "the name that its server gives"),
        (f"gpt@sha256:{PIN}", OPENAI, "cannot be pinned", "remove @sha256:"),
        ("oci: ", FAR, "names nothing", "what the engine is to load"),
    ],
)
def test_what_is_refused(text: str, traits: EngineTraits, what: str, fix: str) -> None:
    with pytest.raises(Unreadable) as caught:
        parts(text, traits)
    assert what in caught.value.what
    assert fix in caught.value.fix
    # The value may be a secret; a word of the fix may happen to be it.
    assert len(text) < 8 or text not in caught.value.what + caught.value.fix


def test_a_kind_that_only_one_engine_knows_is_listed_as_it_is() -> None:
    assert forms(FAR) == "oci:…, or mine:…"
