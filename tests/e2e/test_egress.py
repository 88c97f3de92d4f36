"""With the switch off the whole daemon connects to nothing beyond this machine, whatever its YAML says."""

import sys
from pathlib import Path

from tests.e2e.house import House
from tests.egress_watch import leads_away

ENDPOINTS = {
    "plain": "https://8.8.8.8/v1",
    "decimal": "http://134744072/v1",
    "hexadecimal": "http://0x08080808/v1",
    "octal": "https://010.010.010.010/v1",
    "mapped": "https://[::ffff:8.8.8.8]/v1",
    "nat64": "https://[64:ff9b:1::808:808]/v1",
    "sixtofour": "https://[2002:808:808::1]/v1",
    "wide": "https://８.８.８.８/v1",  # noqa: RUF001 (that is the trick)
    "named": "https://api.openai.com/v1",
    "prefixed": "https://127.0.0.1.example.com/v1",
}
NEAR = "http://127.0.0.1:9/v1"
POLICY = "kind: routing\ndefault: true\notherwise: [plain, near]\ntiers: [local, remote]\n"


class WatchedHouse(House):
    """Every program of it tells where it connects to."""

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tests.egress_watch", str(self.connects), "orchestrator", *arguments]

    @property
    def connects(self) -> Path:
        return self.root / "connects"

    def told(self) -> list[tuple[str, str]]:
        """Return what was connected to or looked up so far."""
        lines = self.connects.read_text().splitlines() if self.connects.exists() else []
        return [(kind, what) for kind, _, what in (line.partition(" ") for line in lines)]


def write_models(home: House) -> None:
    for name, endpoint in ENDPOINTS.items():
        for paid in ("", "paid: true\n"):
            text = f'engine: openai\nsource: theirs\nendpoint: "{endpoint}"\n{paid}'
            home.write(f"models.d/{name}{'-paid' if paid else ''}.yaml", text)
    home.write("models.d/near.yaml", f"engine: openai\nsource: theirs\nendpoint: {NEAR}\n")
    home.write("policies/default.yaml", POLICY)
    home.write("orchestrator.yaml", "wait_for_model: 1s\n")


def refused(name: str, log: str) -> bool:
    """Say whether a model was refused, by its engine or already when its file was read."""
    return f"{name}: NotAllowed: " in log or f"NotAccepted: models.d/{name}.yaml:" in log


def test_nothing_leaves_the_machine(short_folder: Path) -> None:
    home = WatchedHouse(short_folder)
    write_models(home)
    home.start(wait=False)
    try:
        home.until(lambda: home.get("/health")[0] == 200)
        home.until(lambda: ("connect", "127.0.0.1") in home.told())  # the near one was tried: the watch works
        home.until(lambda: all(refused(name, home.log()) for name in ENDPOINTS))
        for name in (*ENDPOINTS, "near", "auto"):
            assert home.chat(name, "Hi", max_tokens=1)[0] >= 400
        home.run("doctor")
        home.run("plan")
    finally:
        home.stop()
    assert [what for kind, what in home.told() if kind == "connect" and leads_away(what)] == []
    looked_up = {what for kind, what in home.told() if kind == "lookup"}
    assert looked_up <= {"127.0.0.1", "localhost"}
