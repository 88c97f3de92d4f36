"""The scan: what the configuration folder says now, and what of it is in force."""

import os
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Final

from orchestrator.config import contents, draft
from orchestrator.config.absence import Absences
from orchestrator.config.accepted import document
from orchestrator.config.decode import Surroundings
from orchestrator.config.draft import Draft
from orchestrator.config.folder import Folder, Read
from orchestrator.config.paths import MODELS, POLICIES, SETTINGS_FILE
from orchestrator.config.settings import SettingsFile
from orchestrator.config.settle import one_per_name, usable_policies
from orchestrator.config.trail import trail
from orchestrator.values.catalog import Catalog, Document, Held, Kind, Problem, Reading, T
from orchestrator.values.engine import EngineTraits
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.settings import Settings
from orchestrator.values.spec import ModelSpec

SOON_S: Final = 0.1


class Scanner:
    """Reads the configuration folder and keeps, for each file, its newest valid version in force.

    Not thread-safe: one call at a time, from any thread. Never writes, never
    waits on a file, and raises nothing for what it finds.

    Attributes:
        again_in_s: after a scan, the time after which another one is needed to
            settle what this one saw, in seconds; None where nothing is open.

    Args:
        folder: the configuration folder.
        accepted: what was in force before, as `restore` returns it.
        env: the environment for `${env:}`.
        engines: the engines that there are, by name.
        settings: those that the daemon runs with, as read from the settings
            file; left out, the first valid ones that are found.
        read: reads one file.
    """

    def __init__(
        self,
        folder: Path,
        accepted: Catalog | None = None,
        env: Mapping[str, str] = os.environ,
        *,
        engines: Mapping[str, EngineTraits],
        settings: Settings | None = None,
        read: Read = contents.read,
    ) -> None:
        around = Surroundings(folder=folder.absolute(), env=env, engines=engines)
        self.again_in_s: float | None = None
        self._root = around.folder
        self._catalog = accepted or Catalog()
        self._reading: Reading | None = None
        self._models: Folder[ModelSpec] = Folder(
            self._root, MODELS, partial(draft.model, around=around), read
        )
        self._policies: Folder[RoutingPolicy] = Folder(
            self._root, POLICIES, partial(draft.policy, around=around), read
        )
        self._settings = SettingsFile(around, settings)
        self._gone = {Kind.MODEL: Absences(MODELS), Kind.POLICY: Absences(POLICIES)}
        self._generations = {
            **{(Kind.MODEL, name): d.generation for name, d in self._catalog.models.items()},
            **{(Kind.POLICY, name): d.generation for name, d in self._catalog.policies.items()},
        }

    def scan(self, now: datetime) -> Reading:
        """Return what is in force after looking at every file; the very same value where nothing moved."""
        looks = (self._models.look(now), self._policies.look(now), self._settings.look(now))
        removed = {
            Kind.MODEL: self._removed(Kind.MODEL, self._models, self._catalog.models, now),
            Kind.POLICY: self._removed(Kind.POLICY, self._policies, self._catalog.policies, now),
        }
        held = tuple(gone.held for gone in self._gone.values() if gone.held)
        if self._reading is None or any(looks) or any(removed.values()) or held != self._reading.held:
            self._reading = self._settle(removed, held)
        self.again_in_s = self._open(now)
        return self._reading

    def confirm_removal(self) -> tuple[Held, ...]:
        """Have the next scan obey the disappearances that are held now; return them."""
        return tuple(held for gone in self._gone.values() for held in gone.confirm())

    def places(self) -> dict[str, frozenset[str] | None]:
        """Return the folders in which a change may matter, each with the names that do; None for any name.

        Holds every folder in which a link on the way to a file lies, where the
        links lead to, and what `${file:}` refers to.
        """
        root = str(self._root)
        folders = [f"{root}/{MODELS}", f"{root}/{POLICIES}"]
        paths = [*folders, f"{root}/{SETTINGS_FILE}", root]
        paths += [*self._models.links(), *self._policies.links(), *self._referred()]
        names: dict[str, set[str]] = {}
        for path in paths:
            for folder, name in trail(path):
                names.setdefault(folder, set()).add(name)
        places: dict[str, frozenset[str] | None] = {os.path.realpath(folder): None for folder in folders}
        return places | {folder: frozenset(some) for folder, some in names.items() if folder not in places}

    def _removed(
        self, kind: Kind, folder: Folder[T], in_force: Mapping[str, Document[T]], now: datetime
    ) -> frozenset[str]:
        present = {draft.name for draft in folder.drafts} if in_force else set()
        return self._gone[kind].judge(in_force, present, lost=folder.lost, device=folder.device, now=now)

    def _settle(self, removed: Mapping[Kind, frozenset[str]], held: tuple[Held, ...]) -> Reading:
        """Bring the catalog up to date with the drafts."""
        problems = [*self._folder_problems(), *self._settings.problems]
        problems += chain.from_iterable(each.problems for each in self._models.drafts)
        problems += chain.from_iterable(each.problems for each in self._policies.drafts)

        usable, twins = one_per_name(self._models.drafts)
        problems += twins
        models = {n: d for n, d in self._catalog.models.items() if n not in removed[Kind.MODEL]}
        for name, spec in usable.items():
            if spec.value is not None:
                models[name] = self._accept(Kind.MODEL, spec, spec.value, models.get(name))

        named, twins = one_per_name(self._policies.drafts)
        problems += twins
        policies = {n: d for n, d in self._catalog.policies.items() if n not in removed[Kind.POLICY]}
        known = {*models, *(each.name for each in self._models.drafts)}
        fitting, unfit = usable_policies(named, policies, known)
        problems += unfit
        for name, policy in fitting.items():
            if policy.value is not None:
                policies[name] = self._accept(Kind.POLICY, policy, policy.value, policies.get(name))

        self._catalog = Catalog(
            models=MappingProxyType(dict(sorted(models.items()))),
            policies=MappingProxyType(dict(sorted(policies.items()))),
        )
        problems.sort(key=lambda problem: (problem.path, problem.line, problem.column))
        return Reading(catalog=self._catalog, problems=tuple(problems), held=held)

    def _accept(self, kind: Kind, found: Draft[T], value: T, before: Document[T] | None) -> Document[T]:
        """Return the document of a valid draft; the one before where it is no other."""
        if before is None or before.meaning != found.meaning:
            generation = self._generations.get((kind, found.name), 0) + 1
            self._generations[kind, found.name] = generation
            return document(kind, found, value, generation)
        if (before.path, before.text, before.value) == (found.path, found.text, value):
            return before
        return document(kind, found, value, before.generation)

    def _referred(self) -> set[str]:
        return {str(path) for path in chain(self._models.referred(), self._policies.referred())}

    def _folder_problems(self) -> list[Problem]:
        """Return what is wrong with the folders themselves, where nothing is held because of it."""
        if self._models.lost and not self._root.is_dir():
            fix = "name another one with --config, or make it with `orchestrator init`"
            return [Problem(path=str(self._root), what="there is no such folder", fix=fix)]
        found = []
        for kind, name, folder in (
            (Kind.MODEL, MODELS, self._models),
            (Kind.POLICY, POLICIES, self._policies),
        ):
            optional = kind is Kind.POLICY and not folder.exists
            if folder.lost and not optional and not self._gone[kind].held:
                fix = "make it a folder that the user who runs the daemon may read"
                found.append(Problem(path=name, what=f"the folder {folder.lost}", fix=fix))
        return found

    def _open(self, now: datetime) -> float | None:
        waits = [gone.again_in_s(now) for gone in self._gone.values()]
        if self._models.soon or self._policies.soon or self._settings.soon:
            waits.append(SOON_S)
        return min((wait for wait in waits if wait is not None), default=None)
