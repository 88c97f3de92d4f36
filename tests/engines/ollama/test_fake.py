"""The engine keeps the contract, with a pretended server on a real socket."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.engines.conformance import EngineConformance
from tests.engines.ollama.fake_server import pretending
from tests.engines.ollama.rigs import OllamaRig
from tests.engines.real_time import REAL_TIME

pytestmark = REAL_TIME


class TestOllama(EngineConformance):
    @pytest.fixture
    async def rig(self, runtime: Path) -> AsyncIterator[OllamaRig]:
        async with pretending() as world:
            made = OllamaRig(world, runtime)
            yield made
            await made.close()
            assert world.runners() == 0
