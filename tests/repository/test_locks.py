import re
import tomllib
from pathlib import Path

import pytest

from tools.environment.locks import Pin, digest_of, read_lock, write_requirements

ROOT = Path(__file__).parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_has_hashes_and_no_line_names_an_address(name: str) -> None:
    pins = read_lock(ROOT / name)
    assert len(pins) > 20
    for pin in pins:
        assert pin.hashes, pin.name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in pin.hashes), pin.name
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--index|--extra|--find|--trusted)", text, re.MULTILINE)


def test_running_and_developing_use_the_same_versions() -> None:
    run, dev = ({pin.name: pin for pin in read_lock(ROOT / name)} for name in LOCKS)
    assert set(run) < set(dev)
    # A package that is for one system when running may be for more when developing.
    same = {
        name: (dev[name].version, dev[name].hashes) == (pin.version, pin.hashes) for name, pin in run.items()
    }
    assert all(same.values()), same


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted_to_run = [*project["project"]["dependencies"], *groups["build"]]
    wanted_to_develop = [*wanted_to_run, *(line for line in groups["dev"] if isinstance(line, str))]
    for name, wanted in zip(LOCKS, (wanted_to_run, wanted_to_develop), strict=True):
        pinned = {normal(pin.name) for pin in read_lock(ROOT / name)}
        for requirement in wanted:
            assert normal(re.split(r"[\[<>=~! ;]", requirement)[0]) in pinned, f"{name}: make lock"


def test_a_requirements_file_of_pins_is_the_lock_again(tmp_path: Path) -> None:
    pins = read_lock(ROOT / LOCKS[0])
    write_requirements(tmp_path / "all.txt", pins)
    assert read_lock(tmp_path / "all.txt") == pins
    assert Pin(name=pins[0].name, version=pins[0].version, text=pins[0].text) == pins[0]


def test_a_line_that_is_not_pinned_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "bad.lock"
    lock.write_text("aiohttp>=3\n")
    with pytest.raises(ValueError, match="not a pinned requirement"):
        read_lock(lock)


def test_the_digest_changes_with_a_name_and_with_a_content(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("x")
    two.write_text("x")
    before = digest_of([one])
    assert digest_of([two]) != before
    one.write_text("y")
    assert digest_of([one]) != before
