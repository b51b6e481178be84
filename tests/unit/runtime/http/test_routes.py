"""Routes are remembered, and made once by the application, as FastAPI would have made them."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI

from muniment.contracts.errors import Misconfigured
from muniment.runtime.http.routes import Routes, make


def say_first() -> None:
    """A dependency."""


def say_second() -> None:
    """Another."""


async def answer(number: int) -> dict[str, int]:
    """Answer."""
    return {"number": number}


def declare(kind: Any) -> Any:
    inner = kind(prefix="/inner", tags=["in"], dependencies=[Depends(say_second)])
    inner.get("/{number}", summary="One")(answer)
    inner.post("/{number}", status_code=201, tags=["made"])(answer)
    outer = kind(prefix="/outer", tags=["out"], dependencies=[Depends(say_first)])
    outer.include_router(inner)
    return outer


def test_what_is_served_is_what_fastapi_would_serve_of_nested_routers() -> None:
    ours, theirs = FastAPI(), FastAPI()
    make(ours, declare(Routes), "/api")
    theirs.include_router(declare(APIRouter), prefix="/api")
    assert ours.openapi() == theirs.openapi()
    assert sorted(ours.openapi()["paths"]) == ["/api/outer/inner/{number}"]


def test_dependencies_are_asked_from_the_outermost_router_inwards() -> None:
    app = FastAPI()
    make(app, declare(Routes))
    called = [one.call for one in app.routes[-1].dependant.dependencies]  # type: ignore[attr-defined]  # reason: of an APIRoute
    assert called == [say_first, say_second]


def test_a_router_of_another_kind_is_refused_and_not_left_out() -> None:
    with pytest.raises(Misconfigured) as raised:
        make(FastAPI(), APIRouter())
    assert raised.value.code == "router_unknown"


def test_a_route_that_was_made_elsewhere_is_refused_and_not_left_out() -> None:
    router = Routes()
    router.add_route("/plain", answer)  # type: ignore[arg-type]  # reason: it is never called
    with pytest.raises(Misconfigured, match="declared on `Routes`"):
        make(FastAPI(), router)
