import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = {"pyyaml": "yaml", "llama-cpp-python": "llama_cpp"}
# Imported by uvicorn, which runs without it, only slower.
IMPORTED_BY_OTHERS = {"httptools"}

LOADERS = {"importlib.import_module", "importlib.util.find_spec"}


def declared() -> set[str]:
    names = (re.split(r"[\[<>=~! ;]", line)[0] for line in PROJECT["project"]["dependencies"])
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def imported() -> dict[str, str]:
    """Return each top-level module that the package imports and one file that does."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "orchestrator").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in LOADERS:
                names = (
                    [str(ast.literal_eval(node.args[0]))] if isinstance(node.args[0], ast.Constant) else []
                )
            for name in names:
                found.setdefault(name.partition(".")[0], str(path.relative_to(ROOT)))
    return {
        name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, "orchestrator"}
    }


def test_everything_that_is_imported_is_declared() -> None:
    missing = {name: path for name, path in imported().items() if name not in declared()}
    assert missing == {}


def test_everything_that_is_declared_is_imported() -> None:
    assert declared() - set(imported()) - IMPORTED_BY_OTHERS == set()


def test_every_runtime_dependency_has_its_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lines = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert lines
    assert all(re.fullmatch(r'    "[^"]+", +# [a-z, ]+: .+', line) for line in lines[1].splitlines())
