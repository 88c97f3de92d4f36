"""The engine `server` keeps the contract, with commands that are quick to start."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.engines.conformance import EngineConformance
from tests.engines.real_time import REAL_TIME
from tests.engines.server_rig import STUB, ServerRig, guards

pytestmark = REAL_TIME


@pytest.fixture
async def rig(runtime: Path) -> AsyncIterator[ServerRig]:
    made = ServerRig(runtime, (sys.executable, STUB, "good", "--port", "{port}", "--model", "{model}"))
    yield made
    await made.engine.close()
    assert guards() == []
    assert list((runtime / "run").glob("*.sock")) == []


class TestServerEngine(EngineConformance):
    @pytest.fixture
    def rig(self, rig: ServerRig) -> ServerRig:
        return rig
