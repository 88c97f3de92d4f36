"""The process that quantises: `python -m orchestrator.workers.quantize`."""

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from orchestrator.workers.errand import Reporter, Trouble, TroubleKind, run
from orchestrator.workers.fetch.products import Products
from orchestrator.workers.fetch.room import check_room, full, is_full
from orchestrator.workers.fetch.shelf import Shelf

NICE: Final = 10  # models are being served meanwhile
POLL_S: Final = 0.2
_DOING: Final = "quantising"


def work(job: Mapping[str, Any], reporter: Reporter) -> Mapping[str, object]:
    """Have the product `name` of `source` in the cache, whole and checked; answer with the sizes.

    Whoever makes the same one already is waited for.
    """
    shelf = Shelf(Path(job["cache"]))
    products = Products(shelf)
    name, source = str(job["name"]), Path(job["source"])
    size_bytes = _size(source)
    while True:
        with shelf.locked(name) as mine:
            if mine:
                try:
                    return _have(job, products, name, source, reporter)
                except OSError as error:
                    if is_full(error):
                        raise full(error, shelf.cache, 0, size_bytes) from None
                    raise
        reporter.progress(_DOING, 0, size_bytes)
        time.sleep(POLL_S)


def _have(
    job: Mapping[str, Any], products: Products, name: str, source: Path, reporter: Reporter
) -> Mapping[str, object]:
    size_bytes = _size(source)

    def checking(done_bytes: int) -> None:
        reporter.progress("checking", done_bytes, 0)

    if not products.is_whole(name) and not products.recheck(name, checking):
        reporter.progress(_DOING, 0, size_bytes, now=True)
        draft = products.draft(name)
        _quantise(job, source, draft, reporter, size_bytes)
        reporter.progress(_DOING, size_bytes, size_bytes, now=True)
        products.publish(name, checking)
    return {"before": size_bytes, "after": products.size_bytes(name)}


def _quantise(job: Mapping[str, Any], source: Path, draft: Path, reporter: Reporter, size_bytes: int) -> None:
    os.nice(NICE)
    if job["runtime"] == "mlx":
        check_room(draft.parent, size_bytes)  # more than any of its types needs
        try:
            from orchestrator.workers.mlx.quantize import quantize  # noqa: PLC0415 (only one of the two is installed)
        except ImportError as error:
            raise _missing("mlx-lm", error) from None
        quantize(source, draft, str(job["type"]))
        return
    try:
        from orchestrator.workers import llama_quantize  # noqa: PLC0415 (as above)
    except (ImportError, OSError, RuntimeError) as error:
        raise _missing("llama-cpp-python", error) from None

    def step(number: int, of: int) -> None:
        reporter.progress(_DOING, size_bytes * number // of, size_bytes)

    llama_quantize.quantize(source, draft, str(job["type"]), step)


def _missing(package: str, error: Exception) -> Trouble:
    return Trouble(
        TroubleKind.UNAVAILABLE,
        f"quantising needs {package}, which does not work here: {error}",
        fix=f"pip install {package}",
    )


def _size(source: Path) -> int:
    files = source.iterdir() if source.is_dir() else (source,)
    return sum(path.stat().st_size for path in files if path.is_file())


if __name__ == "__main__":
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    run(work)
