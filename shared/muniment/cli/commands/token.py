"""`muniment token create|ls|revoke` and `muniment token key create|ls|revoke`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage
from muniment.cli.session import DEFAULTS, Common, Limit
from muniment.cli.text import cell, moment

app = Command(
    "muniment token",
    "API tokens (for people and programs that ask over HTTP) and publisher keys (for pipelines that write to Kafka).",
    example="muniment token create ci --role writer --days 90",
)
key_app = app.part(
    "key",
    "Publisher keys: who signs with one is believed to be its account.",
    example="muniment token key create trainer --out trainer.pem",
)

Role = Literal["reader", "writer", "promoter", "auditor", "admin"]
Days = Annotated[int | None, Option("Days until it expires; the server has a default.")]


@app.command("create")
def create(
    name: str,
    /,
    *,
    role: Annotated[tuple[Role, ...], Option("What it may do; may be repeated.")],
    subject: Annotated[str | None, Option("Who it speaks for, in audit entries; default its name.")] = None,
    days: Days = None,
    common: Common = DEFAULTS,
) -> None:
    """Make an API token. Its text is printed once."""
    if not role:
        raise Usage("a token needs a role", expected="--role reader, writer, promoter, auditor or admin")
    wanted = {"name": name, "roles": list(role), "subject": subject, "days": days}
    with common.client() as client:
        made = client.create_token({key: value for key, value in wanted.items() if value is not None})
    common.show(made, name=made.get("token"), facts=made.items())
    common.say("the token is shown once; give it to programs as MUNIMENT_TOKEN")


@app.command("ls")
def ls(*, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List API tokens, newest first."""
    with common.client() as client:
        common.rows(
            client.tokens(),
            name=lambda item: item["name"],
            table=(
                ("NAME", lambda item: cell(item["name"])),
                ("OPERATOR", lambda item: cell(item.get("operator"))),
                ("ROLES", lambda item: cell(item.get("roles"))),
                ("CREATED", lambda item: moment(item.get("created_at"))),
                ("EXPIRES", lambda item: moment(item.get("expires_at"))),
                ("LAST USED", lambda item: moment(item.get("last_used_at"))),
                ("REVOKED", lambda item: moment(item.get("revoked_at"))),
            ),
            limit=limit,
            empty="there are no tokens",
        )


@app.command("revoke")
def revoke(name: str, /, *, common: Common = DEFAULTS) -> None:
    """Revoke the live token of this name."""
    with common.client() as client:
        client.revoke_token(name)
    common.show({"name": name, "revoked": True}, name=name, facts=[("revoked", name)])


@key_app.command("create")
def create_key(
    account: str,
    /,
    *,
    out: Annotated[Path | None, Option("A new file for the private key, readable by you alone.")] = None,
    public_key: Annotated[Path | None, Option("Register this public key (PEM); make no new pair.")] = None,
    days: Days = None,
    common: Common = DEFAULTS,
) -> None:
    """Make a key pair here, and register its public half for an account."""
    if (out is None) == (public_key is None):
        raise Usage("say where the key is", expected="--out FILE for a new pair, or --public-key FILE for yours")
    pem = public_key.read_text() if public_key is not None else _new_pair(out)
    wanted = {"account": account, "public_key": pem, "days": days}
    try:
        with common.client() as client:
            made = client.create_publisher_key({key: value for key, value in wanted.items() if value is not None})
    except BaseException:
        if out is not None:  # a key that nobody believes only confuses
            out.unlink()
        raise
    common.show(made, name=made.get("kid"), facts=[*made.items(), ("private key", out)])
    common.next("sign events with muniment.sdk.training_completed(..., private_key=...)")


@key_app.command("ls")
def ls_keys(*, limit: Limit = 100, common: Common = DEFAULTS) -> None:
    """List publisher keys, newest first."""
    with common.client() as client:
        common.rows(
            client.publisher_keys(),
            name=lambda item: item["kid"],
            table=(
                ("KEY", lambda item: cell(item["kid"])),
                ("ACCOUNT", lambda item: cell(item.get("account"))),
                ("CREATED", lambda item: moment(item.get("created_at"))),
                ("EXPIRES", lambda item: moment(item.get("expires_at"))),
                ("REVOKED", lambda item: moment(item.get("revoked_at"))),
            ),
            limit=limit,
            empty="there are no publisher keys",
        )


@key_app.command("revoke")
def revoke_key(kid: str, /, *, common: Common = DEFAULTS) -> None:
    """Revoke a publisher key: events signed with it are refused from now on."""
    with common.client() as client:
        client.revoke_publisher_key(kid)
    common.show({"kid": kid, "revoked": True}, name=kid, facts=[("revoked", kid)])


def _new_pair(out: Path | None) -> str:
    from muniment.sdk.event import new_publisher_key

    pair = new_publisher_key()
    if out is not None:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pair.private_pem)
    return pair.public_pem.decode()
