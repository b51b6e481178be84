"""The stream in the OpenAPI description: it can be made, and says what comes."""

from __future__ import annotations

from typing import Any, cast

from fastapi import FastAPI

from muniment.notifier.stream_http import with_stream
from muniment.runtime.http.routes import Routes, make


def test_the_description_tells_of_the_stream() -> None:
    app = FastAPI()
    make(app, with_stream(Routes(), cast("Any", None), cast("Any", None)))
    operation = app.openapi()["paths"]["/events/stream"]["get"]
    assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"]
    asked = {parameter["name"] for parameter in operation["parameters"]}
    assert asked >= {
        "type",
        "model",
        "branch",
        "stability",
        "track",
        "tag",
        "metric",
        "since",
        "follow",
        "last-event-id",
    }
