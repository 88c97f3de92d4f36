"""A command as a model file has it: what is filled in, what it may know, and the program that it names."""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orchestrator
from orchestrator.engines.children.environment import worker_environment
from orchestrator.errors import EngineUnavailable
from orchestrator.values.hidden import Hide, hiding, is_substituted
from orchestrator.values.spec import ModelSpec

PACKAGE: Final = Path(orchestrator.__file__).resolve().parent

PORT: Final = "{port}"
SOCKET: Final = "{socket}"
MODEL: Final = "{model}"

# Nothing leaves the machine that the user has not asked for: vLLM and the Hugging Face libraries report on
# their use by default. A model's file may say otherwise.
_QUIET: Final[Mapping[str, str]] = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
}
# With `offline: true` in the settings file: what keeps the same libraries from downloading.
_OFFLINE: Final[Mapping[str, str]] = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
# By the name of a program: the command that installs it.
PROGRAMS: Final[Mapping[str, str]] = {
    "llama-server": "brew install llama.cpp",
    "vllm": "uv tool install vllm",
    "transformers": "uv tool install 'transformers[serving]'",
    "mlx_lm.server": "uv tool install mlx-lm",
}
# By the name of a Python module: the package that it comes with.
_SERVER: Final = "'llama-cpp-python[server]'"
_PACKAGES: Final[Mapping[str, str]] = {
    "fastapi": _SERVER,
    "llama_cpp": _SERVER,
    "mlx_lm": "mlx-lm",
    "pydantic_settings": _SERVER,
    "sse_starlette": _SERVER,
    "starlette_context": _SERVER,
    "transformers": "'transformers[serving]'",
    "vllm": "vllm",
}


def uses(spec: ModelSpec, placeholder: str) -> bool:
    """Say whether the command has a place for it."""
    return any(placeholder in part for part in spec.command)


def filled(spec: ModelSpec, *, port: int, socket: Path, model: str) -> tuple[str, ...]:
    """Return the argv. Other braces stay as they are: options may take JSON."""
    values = {PORT: str(port), SOCKET: str(socket), MODEL: model}
    places = re.compile("|".join(re.escape(name) for name in values))
    return tuple(places.sub(lambda found: values[found[0]], part) for part in spec.command)


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """What a command is given. `own` is the daemon's environment, `temporary` a private folder.

    `compiled` keeps what PyTorch compiles, which would go to the temporary
    files: in memory on many systems, hundreds of MB, and lost with a restart.
    """

    own: Mapping[str, str] = field(repr=False)
    temporary: Path
    compiled: Path
    offline: bool


def environment_of(spec: ModelSpec, home: Home) -> dict[str, str]:
    """Return all that the command may know of the daemon's environment, and what its model file adds."""
    passed = worker_environment(home.own, package=PACKAGE, temporary=home.temporary)
    passed.pop("PYTHONPATH", None)  # it finds our package, which is none of the command's business
    # Python holds lines back that go to a pipe; the last ones would be missing when they are needed.
    ours = {
        "PATH": search_path(home.own),
        "PYTHONUNBUFFERED": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(home.compiled),
        **_QUIET,
    }
    offline = _OFFLINE if home.offline else {}
    return {**passed, **ours, **offline, **dict(spec.environment)}


def search_path(own: Mapping[str, str]) -> str:
    """Return where programs are looked for.

    Those that were installed beside the daemon, in its virtual environment,
    are found too, after all others: a service has none activated.
    """
    return os.pathsep.join((own.get("PATH") or os.defpath, str(Path(sys.executable).parent)))


def program_of(spec: ModelSpec, environment: Mapping[str, str]) -> Path:
    """Return the file that the command runs.

    Raises:
        EngineUnavailable: it is not there, or may not be run.
    """
    name = spec.command[0]
    found = shutil.which(name, path=environment.get("PATH"))
    if found is None:
        what = f"the command's program '{name}' is not there or may not be run"
        raise EngineUnavailable(what, where=spec.name, fix=install(name))
    return Path(found)


def install(name: str) -> str:
    """Return the command that installs a program."""
    known = PROGRAMS.get(Path(name).name)
    return known or f"install '{name}', put it on the daemon's PATH, or write its full path in `command`"


def install_module(module: str, program: str) -> str:
    """Return the command that installs a Python module where a command's program finds it."""
    if not Path(program).name.startswith("python"):
        return f"install the Python module '{module}' into the environment of {program}"
    package = _PACKAGES.get(module)
    known = (
        f"{program} -m pip install {package}" if package else f"install the module '{module}' for {program}"
    )
    return f"{known}, or write the full path of another Python in `command`"


def version_of(program: Path) -> str:
    """Return what tells versions of a program apart without running it: where it lies, and since when."""
    resolved = program.resolve()
    changed = datetime.fromtimestamp(resolved.stat().st_mtime, tz=UTC)
    return f"{resolved} of {changed:%Y-%m-%d %H:%M:%S}"


def redaction(spec: ModelSpec, model: str) -> Hide:
    """Return what puts, into a line of the command's log, names in place of what must not be shown.

    Args:
        spec: the model.
        model: what stands for `{model}`.
    """
    return hiding(spec, {model: spec.source.written} if is_substituted(spec.source.written) else None)
