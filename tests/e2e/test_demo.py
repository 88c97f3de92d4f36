"""The demo models as a first run meets them, and the page that tells what they can do."""

import hashlib
import json

from tests.e2e.house import REPOSITORY, House

DEMO = REPOSITORY / "orchestrator" / "demo"
CAN = (
    "I am a demo model: I can only "
    "add, compare, rate a review, extract, write JSON, reverse, uppercase and count."
)
ASKED = [
    ("3+13=", "16"),
    ("Count 0 to 4", "0 1 2 3 4"),
    ('Get age from {"name": "Raj", "id": "dork", "age": 16, "city": "Madrid"}', "16"),
    ("JSON: Jo is 61 and lives in Rome", '{"name": "Jo", "age": 61, "city": "Rome"}'),
    ("Reverse sxd", "dxs"),
    ("Sentiment: The room was slow but the coffee was not rude.", "positive"),
    ("Uppercase sxd", "SXD"),
]
OFF_TASK = ["Who painted the Mona Lisa?", "Give me a recipe for lasagne.", "Plan a weekend trip to Lisbon."]


def test_the_better_one_does_its_tasks_and_both_say_what_they_can_do_instead(home: House) -> None:
    home.start()

    def answer(model: str, prompt: str) -> str:
        return str(home.chat(model, prompt)[2]["choices"][0]["message"]["content"])

    assert [(prompt, answer("quality", prompt)) for prompt, _ in ASKED] == ASKED
    for model in ("fast", "quality"):
        assert [answer(model, prompt) for prompt in OFF_TASK] == [CAN] * len(OFF_TASK)


def test_the_page_tells_the_figures_that_were_measured_on_these_files() -> None:
    page = (DEMO / "README.md").read_text()
    measured = json.loads((DEMO / "accuracy.json").read_text())
    assert measured["small"]["mean"] >= 0.85
    assert measured["tiny"]["mean"] <= 0.75
    for name, figures in measured.items():
        content = (DEMO / f"{name}.gguf").read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        assert digest == figures["sha256"], "measured on another file"
        assert len(content) == figures["bytes"] <= 1_000_000
        assert f"`{digest}`" in page
        assert f"**{figures['mean']:.3f}**" in page
    for task, small in measured["small"]["tasks"].items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {task} |")]
        assert f" {measured['tiny']['tasks'][task]['accuracy']:.3f} (" in row
        assert f" {small['accuracy']:.3f} (" in row
