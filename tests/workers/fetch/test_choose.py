"""Which files of a repository a source means."""

import pytest

from orchestrator.workers.errand import Trouble, TroubleKind
from orchestrator.workers.fetch.choose import choose
from orchestrator.workers.fetch.order import Item


def files(*paths: str) -> list[Item]:
    return [Item(path=path, digest="sha256:00", size_bytes=2 << 30, remote=path) for path in paths]


def part(number: int, of: int = 3) -> str:
    return f"big-{number:05}-of-{of:05}.gguf"


MLX = ("config.json", "model-1.safetensors", "model-2.safetensors", "tokenizer.json", "vocab.txt")

CHOSEN: list[tuple[str, str, list[Item], str, list[str]]] = [
    ("the only model", "gguf", files("README.md", "a.gguf"), "", ["a.gguf"]),
    ("a projector is no model", "gguf", files("mmproj-a.gguf", "a.gguf"), "", ["a.gguf"]),
    ("an importance matrix is no model", "gguf", files("a-imatrix.gguf", "a.gguf"), "", ["a.gguf"]),
    ("the file that is named", "gguf", files("a.gguf", "b.gguf"), "b.gguf", ["b.gguf"]),
    (
        "a projector that is named",
        "gguf",
        files("mmproj-a.gguf", "a.gguf"),
        "mmproj-a.gguf",
        ["mmproj-a.gguf"],
    ),
    ("a file in a folder goes by its name", "gguf", files("q8/a.gguf", "b.gguf"), "q8/a.gguf", ["a.gguf"]),
    ("the only model in a folder", "gguf", files("q8/a.gguf", "q4/a.gguf"), "q8", ["a.gguf"]),
    ("all parts, in order", "gguf", files(part(3), part(1), part(2)), "", [part(1), part(2), part(3)]),
    (
        "all parts of the one named",
        "gguf",
        files(part(2, 2), part(1, 2), "a.gguf"),
        part(2, 2),
        [part(1, 2), part(2, 2)],
    ),
    ("a folder for MLX", "mlx", files(*MLX, "README.md", "run.py", "x/config.json"), "", list(MLX)),
    (
        "a folder in the folder",
        "mlx",
        files("q4/config.json", "q4/model.safetensors", "README.md"),
        "q4",
        ["config.json", "model.safetensors"],
    ),
    (
        "other weights stay away",
        "mlx",
        files("config.json", "model.safetensors", "consolidated.safetensors"),
        "",
        ["config.json", "model.safetensors"],
    ),
]


@pytest.mark.parametrize(("what", "form", "there", "wanted", "expected"), CHOSEN, ids=[c[0] for c in CHOSEN])
def test_what_a_source_means(
    what: str, form: str, there: list[Item], wanted: str, expected: list[str]
) -> None:
    chosen = choose(there, wanted, form=form, repository="org/repo")
    assert [item.path for item in chosen] == expected, what


REFUSED: list[tuple[str, str, list[Item], str, str, str]] = [
    (
        "several models",
        "gguf",
        files("a.gguf", "b.gguf"),
        "",
        "has 2 models",
        "with one of: a.gguf (2.0 GiB), b.gguf",
    ),
    ("no model", "gguf", files("README.md"), "", "has no model in GGUF", "search the hub"),
    (
        "only weights for others",
        "gguf",
        files("config.json", "model.safetensors"),
        "",
        "no model in GGUF",
        "engine: mlx",
    ),
    ("only a projector", "gguf", files("mmproj-a.gguf"), "", "only parts of models", "hf:org/repo/FILE"),
    (
        "a misspelt file",
        "gguf",
        files("model-Q4_K_M.gguf", "b.gguf"),
        "model-q4km.gguf",
        "has no file model-q4km.gguf",
        "did you mean model-Q4_K_M.gguf? There is: model-Q4_K_M.gguf (2.0 GiB), b.gguf (2.0 GiB)",
    ),
    ("a misspelt folder", "gguf", files("q8/a.gguf"), "q9", "has no file q9", "There is: q8/a.gguf"),
    ("a part is missing", "gguf", files(part(1), part(3)), part(1), "only 2 of the 3 parts", "another file"),
    (
        "no weights for MLX",
        "mlx",
        files("config.json", "pytorch_model.bin"),
        "",
        "no model that MLX",
        "mlx-community",
    ),
    (
        "GGUF is not for MLX",
        "mlx",
        files("config.json", "a.gguf"),
        "",
        "no model that MLX",
        "engine: llama-cpp",
    ),
    ("a folder that is not there", "mlx", files(*MLX), "q4", "org/repo/q4 is no model", "mlx-community"),
]


@pytest.mark.parametrize(
    ("what", "form", "there", "wanted", "said", "fix"), REFUSED, ids=[case[0] for case in REFUSED]
)
def test_what_a_source_cannot_mean(
    what: str, form: str, there: list[Item], wanted: str, said: str, fix: str
) -> None:
    with pytest.raises(Trouble) as caught:
        choose(there, wanted, form=form, repository="org/repo")
    assert caught.value.kind is TroubleKind.NOT_FOUND, what
    assert said in caught.value.what
    assert fix in caught.value.fix


def test_a_long_list_is_cut() -> None:
    with pytest.raises(Trouble, match="has 30 models") as caught:
        choose(files(*(f"quants-{n:02}.gguf" for n in range(30))), "", form="gguf", repository="org/repo")
    assert caught.value.fix.endswith("quants-11.gguf (2.0 GiB) and 18 more")
