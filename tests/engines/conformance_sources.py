"""What every engine promises of sources: fetching them, following them, removing them."""

import pytest

from orchestrator.errors import SourceCorrupt, SourceNotFound
from tests.engines.rig import Arrivals, Rig


class SourcesConformance:
    async def test_a_good_source_is_fetched_again_and_again(self, rig: Rig) -> None:
        first = await rig.engine.ensure_fetched(rig.good, Arrivals())
        assert await rig.engine.ensure_fetched(rig.good, Arrivals()) == first
        assert first.size_bytes >= 0

    async def test_the_progress_of_a_fetch_goes_one_way_and_not_beyond_its_end(self, rig: Rig) -> None:
        arrivals = Arrivals()
        await rig.engine.ensure_fetched(rig.good, arrivals)
        for told in arrivals.told:
            assert told.doing
            assert told.done_bytes >= 0
            assert told.done_bytes <= told.total_bytes or not told.total_bytes
        for doing in {told.doing for told in arrivals.told}:
            done = [told.done_bytes for told in arrivals.told if told.doing == doing]
            assert done == sorted(done)

    async def test_a_missing_source_is_terminal_and_says_what_was_written(self, rig: Rig) -> None:
        with pytest.raises(SourceNotFound) as caught:
            await rig.engine.ensure_fetched(rig.missing, Arrivals())
        assert caught.value.terminal
        assert caught.value.where == rig.missing.name
        assert rig.missing.source.written in str(caught.value)

    async def test_a_corrupt_source_is_terminal_and_says_what_was_written(self, rig: Rig) -> None:
        if rig.corrupt is None:
            return
        with pytest.raises(SourceCorrupt) as caught:
            await rig.engine.ensure_fetched(rig.corrupt, Arrivals())
        assert caught.value.terminal
        assert caught.value.where == rig.corrupt.name
        assert rig.corrupt.source.written in str(caught.value)

    async def test_the_newest_of_a_source_is_what_was_just_fetched(self, rig: Rig) -> None:
        """Both are "" where nothing can move."""
        fetched = await rig.engine.ensure_fetched(rig.good, Arrivals())
        assert await rig.engine.newest(rig.good) == fetched.resolved

    async def test_removing_what_was_never_fetched_frees_nothing(self, rig: Rig) -> None:
        assert await rig.engine.ensure_removed(rig.missing, []) == 0

    async def test_what_others_use_is_not_removed(self, rig: Rig) -> None:
        await rig.engine.ensure_fetched(rig.good, Arrivals())
        assert await rig.engine.ensure_removed(rig.good, [rig.other, rig.good]) == 0
        assert await rig.answers(await rig.engine.ensure_loaded("r1", rig.good))

    async def test_removing_again_frees_nothing_and_fetching_again_brings_it_back(self, rig: Rig) -> None:
        fetched = await rig.engine.ensure_fetched(rig.good, Arrivals())
        assert await rig.engine.ensure_removed(rig.good, []) >= 0
        assert await rig.engine.ensure_removed(rig.good, []) == 0
        assert await rig.engine.ensure_fetched(rig.good, Arrivals()) == fetched
        assert await rig.answers(await rig.engine.ensure_loaded("r1", rig.good))
