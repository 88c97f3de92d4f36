"""How this package starts its children: our interpreter, our code, nothing of the surroundings."""

import importlib.util
import sys
from pathlib import Path
from typing import Final

from orchestrator.errors import HistoryError

# The child gets its folders by name: `-I` ignores PYTHONPATH and the current folder, and the
# package may run from a checkout that is not installed.
_START: Final = (
    "import sys; sys.path += sys.argv[2:]; import runpy; runpy.run_module(sys.argv[1], run_name='__main__')"
)


def command(module: str) -> list[str]:
    """Return the command that runs `module` of this package, with duckdb in reach.

    Raises:
        HistoryError: duckdb is not installed.
    """
    duckdb = importlib.util.find_spec("duckdb")
    if duckdb is None or duckdb.origin is None:
        raise HistoryError("the duckdb package is not installed", fix="`make run` installs everything")
    ours = Path(__file__).resolve().parents[2]
    theirs = Path(duckdb.origin).resolve().parents[1]
    return [sys.executable, "-I", "-X", "utf8", "-c", _START, module, str(ours), str(theirs)]
