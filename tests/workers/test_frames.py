import pytest

from orchestrator.workers.frames import (
    Failed,
    FailureKind,
    Launch,
    Ready,
    decode_launch,
    decode_report,
    encode_launch,
    encode_report,
)

LAUNCH = Launch(model="fast", path="/m.gguf", context=512, parallel=2, socket="/run/w.sock")
READY = Ready(pid=7, n_vocab=261, n_parameters=99, train_context=512, size_bytes=1000, load_ms=12.5)


def test_a_launch_comes_back_as_it_was_sent_on_one_line() -> None:
    line = encode_launch(LAUNCH)
    assert decode_launch(line) == LAUNCH
    assert line.count(b"\n") == 1


def test_fields_of_a_newer_parent_are_ignored() -> None:
    assert decode_launch(encode_launch(LAUNCH).replace(b"{", b'{"colour": "red", ', 1)) == LAUNCH


@pytest.mark.parametrize(
    "report", [READY, Failed(kind=FailureKind.CORRUPT, message='it is "broken"\nreally')]
)
def test_a_report_comes_back_as_it_was_sent_on_one_line(report: Ready | Failed) -> None:
    line = encode_report(report)
    assert decode_report(line) == report
    assert line.count(b"\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"{}",
        b'{"ready": true}',
        b'{"ready": false}',
        b'{"ready": false, "error": {"kind": "odd"}}',
        b"\xff",
    ],
)
def test_what_is_no_report_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (its text is for the log)
        decode_report(line)


@pytest.mark.parametrize("line", [b"", b"[]", b"{}", b'{"model": "fast"}'])
def test_what_is_no_launch_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (its text is for the log)
        decode_launch(line)
