"""What is installed is told from its files; what a model asks for beyond it is told with the way out."""

from pathlib import Path

import pytest

from orchestrator.engines.llama.build import Build, check, installed
from orchestrator.errors import EngineUnavailable
from tests.builders import spec

CPU = Build(version="0.3.36")
CUDA = Build(version="0.3.36", backends=("cuda",))


def install(folder: Path, *libraries: str) -> None:
    info = folder / "pretended_llama-1.2.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pretended-llama\nVersion: 1.2.3\n")
    lib = folder / "llama_cpp" / "lib"
    lib.mkdir(parents=True)
    for name in libraries:
        (lib / name).touch()


@pytest.mark.parametrize(
    ("libraries", "said"),
    [
        (("libggml-base.so", "libggml-cpu.so.0"), "llama-cpp-python 1.2.3 (CPU only)"),
        (("libggml-cpu.so", "libggml-cuda.so.0.25.3"), "llama-cpp-python 1.2.3 (cuda)"),
        (("libggml-metal.dylib",), "llama-cpp-python 1.2.3 (metal)"),
        (("libggml-hip.so", "libggml-cuda.so"), "llama-cpp-python 1.2.3 (cuda, rocm)"),
    ],
)
def test_a_build_is_known_by_its_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libraries: tuple[str, ...], said: str
) -> None:
    install(tmp_path, *libraries)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert str(installed("pretended-llama")) == said


def test_what_is_not_installed_is_none() -> None:
    assert installed("no-such-package-at-all") is None


def test_the_real_one_is_found() -> None:
    assert str(installed()).startswith("llama-cpp-python 0.3.")


@pytest.mark.parametrize(
    ("build", "accelerator"), [(CPU, "auto"), (CPU, "cpu"), (CUDA, "auto"), (CUDA, "cpu"), (CUDA, "cuda")]
)
def test_what_it_was_built_for_it_can_do(build: Build, accelerator: str) -> None:
    assert check(build, spec(accelerator=accelerator)) is build


@pytest.mark.parametrize(
    ("build", "accelerator", "fix"),
    [
        (None, "auto", "python -m pip install --force-reinstall llama-cpp-python"),
        (CPU, "cuda", 'CMAKE_ARGS="-DGGML_CUDA=on" python -m pip install'),
        (CUDA, "metal", 'CMAKE_ARGS="-DGGML_METAL=on"'),
        (CPU, "ane", "use one of: auto, cpu, cuda, metal, rocm"),
    ],
)
def test_what_it_was_not_built_for_is_unavailable(build: Build | None, accelerator: str, fix: str) -> None:
    with pytest.raises(EngineUnavailable) as caught:
        check(build, spec("fast", accelerator=accelerator))
    assert caught.value.where == "fast"
    assert caught.value.fix.startswith(fix)
