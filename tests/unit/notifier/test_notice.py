"""What people are told of each event, and that what strangers write stays one harmless line."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniment.contracts.errors import Rejected
from muniment.notifier.channels.notice import check_title, clean, notice_of

from .events import LONG, available, event, hostile

SHA = "sha256:ab12cd34ab12"


def test_a_version() -> None:
    notice = notice_of(available(description="Better\nat sevens."), links_to="https://models.example.org/", title=None)
    assert notice.title == "digits 3 is available"
    assert notice.text == "Better at sevens."
    assert notice.facts == (
        ("Model", "digits"),
        ("Operator", "muniment|ada"),
        ("Version", f"3 ({SHA})"),
        ("Branch", "main"),
        ("Stability", "stable"),
        ("Track", "production"),
        ("accuracy", "0.9875"),
        ("loss", "0.1"),
        ("Committed", "2026-11-23T12:00:00.000000Z"),
    )
    base = "https://models.example.org/api/v1"
    assert notice.links == (
        ("Model", f"{base}/models/digits"),
        ("Version", f"{base}/models/digits/versions/3"),
        (
            "Audit entry",
            f"{base}/audit/entries?correlation=00000000-0000-0000-0000-000000000001&action=version.committed",
        ),
        ("Audit entries", f"{base}/audit/entries?correlation=00000000-0000-0000-0000-000000000001"),
    )


@pytest.mark.parametrize(
    ("directions", "told"),
    [
        ({"accuracy": "higher", "loss": "lower"}, ("better", "worse")),
        ({"accuracy": "lower", "loss": "higher"}, ("worse", "better")),
    ],
)
def test_a_difference_to_the_baseline_is_better_or_worse_as_the_tolerances_say(
    directions: dict[str, str], told: tuple[str, str]
) -> None:
    then = {"accuracy": 0.98, "loss": 0.05}
    baseline = {"number": 2, "id": VERSION["id"]}
    facts = notice_of(available(baseline=baseline, baseline_metrics=then, directions=directions)).facts
    assert ("Baseline", f"2 ({SHA})") in facts
    assert ("accuracy", f"0.9875 (+0.0075 to the baseline, {told[0]})") in facts
    assert ("loss", f"0.1 (+0.05 to the baseline, {told[1]})") in facts


def test_metrics_are_compared_with_the_baseline_where_the_event_holds_it_and_the_audit_index_is_told() -> None:
    notice = notice_of({**available(baseline_metrics={"accuracy": 0.98}), "auditindex": 41})
    assert ("accuracy", "0.9875 (+0.0075 to the baseline)") in notice.facts
    assert ("loss", "0.1") in notice.facts
    assert notice.facts[-1] == ("Audit entry", "41")
    assert notice.links == ()
    linked = notice_of({**available(), "auditindex": 41}, links_to="https://models.example.org")
    assert ("Audit entry", "https://models.example.org/api/v1/audit/entries/41") in linked.links


VERSION = {"number": 4, "id": "sha256:" + "ab12cd34" * 8}


@pytest.mark.parametrize(
    ("name", "data", "title", "facts"),
    [
        (
            "baseline-changed",
            {
                "verb": "promote",
                "current": VERSION,
                "previous": {**VERSION, "number": 2},
                "reason": "better",
                "gates": [{"name": "accuracy", "passed": True, "expected": ">= 0.95", "actual": "0.98"}],
                "changed_at": "T",
            },
            "digits: the baseline is version 4 (promote)",
            {
                "Baseline": f"4 ({SHA})",
                "Before": f"2 ({SHA})",
                "Gate accuracy": "passed: 0.98 (expected >= 0.95)",
            },
        ),
        (
            "baseline-diverged",
            {"metric": "accuracy", "baseline": VERSION, "first_version": VERSION, "expected": ">= 0.9", "actual": 0.5},
            "digits: accuracy broke the baseline's tolerance",
            {"Expected": ">= 0.9", "Actual": "0.5", "First version": f"4 ({SHA})"},
        ),
        (
            "release-published",
            {"release": "1.2.0", "source": VERSION, "prerelease": False, "track": "production"},
            "digits 1.2.0 is released",
            {"From version": f"4 ({SHA})", "Prerelease": "no"},
        ),
        (
            "model-rejected",
            {"stage": "validation", "code": "checksum_mismatch", "message": "no", "expected": "a", "actual": "b"},
            "digits: a publication was rejected",
            {"Stage": "validation", "Code": "checksum_mismatch", "Expected": "a", "Actual": "b"},
        ),
        (
            "registry-changed",
            {"kind": "pointer-moved", "pointer": "champion", "changes": [{"path": "p", "before": None, "after": "x"}]},
            "digits: pointer moved",
            {"Pointer": "champion", "p": "nothing -> x"},
        ),
        ("something-new", {"title": "Three models changed", "how_many": 3}, "Three models changed", {"How many": "3"}),
        ("something-newer", {}, "muniment.something-newer.v1", {}),
    ],
)
def test_every_event_says_what_happened(name: str, data: dict[str, Any], title: str, facts: dict[str, str]) -> None:
    notice = notice_of(event(name, {"model": "digits", "operator": "muniment|ada", **data}))
    assert notice.title == title
    assert facts.items() <= dict(notice.facts).items()
    assert all(label and value for label, value in notice.facts)


@pytest.mark.parametrize("data", [None, [], "text", {"current": 1, "gates": 3, "metrics": [1], "changes": {"a": 1}}])
def test_a_malformed_event_is_still_told(data: Any) -> None:
    for name in ("version-available", "baseline-changed", "registry-changed", "release-published", "new"):
        assert notice_of({**event(name, {}), "data": data}, links_to="https://x.example").title


def test_hostile_texts_become_short_single_lines() -> None:
    notice = notice_of(hostile(), links_to="https://x.example", title="{model} {branch}")
    texts = [notice.title, notice.text or "", *(text for fact in notice.facts for text in fact)]
    assert max(map(len, texts)) <= 1500
    assert not [text for text in texts if any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in text)]
    assert all("<" not in url and "\n" not in url and len(url) < 2000 for _, url in notice.links)
    assert (
        notice_of(available(model="\ud800/../x"), links_to="https://x.example")
        .links[0][1]
        .endswith("/models/%3F%2F..%2Fx")
    )
    many = notice_of(available(metrics={f"m{n}": float(n) for n in range(500)}))
    assert len(many.facts) <= 20
    assert ("Metrics", "and 490 more") in many.facts


@given(st.text(max_size=400), st.integers(1, 50))
def test_clean_is_one_line_within_its_limit_and_leaves_plain_words_alone(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert len(cleaned.splitlines()) <= 1
    assert clean(cleaned, limit) == cleaned
    assert not any(unicodedata.bidirectional(c) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI"} for c in cleaned)
    assert clean("plain größe 数", 50) == "plain größe 数"


def test_a_title_of_ones_own() -> None:
    template = check_title("{model} {number} is {stability}! {pointer}")
    assert notice_of(available(), title=template).title == "digits 3 is stable!"
    # What is filled in is not read again, and names nothing but the event's own plain fields.
    assert notice_of(available(model="{operator}"), title="{model}").title == "{operator}"
    assert len(notice_of(hostile(), title="{model}" * 20).title) <= 140


@pytest.mark.parametrize(
    "title", ["{secret}", "{model.__class__}", "{0}", "{}", "{model", "model}", "{{model}}", "{model!r}", " \n ", ""]
)
def test_a_title_with_anything_else_in_braces_is_refused(title: str) -> None:
    with pytest.raises(Rejected) as caught:
        check_title(title)
    assert caught.value.code == "template_invalid"


def test_long_is_long() -> None:
    assert len(LONG) > 10_000
