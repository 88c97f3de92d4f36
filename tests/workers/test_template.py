import re

import pytest

from orchestrator.workers.template import ChatTemplate, TemplateRefused

USER = [{"role": "user", "content": "hi"}]


def rendered(source: str | None, messages: list[dict[str, str]] = USER) -> str:
    return ChatTemplate(source, bos="<s>", eos="</s>").render(messages)


def test_a_file_without_a_template_gets_chatml() -> None:
    assert rendered(None) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_templates_see_the_special_tokens_and_the_prompt_flag() -> None:
    source = (
        "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{% if add_generation_prompt %}>{% endif %}"
    )
    assert rendered(source) == "<s>hi</s>>"


def test_loop_controls_tojson_and_dates_work_as_templates_expect() -> None:
    source = "{% for m in messages %}{{ m | tojson }}{% break %}{% endfor %}{{ strftime_now('%Y') }}"
    assert re.fullmatch(
        r'\{"role": "user", "content": "<é>"\}\d{4}', rendered(source, [{"role": "user", "content": "<é>"}])
    )


def test_a_template_may_refuse_in_its_own_words() -> None:
    with pytest.raises(TemplateRefused, match="only two roles"):
        rendered("{{ raise_exception('only two roles') }}")


@pytest.mark.parametrize("source", ["{% for %}", "{{ messages[9].content.x }}", "{{ messages + 1 }}"])
def test_a_broken_template_is_refused_not_a_crash(source: str) -> None:
    with pytest.raises(TemplateRefused):
        rendered(source)


def test_a_template_cannot_reach_python() -> None:
    with pytest.raises(TemplateRefused):
        rendered("{{ ''.__class__.__mro__[1].__subclasses__() }}")
