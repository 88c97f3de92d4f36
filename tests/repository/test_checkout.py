import json
import sys
from pathlib import Path

import pytest

from tools.environment.checkout import Checkout, is_current, stamp_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    return tmp_path


def finish(checkout: Checkout, environ: dict[str, str]) -> None:
    checkout.stamp.write_text(json.dumps(stamp_of(checkout, environ)))


def test_nothing_is_current_before_a_set_up_has_finished(root: Path) -> None:
    assert not is_current(Checkout(root=root, dev=False), {}, python_given=False)


def test_an_environment_for_development_is_enough_for_running_but_not_the_other_way(root: Path) -> None:
    run, dev = Checkout(root=root, dev=False), Checkout(root=root, dev=True)
    finish(run, {})
    assert is_current(run, {}, python_given=False)
    assert not is_current(dev, {}, python_given=False)
    finish(dev, {})
    assert is_current(run, {}, python_given=False)
    assert is_current(dev, {}, python_given=False)


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock"])
def test_a_changed_input_is_installed(root: Path, name: str) -> None:
    checkout = Checkout(root=root, dev=False)
    finish(checkout, {})
    (root / name).write_text("changed")
    assert not is_current(checkout, {}, python_given=False)


def test_a_lost_python_is_made_again(root: Path) -> None:
    checkout = Checkout(root=root, dev=False)
    finish(checkout, {})
    checkout.python.unlink()
    assert not is_current(checkout, {}, python_given=False)


def test_another_python_counts_only_where_it_was_named(root: Path) -> None:
    checkout = Checkout(root=root, dev=False)
    checkout.stamp.write_text(json.dumps({**stamp_of(checkout, {}), "python": "/other 3.99.0"}))
    assert is_current(checkout, {}, python_given=False)
    assert not is_current(checkout, {}, python_given=True)


def test_build_arguments_count_only_where_they_are_given(root: Path) -> None:
    checkout = Checkout(root=root, dev=False)
    finish(checkout, {"CMAKE_ARGS": "-DGGML_CUDA=on"})
    assert is_current(checkout, {}, python_given=False)
    assert is_current(checkout, {"CMAKE_ARGS": "-DGGML_CUDA=on"}, python_given=False)
    assert not is_current(checkout, {"CMAKE_ARGS": ""}, python_given=False)


def test_a_checkout_that_was_moved_is_set_up_again(root: Path) -> None:
    checkout = Checkout(root=root, dev=False)
    checkout.stamp.write_text(json.dumps({**stamp_of(checkout, {}), "root": "/elsewhere"}))
    assert not is_current(checkout, {}, python_given=False)
