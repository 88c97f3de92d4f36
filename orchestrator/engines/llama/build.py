"""Which llama-cpp-python is installed, and what it was built for: from its files, without importing it."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Final

from orchestrator.errors import EngineUnavailable
from orchestrator.values.spec import ModelSpec

PACKAGE: Final = "llama-cpp-python"
INSTALL: Final = f"python -m pip install --force-reinstall {PACKAGE}"
# By what `accelerator:` says: the library that such a build has, and the switch that makes one.
_BACKENDS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "cuda": ("ggml-cuda", "-DGGML_CUDA=on"),
        "metal": ("ggml-metal", "-DGGML_METAL=on"),
        "rocm": ("ggml-hip", "-DGGML_HIP=on"),
    }
)
ON_CPU: Final = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """`backends` are accelerators, as `accelerator:` calls them, that it was built for; none: CPU only."""

    version: str
    backends: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{PACKAGE} {self.version} ({', '.join(self.backends) or 'CPU only'})"


def installed(package: str = PACKAGE) -> Build | None:
    """Return the build that workers would load; None where there is none. Reads a few files."""
    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return None
    folder = Path(str(found.locate_file("llama_cpp"))) / "lib"
    names = [path.name for path in folder.glob("*ggml-*")]
    backends = (name for name, (library, _) in _BACKENDS.items() if any(library in file for file in names))
    return Build(version=found.version, backends=tuple(backends))


def check(build: Build | None, spec: ModelSpec) -> Build:
    """Return the build where it can run `spec`.

    Raises:
        EngineUnavailable: there is none, or it cannot use the accelerator that the model asks for.
    """
    if build is None:
        raise EngineUnavailable(f"{PACKAGE} is not installed", where=spec.name, fix=INSTALL)
    wanted = spec.accelerator
    if wanted in {"auto", ON_CPU} or wanted in build.backends:
        return build
    if wanted not in _BACKENDS:
        known = ", ".join(("auto", ON_CPU, *_BACKENDS))
        raise EngineUnavailable(
            f"llama.cpp knows no accelerator '{wanted}'", where=spec.name, fix=f"use one of: {known}"
        )
    raise EngineUnavailable(
        f"{build} cannot use {wanted}",
        where=spec.name,
        fix=f'CMAKE_ARGS="{_BACKENDS[wanted][1]}" {INSTALL} --no-cache-dir --no-binary {PACKAGE}',
    )
