import os
import platform
import shutil
from pathlib import Path

import pytest

from tools.environment.checks import require_compilers, require_venv_module, require_writable
from tools.environment.problem import Problem


def program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def one_line(problem: BaseException) -> str:
    text = str(problem)
    assert text.startswith("setup: ")
    assert ". fix: " in text
    assert "\n" not in text
    return text


def test_no_compiler_is_one_line_with_a_command_that_installs_one(tmp_path: Path) -> None:
    program(tmp_path, "apt-get", "exit 0")
    with pytest.raises(Problem) as caught:
        require_compilers({"PATH": str(tmp_path)})
    text = one_line(caught.value)
    assert "no C compiler found" in text
    expected = (
        "xcode-select --install" if platform.system() == "Darwin" else "apt-get install -y build-essential"
    )
    assert expected in text


def test_a_c_compiler_alone_is_not_enough(tmp_path: Path) -> None:
    program(tmp_path, "cc", "exit 0")
    with pytest.raises(Problem, match="no C\\+\\+ compiler found"):
        require_compilers({"PATH": str(tmp_path)})


def test_a_compiler_that_is_too_old_says_so_with_its_own_words(tmp_path: Path) -> None:
    program(tmp_path, "cc", "exit 0")
    program(tmp_path, "c++", "echo \"error: unrecognized option '-std=c++17'\" >&2; exit 1")
    with pytest.raises(Problem) as caught:
        require_compilers({"PATH": str(tmp_path)})
    assert "cannot compile C++17 (error: unrecognized option" in one_line(caught.value)


def test_cxx_names_the_compiler_that_is_tried(tmp_path: Path) -> None:
    program(tmp_path, "cc", "exit 0")
    program(tmp_path, "c++", "exit 0")
    mine = program(tmp_path, "mine", "echo 'error: not today' >&2; exit 1")
    with pytest.raises(Problem, match="mine cannot compile"):
        require_compilers({"PATH": str(tmp_path), "CXX": str(mine)})


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler on this machine")
def test_a_working_compiler_is_enough() -> None:
    require_compilers(os.environ)


def test_a_folder_that_cannot_be_written_is_one_line_that_names_it(tmp_path: Path) -> None:
    # Permissions do not stop root, so the folder is one that nobody can make.
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem) as caught:
        require_writable(tmp_path / "file" / "checkout")
    assert f"cannot write in {tmp_path / 'file' / 'checkout'}" in one_line(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
def test_a_read_only_folder_is_one_line_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(Problem, match="Permission denied"):
            require_writable(tmp_path)
    finally:
        tmp_path.chmod(0o755)


def test_a_writable_folder_is_left_as_it_was(tmp_path: Path) -> None:
    require_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_python_without_ensurepip_names_the_package_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "apt-get", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path))
    require_venv_module()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Problem) as caught:
        require_venv_module(system="Linux")
    major, minor, _ = platform.python_version_tuple()
    assert f"apt-get install -y python{major}.{minor}-venv" in one_line(caught.value)
