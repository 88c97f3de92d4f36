"""`${env:NAME}`, `${file:PATH}` and `${credential:NAME}` in string values, resolved at load and never shown.

Credentials are systemd's: files in the folder `$CREDENTIALS_DIRECTORY` that only the service can read.
`$${` stands for a literal `${`. Keys are left alone.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from orchestrator.config.contents import read
from orchestrator.config.flaw import At, Flaw
from orchestrator.config.paths import expand
from orchestrator.config.read import Data, Tree

MOST_BYTES: Final = 64 * 1024
MARKER: Final = re.compile(r"\$\$\{|\$\{([^{}]*)(\}?)")
CREDENTIAL: Final = re.compile(r"[^/\0]+")
CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"
SCHEMES: Final = frozenset({"env", "file", "credential"})
ENV_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Data with everything substituted. May hold secrets: never show it.

    `secret` holds the paths of the values in which something was replaced;
    `files` the files that were asked for, whether they could be read or not.
    """

    data: Data = field(repr=False)
    secret: frozenset[At] = frozenset()
    files: tuple[Path, ...] = ()
    flaws: tuple[Flaw, ...] = ()


def substitute(tree: Tree, *, folder: Path, env: Mapping[str, str]) -> Resolved:
    """Return the tree's data with all references replaced.

    A reference that cannot be resolved is a flaw, and stays as written.

    Args:
        tree: the document as parsed.
        folder: where relative paths start, the configuration folder.
        env: the environment for `${env:}`.
    """
    work = _Substitution(tree, folder, env)
    data = work.value(tree.data, ())
    return Resolved(
        data=data, secret=frozenset(work.secret), files=tuple(work.files), flaws=tuple(work.flaws)
    )


class _Unresolved(Exception):
    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


class _Substitution:
    def __init__(self, tree: Tree, folder: Path, env: Mapping[str, str]) -> None:
        self.secret: set[At] = set()
        self.files: list[Path] = []
        self.flaws: list[Flaw] = []
        self._tree = tree
        self._folder = folder
        self._env = env

    def value(self, data: Data, at: At) -> Data:
        if isinstance(data, dict):
            return {key: self.value(item, (*at, key)) for key, item in data.items()}
        if isinstance(data, list):
            return [self.value(item, (*at, index)) for index, item in enumerate(data)]
        if isinstance(data, str) and "${" in data:
            return self._text(data, at)
        return data

    def _text(self, text: str, at: At) -> str:
        def replacement(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            self.secret.add(at)
            try:
                return self._resolve(match[1], closed=bool(match[2]))
            except _Unresolved as error:
                line, column = self._tree.place(at)
                self.flaws.append(Flaw(what=error.what, fix=error.fix, line=line, column=column))
                return match[0]

        return MARKER.sub(replacement, text)

    def _resolve(self, reference: str, *, closed: bool) -> str:
        scheme, _, name = reference.partition(":")
        if not closed or scheme not in SCHEMES or not name:
            raise _Unresolved(
                f"'${{{reference}{'}' if closed else ''}' is not a reference",
                "write ${env:NAME}, ${file:PATH} or ${credential:NAME}; for a literal ${ write $${",
            )
        if scheme == "file":
            return self._read(name, expand(name, self._env, self._folder))
        if scheme == "credential":
            return self._credential(name)
        if not ENV_NAME.fullmatch(name):
            raise _Unresolved(f"{name!r} is not the name of an environment variable", "write ${env:NAME}")
        if name not in self._env:
            raise _Unresolved(
                f"the environment variable {name} is not set",
                f"set {name} in the environment of the daemon and restart it",
            )
        return self._env[name]

    def _credential(self, name: str) -> str:
        if not CREDENTIAL.fullmatch(name) or name in {".", ".."}:
            raise _Unresolved(f"{name!r} is not the name of a credential", "write ${credential:NAME}")
        if not self._env.get(CREDENTIALS):
            raise _Unresolved(
                f"there is no credential {name}, for ${CREDENTIALS} is not set",
                f"add LoadCredential={name}:PATH to the unit; outside of systemd write ${{file:PATH}}",
            )
        return self._read(name, Path(self._env[CREDENTIALS]) / name)

    def _read(self, name: str, path: Path) -> str:
        if path not in self.files:
            self.files.append(path)
        try:
            raw = read(path, MOST_BYTES).raw
            text = raw.decode()
        except OSError as error:
            raise _Unresolved(
                f"cannot read {name}: {error.strerror}",
                "make the file readable for the user that runs the daemon",
            ) from error
        except ValueError as error:
            raise _Unresolved(f"{name!r} does not lead to UTF-8 text", "store the value as text") from error
        if len(raw) > MOST_BYTES:
            raise _Unresolved(f"{name} has more than {MOST_BYTES // 1024} KiB", "name the file of the value")
        return text.removesuffix("\n").removesuffix("\r")
