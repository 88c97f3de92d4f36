"""The settings file, `orchestrator.yaml`: read once at the start, watched for the sake of its problems."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

from orchestrator.config import contents, decode_settings
from orchestrator.config.contents import Stamp
from orchestrator.config.decode import Surroundings
from orchestrator.config.draft import Checked, check, lines_of
from orchestrator.config.flaw import Flaw, problems
from orchestrator.config.notation import is_loopback
from orchestrator.config.paths import SETTINGS_FILE
from orchestrator.config.read import EMPTY, MOST_BYTES
from orchestrator.config.secrets import secret_lines
from orchestrator.config.show import render
from orchestrator.errors import ConfigError
from orchestrator.values.catalog import Problem
from orchestrator.values.settings import Settings

WRONG_NAME: Final = "orchestrator.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsDraft:
    """What the settings file says now. `value` is None exactly where there are problems."""

    value: Settings | None = None
    lines: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    files: tuple[Path, ...] = ()
    stamp: Stamp | None = None


def load_settings(folder: Path, env: Mapping[str, str]) -> Settings:
    """Return the settings of a configuration folder; all defaults where it has no settings file.

    Raises:
        ConfigError: with every problem of the file, rendered.
    """
    draft = read_settings(Surroundings(folder=folder.absolute(), env=env))
    if draft.value is None:
        found = "\n".join(render(problem) for problem in draft.problems)
        raise ConfigError(f"the settings file is not usable\n{found}")
    return draft.value


def read_settings(around: Surroundings) -> SettingsDraft:
    """Return what the settings file says; all defaults where there is none."""
    try:
        found = contents.read(around.folder / SETTINGS_FILE, MOST_BYTES)
    except FileNotFoundError:
        return _without_file(around.folder)
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        fix = "make it a file that the user who runs the daemon may read"
        return SettingsDraft(problems=(Problem(path=SETTINGS_FILE, what=what, fix=fix),))
    return _read(found.raw, found.stamp, around)


def changed(before: Settings, now: SettingsDraft) -> tuple[Problem, ...]:
    """Return one problem for each setting that the file changes and that a running daemon cannot take up."""
    if now.value is None:
        return ()
    names = [f.name for f in fields(Settings) if getattr(before, f.name) != getattr(now.value, f.name)]
    written = dict.fromkeys(decode_settings.WRITTEN_AS[name] for name in names)
    return tuple(
        Problem(
            path=SETTINGS_FILE,
            line=now.lines.get(name, 0),
            column=1 if name in now.lines else 0,
            what=f"{name}: changed since the daemon started; the old value stays in force",
            fix="restart the daemon to apply it",
        )
        for name in written
    )


class SettingsFile:
    """The settings file, looked at again and again.

    Attributes:
        problems: what is wrong with it, or cannot be taken up by a running daemon.
        soon: it is too young to be sure that it is complete.
    """

    def __init__(self, around: Surroundings, in_force: Settings | None) -> None:
        self.problems: tuple[Problem, ...] = ()
        self.soon = False
        self._around = around
        self._in_force = in_force
        self._draft = SettingsDraft()
        self._seen: tuple[Stamp | None, ...] | None = None

    def look(self, now: datetime) -> bool:
        """Bring `problems` up to date; return whether they may have changed."""
        seen = self._stamps()
        unread = self._draft.stamp is None and self._draft.problems
        if seen == self._seen and not self.soon and not unread:
            return False
        self._draft = read_settings(self._around)
        self._seen = seen  # taken before the reading: a write in between is then seen the next time
        self.soon = contents.is_young(self._draft.stamp, now)
        if self._in_force is None:
            self._in_force = self._draft.value
        before = self.problems
        late = changed(self._in_force, self._draft) if self._in_force is not None else ()
        self.problems = (*self._draft.problems, *late)
        return self.problems != before

    def _stamps(self) -> tuple[Stamp | None, ...]:
        names = (SETTINGS_FILE, WRONG_NAME)
        paths = [*(self._around.folder / name for name in names), *self._draft.files]
        return tuple(contents.stamp(path) for path in paths)


def _without_file(folder: Path) -> SettingsDraft:
    if not (folder / WRONG_NAME).exists():
        return SettingsDraft(value=Settings())
    wrong = Problem(path=WRONG_NAME, what="this file is not read", fix=f"rename it to {SETTINGS_FILE}")
    return SettingsDraft(problems=(wrong,))


def _read(raw: bytes, stamp: Stamp, around: Surroundings) -> SettingsDraft:
    checked = check(raw, "settings", around)
    if checked.flaws == (EMPTY,):
        return SettingsDraft(value=Settings(), stamp=stamp)
    value, flaws = None, list(checked.flaws)
    if not flaws:
        value = decode_settings.settings(cast("Mapping[str, Any]", checked.resolved.data), around)
        flaws = _open_door(value, checked)
    return SettingsDraft(
        value=None if flaws else value,
        lines=lines_of(checked.tree),
        problems=problems(
            SETTINGS_FILE, checked.text, flaws, secret_lines=secret_lines("settings", checked.text)
        ),
        files=checked.resolved.files,
        stamp=stamp,
    )


def _open_door(value: Settings, checked: Checked) -> list[Flaw]:
    if value.api_keys or is_loopback(value.host):
        return []
    line, column = checked.tree.place(("listen",))
    what = f"listen: {value.host} can be reached from other machines, and no api_keys are set"
    fix = 'set api_keys: ["${file:PATH}"], or listen on 127.0.0.1'
    return [Flaw(what=what, fix=fix, line=line, column=column)]
