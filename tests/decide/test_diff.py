"""What changed between two catalogs, and what it will cost."""

from dataclasses import fields, replace
from typing import Any

import pytest

from orchestrator.decide.diff import CLASS_OF, Change, ChangeClass, changes, model_fields, policy_fields
from orchestrator.values.catalog import Catalog, Document, Kind
from orchestrator.values.policy import RoutingPolicy
from orchestrator.values.spec import Apply, LoadWhen, ModelSpec, ModelState, Prices, Sampling, Source, Update
from tests.builders import model, policy, spec

Brief = tuple[str, str, str, str, str]

# Another value for every field of a model file, with the class its change has and how it is told.
EDITS: dict[str, tuple[Any, str, str, str]] = {
    "engine": ("mlx", "replace", "llama-cpp", "mlx"),
    "source": (
        Source(written="demo:small", scheme="demo", location="small"),
        "replace",
        "demo:tiny",
        "demo:small",
    ),
    "state": (ModelState.TESTING, "live", "active", "testing"),
    "context": (99, "replace", "4096", "99"),
    "parallel": (9, "reload", "4", "9"),
    "capabilities": (("chat",), "live", "chat, completion", "chat"),
    "pinned": (True, "live", "", "true"),
    "quantize": ("q8_0", "replace", "", "q8_0"),
    "accelerator": ("cpu", "replace", "auto", "cpu"),
    "memory_bytes": (3 << 30, "live", "auto", "3.0 GiB"),
    "endpoints": (("http://a:1/secret",), "replace", "", "(hidden)"),
    "endpoints_written": (
        ("http://u:p@a:1/v1?k=s", "https://b/${env:KEY}/v1"),
        "live",
        "",
        "http://a:1/v1, https://b/${env:KEY}/v1",
    ),
    "api_key": ("secret", "reload", "", "(hidden)"),
    "paid": (True, "live", "", "true"),
    "prices": (
        Prices(input_per_million=1, output_per_million=2.5),
        "live",
        "",
        "1 in, 2.5 out (USD per million tokens)",
    ),
    "command": (("serve", "--port", "{port}"), "replace", "", "serve … (3 words)"),
    "environment": ((("TOKEN", "secret"),), "replace", "", "TOKEN"),
    "update": (
        Update(check_every_s=86400, apply=Apply.ROLLOUT),
        "live",
        "",
        "looked for every 24 h, then rollout",
    ),
}
# What a field of a spec is called in the file, where that is another name.
WRITTEN = {
    "memory_bytes": "memory",
    "endpoints": "endpoint",
    "endpoints_written": "endpoint",
    "idle_s": "idle",
}
# These are shown only together with others.
TOGETHER = {"load": "idle", "idle_s": "load", "health": "command"}
SAMPLING: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.1,
    "repeat_penalty": 1.1,
    "max_tokens": 64,
    "seed": 7,
}


def of(*models: Document[ModelSpec], policies: tuple[Document[RoutingPolicy], ...] = ()) -> Catalog:
    return Catalog(models={m.name: m for m in models}, policies={p.name: p for p in policies})


def brief(found: tuple[Change, ...]) -> list[Brief]:
    return [(c.name, str(c.change_class), c.field, c.old, c.new) for c in found]


def edited(**changes_: Any) -> list[Brief]:  # noqa: ANN401 (any field)
    return brief(changes(of(model(spec())), of(model(spec(**changes_)))))


@pytest.mark.parametrize("name", EDITS)
def test_every_field_of_a_model_has_its_class(name: str) -> None:
    value, change_class, old, new = EDITS[name]
    found = [change for change in edited(**{name: value}) if change[2] != "health"]
    assert found == [("fast", change_class, WRITTEN.get(name, name), old, new)]


def test_an_absent_model_has_its_state_changed_and_nothing_else() -> None:
    assert edited(state=ModelState.ABSENT) == [("fast", "live", "state", "active", "absent")]


def test_when_a_model_is_loaded_is_live() -> None:
    assert edited(load=LoadWhen.ON_DEMAND) == [
        ("fast", "live", "load", "always", "on-demand"),
        ("fast", "live", "idle", "", "600 s"),
    ]


@pytest.mark.parametrize(
    ("field", "old", "new", "shown"),
    [
        ("environment", (("A", "1"),), (("A", "2"),), "A"),
        ("endpoints", ("http://a:1?k=1",), ("http://a:1?k=2",), "(hidden)"),
        ("command", ("x", "1"), ("x", "2"), "x … (2 words)"),
        ("api_key", "one", "two", "(hidden)"),
    ],
)
def test_a_change_of_what_is_not_shown_is_told_without_it(
    field: str,
    old: Any,  # noqa: ANN401 (any field)
    new: Any,  # noqa: ANN401 (any field)
    shown: str,
) -> None:
    before, after = model(spec(**{field: old})), model(spec(**{field: new}))
    (change,) = [c for c in changes(of(before), of(after)) if c.field != "health"]
    assert change.field == WRITTEN.get(field, field)
    assert (change.old, change.new) == (shown, f"{shown} (in what is not shown)")


@pytest.mark.parametrize("name", SAMPLING)
def test_every_sampling_default_is_live_and_told_under_its_dotted_name(name: str) -> None:
    value = SAMPLING[name]
    found = edited(sampling=Sampling(**{name: value}))
    assert found == [("fast", "live", f"sampling.{name}", "", str(value))]


def test_no_field_is_forgotten() -> None:
    declared = {f.name for f in fields(ModelSpec) if f.init} - {"name", "sampling"}
    assert set(EDITS) | set(TOGETHER) == declared
    assert {f.name for f in fields(Sampling)} == set(SAMPLING)
    names = {WRITTEN.get(name, name) for name in declared}
    assert set(CLASS_OF) <= names
    everything = {name: edit[0] for name, edit in EDITS.items()} | {"load": LoadWhen.ON_DEMAND}
    shown = model_fields(spec(sampling=Sampling(**SAMPLING), **everything))
    assert set(shown) == names | {f"sampling.{name}" for name in SAMPLING}
    assert set(policy_fields(policy().value)) == {f.name for f in fields(RoutingPolicy)} - {"name"}


@pytest.mark.parametrize("name", EDITS)
def test_a_field_changes_what_its_class_says(name: str) -> None:
    """Live changes leave the launch alone, a reload keeps the revision, a replacement does not."""
    value, change_class, *_ = EDITS[name]
    before, after = spec(), spec(**{name: value})
    assert (before.revision != after.revision) == (change_class == "replace")
    assert (before.launch != after.launch) == (change_class in {"replace", "reload"})


def test_several_changes_of_one_file_are_told_one_by_one() -> None:
    assert edited(context=99, sampling=Sampling(seed=1)) == [
        ("fast", "replace", "context", "4096", "99"),
        ("fast", "live", "sampling.seed", "", "1"),
    ]


def test_equal_catalogs_have_no_changes() -> None:
    assert changes(of(model(spec())), of(model(spec()))) == ()


def test_a_change_of_comments_is_no_change() -> None:
    before = model(spec())
    after = replace(before, text="# new\n", path="models.d/fast.yml", lines={"source": 9})
    assert changes(of(before), of(after)) == ()


def test_the_same_source_written_in_another_way_is_no_change() -> None:
    before = model(spec())
    rewritten = Source(written="${env:MODEL}", scheme="demo", location="tiny")
    after = replace(before, value=spec(source=rewritten))
    assert changes(of(before), of(after)) == ()


def test_the_same_source_written_in_another_way_beside_another_change_loads_nothing_anew() -> None:
    rewritten = Source(written="${env:MODEL}", scheme="demo", location="tiny")
    assert edited(source=rewritten, parallel=9) == [
        ("fast", "live", "source", "demo:tiny", "${env:MODEL}"),
        ("fast", "reload", "parallel", "4", "9"),
    ]


def hidden(location: str, **changes_: Any) -> ModelSpec:  # noqa: ANN401 (any field)
    return spec(source=Source(written="file:${env:P}", scheme="file", location=location), **changes_)


def test_a_reference_that_leads_elsewhere_is_told_without_saying_where() -> None:
    found = changes(of(model(hidden("/old-secret"))), of(model(hidden("/new-secret"))))
    assert brief(found) == [
        (
            "fast",
            "replace",
            "source",
            "file:${env:P}",
            "file:${env:P} (what it stands for has changed)",
        )
    ]
    assert "secret" not in f"{found}"


def test_a_reference_that_leads_elsewhere_is_told_beside_a_live_change() -> None:
    found = brief(changes(of(model(hidden("/a"))), of(model(hidden("/b", parallel=9)))))
    assert [(change_class, name) for _, change_class, name, *_ in found] == [
        ("reload", "parallel"),
        ("replace", "source"),
    ]


def test_a_new_and_a_removed_file_are_told_as_a_whole() -> None:
    document = replace(model(spec()), lines={"source": 3})
    assert changes(of(), of(document)) == (
        Change(
            kind=Kind.MODEL,
            name="fast",
            change_class=ChangeClass.CREATE,
            field="",
            old="",
            new="demo:tiny",
            path="models.d/fast.yaml",
            line=0,
        ),
    )
    assert changes(of(document), of()) == (
        Change(
            kind=Kind.MODEL,
            name="fast",
            change_class=ChangeClass.REMOVE,
            field="",
            old="demo:tiny",
            new="",
            path="models.d/fast.yaml",
            line=0,
        ),
    )


def test_policies_are_compared_field_by_field_and_are_always_live() -> None:
    before = of(policies=(policy(otherwise=("a", "b")),))
    after = of(policies=(policy(otherwise=("a",), fallback=("b", "c"), default=False),))
    assert brief(changes(before, after)) == [
        ("default", "live", "default", "true", "false"),
        ("default", "live", "otherwise", "a, b", "a"),
        ("default", "live", "fallback", "", "b, c"),
    ]
    assert brief(changes(of(), before)) == [("default", "create", "", "", "a, b")]
    assert brief(changes(before, of())) == [("default", "remove", "", "a, b", "")]


def test_models_come_first_and_then_names_in_order() -> None:
    after = of(model(spec("b")), model(spec("a")), policies=(policy("0"),))
    assert [(c.kind, c.name) for c in changes(of(), after)] == [
        (Kind.MODEL, "a"),
        (Kind.MODEL, "b"),
        (Kind.POLICY, "0"),
    ]


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        pytest.param({"sampling": 4, "sampling.seed": 6}, 6, id="its own line"),
        pytest.param({"sampling": 4}, 4, id="else that of the field it is in"),
        pytest.param({"source": 2}, 0, id="else none: the field was removed"),
    ],
)
def test_a_change_names_its_line(lines: dict[str, int], line: int) -> None:
    after = replace(model(spec(sampling=Sampling(seed=1))), lines=lines)
    (found,) = changes(of(model(spec())), of(after))
    assert (found.path, found.line) == ("models.d/fast.yaml", line)


def change(change_class: ChangeClass, old: str, new: str) -> str:
    document = model()
    return str(
        Change(
            kind=document.kind,
            name="fast",
            change_class=change_class,
            field="source",
            old=old,
            new=new,
            path=document.path,
            line=0,
        )
    )


def test_a_change_in_one_phrase() -> None:
    assert change(ChangeClass.CREATE, "", "b") == "new: b"
    assert change(ChangeClass.REMOVE, "a", "") == "removed (was a)"
    assert change(ChangeClass.REPLACE, "a", "b") == "source: a → b"
    assert change(ChangeClass.LIVE, "", "b") == "source: (none) → b"
    assert change(ChangeClass.LIVE, "a", "") == "source: a → (none)"
