import io
import threading
from pathlib import Path

import pytest

from tools.environment.llama_wheel import (
    build_environment,
    build_key,
    build_wheel,
    building_alone,
    cache_folder,
    keep_wheel,
    kept_wheel,
    telling,
    this_processor,
)
from tools.environment.locks import Pin
from tools.environment.problem import Problem
from tools.environment.progress import Step

PIN = Pin(name="llama-cpp-python", version="1.2.3", text="llama-cpp-python==1.2.3 --hash=sha256:ab")


def built(store: Path) -> Path:
    work = store / ".building-x"
    work.mkdir(parents=True)
    wheel = work / "llama_cpp_python-1.2.3-py3-none-any.whl"
    wheel.write_bytes(b"wheel")
    return wheel


def test_a_kept_wheel_is_found_again_with_nothing_else_left(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    wheel = keep_wheel(built(tmp_path), folder)
    assert kept_wheel(folder) == wheel == folder / "llama_cpp_python-1.2.3-py3-none-any.whl"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_wheel_that_changed_on_disk_is_not_used_and_not_kept(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    keep_wheel(built(tmp_path), folder).write_bytes(b"wheex")
    assert kept_wheel(folder) is None
    assert not folder.exists()


def test_a_wheel_without_its_hash_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    keep_wheel(built(tmp_path), folder).with_suffix(".sha256").unlink()
    assert kept_wheel(folder) is None


def test_the_key_tells_processors_arguments_and_sources_apart() -> None:
    other_source = Pin(name=PIN.name, version=PIN.version, text=PIN.text.replace("ab", "cd"))
    keys = {
        build_key(PIN, {}, processor="avx2"),
        build_key(PIN, {}, processor="avx512"),
        build_key(PIN, {"CMAKE_ARGS": "-DGGML_CUDA=on"}, processor="avx2"),
        build_key(other_source, {}, processor="avx2"),
    }
    assert len(keys) == 4
    assert build_key(PIN, {"PATH": "/elsewhere"}, processor="avx2") in keys
    assert all(key.startswith("1.2.3-") for key in keys)


def test_this_processor_is_the_same_each_time_and_not_empty() -> None:
    assert this_processor() == this_processor() != ""


def test_wheels_are_kept_in_the_users_cache_or_else_in_the_checkout(tmp_path: Path) -> None:
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}, checkout=tmp_path / "checkout") == (
        tmp_path / "orchestrator" / "wheels"
    )
    (tmp_path / "file").write_text("")
    unusable = {"XDG_CACHE_HOME": str(tmp_path / "file")}
    assert (
        cache_folder(unusable, checkout=tmp_path / "checkout") == tmp_path / "checkout" / ".cache" / "wheels"
    )


def test_our_switches_come_before_the_users_and_our_tools_first_on_the_path() -> None:
    environ = build_environment({"CMAKE_ARGS": "-DX=1", "PATH": "/usr/bin"}, python=Path("/venv/bin/python"))
    assert environ["CMAKE_ARGS"].startswith("-DLLAVA_BUILD=OFF -DCMAKE_PROJECT_llama.cpp_INCLUDE=")
    assert environ["CMAKE_ARGS"].endswith("without_common.cmake -DX=1")
    assert environ["PATH"] == "/venv/bin:/usr/bin"


def test_only_one_builds_and_what_an_interrupted_build_left_is_gone(tmp_path: Path) -> None:
    waiting, entered = threading.Event(), threading.Event()

    def second() -> None:
        with building_alone(tmp_path, on_wait=waiting.set):
            entered.set()

    (tmp_path / ".building-dead").mkdir()
    thread = threading.Thread(target=second)
    with building_alone(tmp_path, on_wait=pytest.fail):
        assert not (tmp_path / ".building-dead").exists()
        thread.start()
        assert waiting.wait(10)
        assert not entered.is_set()
    thread.join(10)
    assert entered.is_set()


def test_a_build_that_fails_names_its_cause_and_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.environment.llama_wheel.require_compilers", lambda _: None)
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\necho '  [1/83] c++'\necho '  x.cpp:1:1: fatal error: no such thing'\nexit 1\n"
    )
    python.chmod(0o755)
    log = tmp_path / "build.log"
    with pytest.raises(Problem, match="fatal error: no such thing") as caught:
        build_wheel(
            PIN, python=python, store=tmp_path, log=log, step=Step("building", io.StringIO()), environ={}
        )
    assert str(log) in str(caught.value)
    assert "fatal error" in log.read_text()


def test_the_compilers_own_error_tells_more_than_what_follows_from_it() -> None:
    lines = ["ERROR: Failed building wheel", "CMake Error: it stopped", "a.c:1: error: here"]
    assert telling(lines) == "a.c:1: error: here"
    assert telling(["nothing"]) == "no message"
