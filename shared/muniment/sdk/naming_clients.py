"""What both clients offer of a model's names and its baseline: one method each, driven by the client's own `_run`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, TypeVar

from muniment.sdk import naming
from muniment.sdk.calls import parsed
from muniment.sdk.exchange import Call, Listing
from muniment.sdk.records import plain

T = TypeVar("T")
Json = dict[str, Any]


class NamingClient:
    """Branches, pointers, contract, promotion, blocking. Every method raises what the server answers with."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _each(self, listing: Listing, of: Callable[[Any], T]) -> Iterator[T]: ...

    def create_branch(self, model: str, name: str, *, ref: str | None = None, reason: str | None = None) -> Json:
        """Start a branch at a version, by default at the head of main."""
        return self._run(naming.create_branch(model, name, ref, reason))

    def branch(self, model: str, name: str) -> Json:
        """One branch with its latest movements."""
        return self._run(naming.branch(model, name))

    def change_branch(
        self,
        model: str,
        name: str,
        *,
        closed: bool | None = None,
        protected: bool | None = None,
        reason: str | None = None,
    ) -> Json:
        """Close or open a branch, protect it or not; what is left out stays."""
        changes = {"closed": closed, "protected": protected, "reason": reason}
        given = {name: value for name, value in changes.items() if value is not None}
        return self._run(naming.change_branch(model, name, given))

    def pointers(self, model: str, *, at: str | None = None) -> Iterator[Json]:
        """A model's pointers, now or as of a moment (RFC 3339)."""
        return self._each(naming.pointers(model, at), plain)

    def pointer(self, model: str, name: str) -> Json:
        """One pointer; `revision` is for a conditional move."""
        return self._run(naming.pointer(model, name))

    def pointer_moves(self, model: str, name: str) -> Iterator[Json]:
        """Every movement of a pointer, newest first."""
        return self._each(naming.pointer_moves(model, name), plain)

    def set_pointer(
        self, model: str, name: str, ref: str, *, reason: str | None = None, expected: int | None = None
    ) -> Json:
        """Make or move a pointer. With `expected` only if its revision is that one (0: only if there is none).

        Raises `PreconditionFailed` (`pointer_moved`), and `Conflict` (`pointer_protected`) for the baseline.
        """
        return self._run(naming.set_pointer(model, name, ref, reason, expected))

    def delete_pointer(self, model: str, name: str, *, reason: str | None = None) -> None:
        """Take a pointer away; its history stays."""
        self._run(naming.delete_pointer(model, name, reason))

    def contract(self, model: str) -> Json:
        """What a version must pass to become the baseline."""
        return self._run(naming.contract(model))

    def put_contract(self, model: str, demands: Mapping[str, Any], *, expected: int | None = None) -> Json:
        """Replace the demands: `tolerances`, `checks`, `approvals`."""
        return self._run(naming.put_contract(model, demands, expected))

    def freeze(self, model: str, *, reason: str, frozen: bool = True) -> Json:
        """Let nothing become the baseline; with `frozen=False` let it again."""
        return self._run(naming.act(model, "freeze" if frozen else "unfreeze", {"reason": reason}, safe=True))

    def approve(self, ref: str, *, approved: bool = True, comment: str | None = None) -> Json:
        """Say yes or no to a version."""
        body = {"ref": ref, "approved": approved, "comment": comment}
        return self._run(naming.act(parsed(ref).model, "approvals", body))

    def report_check(self, ref: str, name: str, *, passed: bool, details: str | None = None) -> Json:
        """Keep the outcome of a check of a version."""
        body = {"ref": ref, "name": name, "passed": passed, "details": details}
        return self._run(naming.act(parsed(ref).model, "checks", body))

    def approvals(self, ref: str) -> Json:
        """The newest word of each person on a version, and the newest outcome of each check."""
        return self._run(naming.said(ref))

    def promote(self, ref: str, *, reason: str, dry_run: bool = False, force: bool = False) -> Json:
        """Bring a version onto main and make it the baseline; the answer has each gate's outcome.

        `force` opens the gate that damage shuts, and no other: for admins. Raises `Conflict` (`promotion_refused`),
        whose `details` have the gates.
        """
        body = {"ref": ref, "reason": reason, "dry_run": dry_run, "force": force or None}
        return self._run(naming.act(parsed(ref).model, "promote", body, safe=True))

    def rollback(self, model: str, *, reason: str, to: str | None = None, force: bool = False) -> Json:
        """Lead the baseline back, by default to the one before, after its bytes were read again.

        `force` as for `promote`.
        """
        return self._run(naming.act(model, "rollback", {"to": to, "reason": reason, "force": force or None}))

    def revert(self, entry: int | str, *, reason: str, model: str | None = None) -> Json:
        """Reverse an audited change as a new one: an entry's index, or its event id with the model's name."""
        return self._run(naming.revert(entry, reason, model))

    def describe(
        self,
        ref: str,
        *,
        description: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        clear: bool = False,
    ) -> Json:
        """Change a version's description and tags (None takes a tag away, `clear` the description)."""
        return self._run(naming.describe(ref, description, tags or {}, clear=clear))


class AsyncNamingClient:
    """The same for asyncio; the docstrings of `NamingClient` hold."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _each(self, listing: Listing, of: Callable[[Any], T]) -> AsyncIterator[T]: ...

    async def create_branch(self, model: str, name: str, *, ref: str | None = None, reason: str | None = None) -> Json:
        return await self._run(naming.create_branch(model, name, ref, reason))

    async def branch(self, model: str, name: str) -> Json:
        return await self._run(naming.branch(model, name))

    async def change_branch(
        self,
        model: str,
        name: str,
        *,
        closed: bool | None = None,
        protected: bool | None = None,
        reason: str | None = None,
    ) -> Json:
        changes = {"closed": closed, "protected": protected, "reason": reason}
        given = {name: value for name, value in changes.items() if value is not None}
        return await self._run(naming.change_branch(model, name, given))

    def pointers(self, model: str, *, at: str | None = None) -> AsyncIterator[Json]:
        return self._each(naming.pointers(model, at), plain)

    async def pointer(self, model: str, name: str) -> Json:
        return await self._run(naming.pointer(model, name))

    def pointer_moves(self, model: str, name: str) -> AsyncIterator[Json]:
        return self._each(naming.pointer_moves(model, name), plain)

    async def set_pointer(
        self, model: str, name: str, ref: str, *, reason: str | None = None, expected: int | None = None
    ) -> Json:
        return await self._run(naming.set_pointer(model, name, ref, reason, expected))

    async def delete_pointer(self, model: str, name: str, *, reason: str | None = None) -> None:
        await self._run(naming.delete_pointer(model, name, reason))

    async def contract(self, model: str) -> Json:
        return await self._run(naming.contract(model))

    async def put_contract(self, model: str, demands: Mapping[str, Any], *, expected: int | None = None) -> Json:
        return await self._run(naming.put_contract(model, demands, expected))

    async def freeze(self, model: str, *, reason: str, frozen: bool = True) -> Json:
        return await self._run(naming.act(model, "freeze" if frozen else "unfreeze", {"reason": reason}, safe=True))

    async def approve(self, ref: str, *, approved: bool = True, comment: str | None = None) -> Json:
        body = {"ref": ref, "approved": approved, "comment": comment}
        return await self._run(naming.act(parsed(ref).model, "approvals", body))

    async def report_check(self, ref: str, name: str, *, passed: bool, details: str | None = None) -> Json:
        body = {"ref": ref, "name": name, "passed": passed, "details": details}
        return await self._run(naming.act(parsed(ref).model, "checks", body))

    async def approvals(self, ref: str) -> Json:
        return await self._run(naming.said(ref))

    async def promote(self, ref: str, *, reason: str, dry_run: bool = False, force: bool = False) -> Json:
        body = {"ref": ref, "reason": reason, "dry_run": dry_run, "force": force or None}
        return await self._run(naming.act(parsed(ref).model, "promote", body, safe=True))

    async def rollback(self, model: str, *, reason: str, to: str | None = None, force: bool = False) -> Json:
        return await self._run(naming.act(model, "rollback", {"to": to, "reason": reason, "force": force or None}))

    async def revert(self, entry: int | str, *, reason: str, model: str | None = None) -> Json:
        return await self._run(naming.revert(entry, reason, model))

    async def describe(
        self,
        ref: str,
        *,
        description: str | None = None,
        tags: Mapping[str, str | None] | None = None,
        clear: bool = False,
    ) -> Json:
        return await self._run(naming.describe(ref, description, tags or {}, clear=clear))
