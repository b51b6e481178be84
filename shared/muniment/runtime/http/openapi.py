"""What the generated OpenAPI description cannot see: bodies that are parsed strictly, and problems as the one error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic.json_schema import models_json_schema

from muniment.runtime.http.problems import MEDIA_TYPE
from muniment.runtime.http.requests import Body

_BODY_REF: Final = "#/components/schemas/{model}Body"
_PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457 problem. `code` is stable; the texts are for people.",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string", "const": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "expected": {"type": "string"},
        "actual": {"type": "string"},
        "hint": {"type": "string"},
        "request_id": {"type": "string"},
    },
}


class Api(FastAPI):
    """FastAPI whose description is complete."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document, made once."""
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi(), list(iter_route_contexts(self.routes)))
        return self.openapi_schema


def _completed(document: dict[str, Any], routes: list[RouteContext]) -> dict[str, Any]:
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form of refusal; ours is the problem
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM
    bodies = {id(route.route): body for route in routes if (body := _body_of(getattr(route, "dependant", None)))}
    refs, definitions = models_json_schema(
        [(body.kind, "validation") for body in {body.kind: body for body in bodies.values()}.values()],
        ref_template=_BODY_REF,
    )
    schemas.update({f"{name}Body": schema for name, schema in definitions.get("$defs", {}).items()})
    for route, operation in _operations(document, routes):
        responses = operation.setdefault("responses", {})
        responses.pop("422", None)
        problem = {
            "description": "a problem",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        responses["default"] = problem
        if (body := bodies.get(id(route.route))) is not None:
            content = {"application/json": {"schema": refs[body.kind, "validation"]}}
            operation["requestBody"] = {"required": True, "content": content}
    return document


def _operations(document: dict[str, Any], routes: list[RouteContext]) -> Iterator[tuple[RouteContext, dict[str, Any]]]:
    for route in routes:
        methods = document.get("paths", {}).get(route.path_format, {})
        for method in route.methods or ():
            if (operation := methods.get(method.lower())) is not None:
                yield route, operation


def _body_of(dependant: Dependant | None) -> Body[Any] | None:
    if dependant is None:
        return None
    if isinstance(dependant.call, Body):
        return dependant.call
    return next((found for inner in dependant.dependencies if (found := _body_of(inner)) is not None), None)
