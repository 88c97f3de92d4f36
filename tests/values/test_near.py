"""What is on the user's own networks, as far as a name tells; and what the settings say of plans."""

import pytest

from orchestrator.values.settings import Limits, Settings, limits_of
from orchestrator.values.spec import is_near
from tests.builders import spec

NEAR = [
    "http://127.0.0.1:8000",
    "http://[::1]:8000",
    "http://10.0.0.7",
    "http://192.168.1.2/v1",
    "http://169.254.1.1",
    "http://[fe80::1]",
    "http://[::ffff:10.0.0.7]",
    "http://localhost:1",
    "http://box:11434",
    "http://box.lan",
    "http://BOX.LOCAL.",
    "http://box.home.arpa",
    "http://box.internal",
]
FAR = [
    "https://8.8.8.8",
    "https://[2001:4860:4860::8888]",
    "https://[::ffff:8.8.8.8]",
    "https://api.example.org/v1",
    "https://lan.example.org",
    "http://134744072",
    "http://0x8080808",
]


@pytest.mark.parametrize("url", NEAR)
def test_near(url: str) -> None:
    assert is_near(url)
    assert not spec(endpoints=(url,)).remote


@pytest.mark.parametrize("url", FAR)
def test_far(url: str) -> None:
    assert not is_near(url)
    assert spec(endpoints=("http://box", url)).remote, "one of them is enough"


def test_what_costs_money_is_remote_wherever_it_is() -> None:
    assert spec(paid=True).remote
    assert not spec().remote


def test_what_the_settings_say_of_plans() -> None:
    written = Settings(fetches_at_once=5, drain_s=6.0, min_residency_s=7.0, wait_for_model_s=8.0)
    assert limits_of(written) == Limits(fetches_at_once=5, drain_s=6.0, min_residency_s=7.0, wait_s=8.0)
    assert limits_of(Settings()) == Limits()
