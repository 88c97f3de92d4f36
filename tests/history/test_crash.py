"""`kill -9` at random moments: what was acknowledged is there, once, and the file opens."""

import random
from pathlib import Path

import duckdb

from tests.history.rows import python, read

ROUNDS = 20

WRITE = """if True:
    import asyncio, sys
    from pathlib import Path
    from orchestrator.history.writer import HistoryWriter
    from tests.history.rows import request

    async def main():
        writer = HistoryWriter(Path(sys.argv[1]))
        writer.start()
        number = int(sys.argv[2])
        while True:
            for _ in range(number % 37 + 1):
                writer.put(request(number))
                number += 1
            if number % 5 == 0:
                await writer.publish(20)
            else:
                await writer.flush(20)
            print(number, flush=True)

    asyncio.run(main())
"""


def test_kill_9_at_random_moments_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    dice = random.Random(7)  # noqa: S311 (moments, not secrets)
    acknowledged = start = 0
    for round_ in range(ROUNDS):
        with python(WRITE, str(folder), str(start)) as writer:
            assert writer.stdout is not None
            for _ in range(dice.randrange(12)):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            rest = writer.stdout.read().splitlines()
            acknowledged = int(rest[-1]) if rest else acknowledged
        if not (folder / "live.duckdb").exists():
            continue
        with duckdb.connect(folder / "live.duckdb") as con:
            found = con.execute("select count(*), count(distinct decision) from requests").fetchall()[0]
        assert found[0] == found[1] >= acknowledged, f"round {round_}"
        start = found[0]
        if (folder / "history.duckdb").exists():
            published = read(
                folder / "history.duckdb", "select count(*), max(decision[2:]::int) from requests"
            )[0]
            assert published[0] == (published[1] or -1) + 1
    assert start > 0
    assert not list(folder.glob("*corrupt*"))
    # A killed daemon's copies are cleared away by the next one.
    assert len(list(folder.glob("*.tmp"))) <= 1
