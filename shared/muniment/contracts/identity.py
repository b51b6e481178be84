"""Who did it: the authenticated principal, `issuer|subject`, its roles, and how it was established."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from muniment.contracts.errors import Forbidden
from muniment.contracts.events import Authentication

Role = Literal["reader", "writer", "promoter", "auditor", "admin"]
ROLES: Final[tuple[Role, ...]] = ("reader", "writer", "promoter", "auditor", "admin")
ISSUER: Final = "muniment"
UNSIGNED: Final = f"{ISSUER}|unsigned"
"""The operator of an unsigned event where settings allow one: nobody in particular, and said so."""

# What each role may do; auditor never implies writer, and only admin implies all.
_IMPLIES: Final[dict[Role, frozenset[Role]]] = {
    "reader": frozenset({"reader"}),
    "writer": frozenset({"writer", "reader"}),
    "promoter": frozenset({"promoter", "writer", "reader"}),
    "auditor": frozenset({"auditor", "reader"}),
    "admin": frozenset(ROLES),
}


@dataclass(frozen=True, slots=True)
class Author:
    """Who gave an input, and how that is known. Never from the input itself."""

    operator: str
    authenticated_by: Authentication


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated party. `operator` is what audit entries carry."""

    operator: str
    roles: frozenset[Role]
    authenticated_by: Authentication

    def has(self, role: Role) -> bool:
        """Whether one of the principal's roles implies `role`."""
        return any(role in _IMPLIES[held] for held in self.roles)

    def require(self, role: Role) -> None:
        """Raise `Forbidden` (`role_missing`) unless the principal has `role`."""
        if not self.has(role):
            raise Forbidden(
                "role_missing",
                f"{self.operator} lacks a role",
                expected=role,
                actual=", ".join(sorted(self.roles)) or "none",
                hint=f"ask an admin for a token with that role: muniment token create NAME --role {role}",
            )


def check_operator(claimed: str | None, author: Author | Principal) -> None:
    """Raise `Forbidden` (`operator_mismatch`) where an input claims to be of somebody else."""
    if claimed is not None and claimed != author.operator:
        raise Forbidden(
            "operator_mismatch",
            "the payload names another operator than the one who was authenticated",
            expected=author.operator,
            actual=claimed,
            hint="leave the field out: the operator is always the authenticated one",
        ).by(author.operator, author.authenticated_by)


def operator_of(subject: str, issuer: str = ISSUER) -> str:
    """The operator id of a subject: `issuer|subject`."""
    return f"{issuer}|{subject}"
