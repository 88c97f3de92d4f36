"""Any history of edits against a model of twenty lines."""

import os
import shutil
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator import clock
from orchestrator.config.accepted import restore, store
from orchestrator.config.scan import Scanner
from orchestrator.values.catalog import Reading
from tests.config.engines import ENGINES
from tests.config.files import MODEL, permissions_bind, put

NAMES = st.sampled_from(["a", "b", "c", "d"])
LASTING = timedelta(seconds=2)
BAD = st.sampled_from(
    ["", "# nothing", "engine: [", "engine: llama-cpp\n", "\0", "source: demo:tiny\nx: 1\n"]
)


class Expected:
    """What should be in force: the whole promise of the scanner, without a file system."""

    def __init__(self) -> None:
        self.disk: dict[str, int | None] = {}  # the context that each file gives; None for a broken one
        self.away = False
        self.in_force: dict[str, tuple[int, int]] = {}  # context and generation
        self.counted: dict[str, int] = {}
        self.since: dict[str, datetime] = {}
        self.held = False

    def scan(self, now: datetime) -> None:
        disk = {} if self.away else self.disk
        gone = self.in_force.keys() - disk.keys()
        self.held = bool(gone) and (self.away or (len(gone) > 1 and 2 * len(gone) > len(self.in_force)))
        self.since = {} if self.held else {name: self.since.get(name, now) for name in gone}
        for name, since in self.since.items():
            if now - since >= LASTING:
                del self.in_force[name]
        for name, context in disk.items():
            if context is not None and self.in_force.get(name, (None, 0))[0] != context:
                self.counted[name] = self.counted.get(name, 0) + 1
                self.in_force[name] = (context, self.counted[name])


class Edits(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="edits"))
        self.models = self.root / "models.d"
        self.models.mkdir()
        self.now = clock.now() + timedelta(hours=1)
        self.scanner = Scanner(self.root, env={}, engines=ENGINES)
        self.expected = Expected()
        self.reading: Reading | None = None

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    @initialize(contexts=st.dictionaries(NAMES, st.integers(1, 3)))
    def start(self, contexts: dict[str, int]) -> None:
        for name, context in contexts.items():
            self.write(name, MODEL.format(context=context), context)
        self.scan(0)

    def write(self, name: str, text: str, context: int | None) -> None:
        if not self.expected.away:
            (self.models / f"{name}.yaml").unlink(missing_ok=True)
            put(self.models, name, text)
            self.expected.disk[name] = context

    @rule(name=NAMES, context=st.integers(1, 3), comment=st.booleans())
    def write_good(self, name: str, context: int, comment: bool) -> None:  # noqa: FBT001 (drawn)
        self.write(name, ("# again\n" if comment else "") + MODEL.format(context=context), context)

    @rule(name=NAMES, text=BAD)
    def write_bad(self, name: str, text: str) -> None:
        self.write(name, text, None)

    @precondition(lambda self: not self.expected.away)
    @rule(name=NAMES)
    def empty(self, name: str) -> None:
        if name in self.expected.disk:
            (self.models / f"{name}.yaml").chmod(0o644)
            os.truncate(self.models / f"{name}.yaml", 0)
            self.expected.disk[name] = None

    @precondition(lambda self: not self.expected.away and permissions_bind())
    @rule(name=NAMES)
    def take_permissions(self, name: str) -> None:
        if name in self.expected.disk:
            (self.models / f"{name}.yaml").chmod(0)
            self.expected.disk[name] = None

    @precondition(lambda self: not self.expected.away)
    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if name in self.expected.disk:
            (self.models / f"{name}.yaml").unlink()
            del self.expected.disk[name]

    @precondition(lambda self: not self.expected.away)
    @rule(name=NAMES, to=NAMES)
    def rename(self, name: str, to: str) -> None:
        if name in self.expected.disk and name != to:
            (self.models / f"{name}.yaml").rename(self.models / f"{to}.yaml")
            self.expected.disk[to] = self.expected.disk.pop(name)

    @rule()
    def move_the_folder_away_or_back(self) -> None:
        away = self.root / "away"
        if self.expected.away:
            away.rename(self.models)
        else:
            self.models.rename(away)
        self.expected.away = not self.expected.away

    @rule(after_s=st.sampled_from([0.5, 2.0, 60.0]))
    def scan(self, after_s: float) -> None:
        self.now += timedelta(seconds=after_s)
        self.expected.scan(self.now)
        self.reading = self.scanner.scan(self.now)

    @rule()
    def restart(self) -> None:
        """A new scanner on what was stored; it knows nothing of names that were deleted before."""
        if self.reading is not None:
            rows = store(self.reading.catalog)
            self.scanner = Scanner(
                self.root, restore(rows, self.root, {}, engines=ENGINES), env={}, engines=ENGINES
            )
            self.expected.since = {}
            self.expected.counted = {name: g for name, (_, g) in self.expected.in_force.items()}
            self.scan(0)

    @invariant()
    def in_force_is_as_expected(self) -> None:
        if self.reading is None:
            return
        found = {n: (d.value.context, d.generation) for n, d in self.reading.catalog.models.items()}
        assert found == self.expected.in_force
        assert bool(self.reading.held) == self.expected.held


TestEdits = Edits.TestCase
TestEdits.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
