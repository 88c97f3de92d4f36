"""`chat` against a server that streams: piped, in one shot, and typed on a real (pseudo) terminal."""

from collections.abc import Iterator

import pytest

from tests.cli import payloads
from tests.cli.admin_server import Script
from tests.cli.chat_server import Public, serve_public
from tests.cli.conftest import Shell
from tests.cli.typed import Terminal


@pytest.fixture
def public() -> Iterator[Public]:
    with serve_public() as server:
        yield server


def test_a_pipe_gets_the_plain_answer_and_nothing_else(shell: Shell, public: Public) -> None:
    done = shell("chat", "fast", "--address", public.address, stdin="hi there\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1: hi there \n", "")
    path, body = public.asked[0]
    assert path == "/v1/chat/completions"
    assert body["model"] == "fast"
    assert body["messages"] == [{"role": "user", "content": "hi there"}]
    assert body["stream"] is True


def test_one_shot_asks_for_auto_at_the_daemons_own_address(
    shell: Shell, public: Public, daemon: Script
) -> None:
    daemon.answers["GET /v1/status"] = (200, payloads.status(address=public.address))
    done = shell("chat", "-m", "hi", "--system", "be brief", "--socket", "admin.sock")
    assert (done.returncode, done.stdout) == (0, "2: hi \n")
    assert public.asked[0][1]["model"] == "auto"
    assert public.asked[0][1]["messages"][0] == {"role": "system", "content": "be brief"}


def test_the_api_key_comes_from_the_environment_only(shell: Shell, public: Public) -> None:
    shell("chat", "-m", "hi", "--address", public.address)
    shell("chat", "-m", "hi", "--address", public.address, "--api-key-env", "LAN", env={"LAN": "s3cret"})
    assert "authorization" not in public.headers[0]
    assert public.headers[1]["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("message", "said", "fix"),
    [
        ("cut", "the answer was cut before its end", "ask again"),
        ("fail", "the model crashed", ""),
        ("long", "needs 5000 tokens", ""),
    ],
)
def test_an_answer_that_fails_is_an_error_with_exit_code_1(
    message: str, said: str, fix: str, shell: Shell, public: Public
) -> None:
    done = shell("chat", "-m", message, "--address", public.address)
    assert done.returncode == 1
    assert said in done.stderr
    assert fix in done.stderr
    assert "Traceback" not in done.stderr


def test_a_silent_server_is_given_up_on(shell: Shell, public: Public) -> None:
    done = shell("chat", "-m", "hang", "--address", public.address, "--timeout", "0.2")
    assert done.returncode == 1
    assert "nothing came for" in done.stderr


def test_nothing_at_the_address_is_exit_code_3(shell: Shell, public: Public) -> None:
    done = shell("chat", "-m", "hi", "--address", "127.0.0.1:1")
    assert done.returncode == 3
    assert "nothing answers at 127.0.0.1:1" in done.stderr
    assert public.asked == []


def test_an_empty_message_is_refused_before_anything_is_sent(shell: Shell, public: Public) -> None:
    done = shell("chat", "--address", public.address, stdin="\n")
    assert done.returncode == 1
    assert "fix:" in done.stderr
    assert public.asked == []


@pytest.fixture
def typed(shell: Shell, public: Public) -> Iterator[Terminal]:
    with Terminal(shell, "chat", "--address", public.address) as terminal:
        terminal.read_until("> ")
        yield terminal


def test_a_conversation_is_kept_and_every_answer_says_who_gave_it(typed: Terminal, public: Public) -> None:
    typed.type("one\n")
    typed.read_until("1: one")
    assert "small @ 3f2a91bc · 23 tokens · 412 tok/s · " in typed.read_until("to first token")
    typed.type("two\n")
    typed.read_until("3: two")
    assert [message["content"] for message in public.asked[1][1]["messages"]] == ["one", "1: one ", "two"]
    typed.type("/model fast\n")
    typed.read_until("talking with fast")
    typed.type("three\n")
    typed.read_until("5: three")
    assert public.asked[2][1]["model"] == "fast"
    typed.type("/reset\n")
    typed.read_until("forgotten")
    typed.type("four\n")
    typed.read_until("1: four")
    typed.type("/quit\n")
    assert typed.process.wait(20) == 0


def test_ctrl_c_stops_the_answer_and_not_the_program(typed: Terminal, public: Public) -> None:
    typed.type("hang\n")
    typed.read_until("1: ")
    typed.type("\x03")
    typed.read_until("stopped")
    assert public.client_left.wait(20), "the server was not told"
    typed.read_until("> ")
    # For a moment after the prompt is shown, before it waits for input, CPython loses the key: press again.
    for _ in range(20):
        typed.type("\x03")
        if typed.shows("/quit ends", within_s=1):
            break
    else:
        pytest.fail("Ctrl-C at the prompt says nothing")
    typed.read_until("> ")
    typed.type("again\n")
    typed.read_until("3: again")
    typed.read_until("to first token")
    typed.read_until("> ")
    typed.type("\x04")
    assert typed.process.wait(20) == 0


def test_a_conversation_that_no_longer_fits_says_how_to_go_on(typed: Terminal, public: Public) -> None:
    typed.type("one\n")
    typed.read_until("to first token")
    typed.type("long\n")
    typed.read_until("no longer fits")
    typed.read_until("/reset starts a new one")
    typed.type("short\n")
    typed.read_until("3: short")
    contents = [message["content"] for message in public.asked[2][1]["messages"]]
    assert "long" not in contents, "the refused message would be refused for ever"


def test_commands_are_explained_and_wrong_ones_are_not_sent(typed: Terminal, public: Public) -> None:
    typed.type("/help\n")
    typed.read_until("Ctrl-C stops an answer")
    typed.type("/rest\n")
    typed.read_until("/rest is not a command")
    typed.type("/model\n")
    typed.read_until("fast, small, auto")
    assert public.asked == []
