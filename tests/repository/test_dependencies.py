import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = {"pyyaml": "yaml", "llama-cpp-python": "llama_cpp", "nvidia-ml-py": "pynvml"}

OURS = {"orchestrator", "tests", "benchmarks", "tools"}
LOADERS = {"importlib.import_module", "importlib.util.find_spec"}


def modules(requirements: list[str]) -> set[str]:
    names = (re.split(r"[\[<>=~! ;]", line)[0] for line in requirements)
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def declared() -> set[str]:
    return modules(PROJECT["project"]["dependencies"])


def imported(*folders: str) -> dict[str, str]:
    """Return each top-level module that is imported and where, without the standard library's and ours."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                for name in names_in(node):
                    found.setdefault(name.partition(".")[0], str(path.relative_to(ROOT)))
    return {name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, *OURS}}


def names_in(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]) if (
            ast.unparse(function) in LOADERS
        ):
            return [name]
        case _:
            return []


def test_everything_that_the_package_imports_is_declared() -> None:
    missing = {name: path for name, path in imported("orchestrator").items() if name not in declared()}
    assert missing == {}


def test_everything_that_tests_and_benchmarks_import_is_declared() -> None:
    known = declared() | modules(
        [line for line in PROJECT["dependency-groups"]["dev"] if isinstance(line, str)]
    )
    missing = {name: path for name, path in imported("tests", "benchmarks").items() if name not in known}
    assert missing == {}


def test_everything_that_is_declared_is_imported() -> None:
    assert declared() - set(imported("orchestrator")) == set()


def test_every_runtime_dependency_has_its_reason_beside_it() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lines = re.search(r"^dependencies = \[\n(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert lines
    assert all(re.fullmatch(r'    "[^"]+", +# [a-z, ]+: .+', line) for line in lines[1].splitlines())
