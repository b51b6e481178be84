"""What is generated is committed, complete, and never breaks a major."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from muniment.contracts import topics
from muniment.runtime import schema_files as generate

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", generate.generated(), ids=lambda path: path.name)
def test_committed_files_are_the_generated_ones(path: Path) -> None:
    assert path.read_text("utf-8") == generate.generated()[path], "run: make schemas"


def test_the_readme_has_the_table_of_topics() -> None:
    assert generate.topic_table() in (ROOT / "README.md").read_text("utf-8"), "run: make schemas"


def test_every_event_has_one_topic_and_every_topic_a_consumer() -> None:
    assert len(topics.OF) == len(topics.ALL) == len({topic.type for topic in topics.ALL})
    for topic in topics.ALL:
        assert topic.consumers
        assert topic.producers


def test_no_topic_name_is_written_anywhere_else() -> None:
    names = "|".join(re.escape(topic.type) for topic in topics.ALL)
    pattern = re.compile(rf"[\"']({names})[\"']")
    allowed = {"topics.py"}
    for folder in ("services", "shared"):
        for file in (ROOT / folder).rglob("*.py"):
            if file.name not in allowed:
                assert not pattern.search(file.read_text("utf-8")), f"{file} spells a topic's name"


def test_every_asyncapi_reference_resolves() -> None:
    document = json.loads(generate.ASYNCAPI.read_text("utf-8"))

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                target = node["$ref"]
                if target.startswith("#/"):
                    found: Any = document
                    for part in target[2:].split("/"):
                        found = found[part]
                else:
                    assert (generate.SCHEMAS / target).exists()
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document)


BREAKING = {
    "a field is gone": lambda schema: schema["properties"].pop("model"),
    "a field is newly required": lambda schema: schema["required"].append("track"),
    "a field is retyped": lambda schema: schema["properties"]["model"].update(type="integer"),
    "a limit is narrower": lambda schema: schema["properties"]["files"].update(maxItems=3),
    "a value is no longer taken": lambda schema: schema["properties"]["commit"]["enum"].remove("manual"),
    "a choice is gone": lambda schema: schema["properties"]["track"]["anyOf"].pop(),
    "a part is gone": lambda schema: schema["$defs"].pop("Dataset"),
    "a part's field is gone": lambda schema: schema["$defs"]["Dataset"]["properties"].pop("name"),
}


@pytest.mark.parametrize("edit", BREAKING)
def test_a_breaking_edit_is_noticed(edit: str) -> None:
    old = generate.schema_of(topics.TRAINING_COMPLETED)
    new = copy.deepcopy(old)
    BREAKING[edit](new)
    assert generate.incompatibilities(old, new)


def test_a_new_optional_field_is_fine() -> None:
    old = generate.schema_of(topics.TRAINING_COMPLETED)
    new = copy.deepcopy(old)
    new["properties"]["comment"] = {"type": "string"}
    assert generate.incompatibilities(old, new) == []
