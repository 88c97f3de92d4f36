"""What every engine promises, as one suite. An engine's test module subclasses `EngineConformance`.

See docs/writing-an-engine.md.
"""

from tests.engines.conformance_life import LifeConformance
from tests.engines.conformance_memory import MemoryConformance, PresenceConformance
from tests.engines.conformance_sources import SourcesConformance
from tests.engines.rig import Absent, Arrivals, Exits, Rig

__all__ = ["Absent", "Arrivals", "EngineConformance", "Exits", "Rig"]


class EngineConformance(LifeConformance, SourcesConformance, MemoryConformance, PresenceConformance):
    """Subclass it, name the subclass `Test…`, and give it a fixture `rig`."""
