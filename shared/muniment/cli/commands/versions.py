"""`muniment versions ls|show|describe|delete|attest|verify-signature` and `muniment log`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from muniment.cli import failures, options
from muniment.cli.arguments import Command, Option
from muniment.cli.failures import Usage
from muniment.cli.graph import Key, draw
from muniment.cli.session import DEFAULTS, At, Column, Common, Limit
from muniment.cli.text import cell, differences, moment, reproduction, short, size, some
from muniment.contracts.reference import parse_reference

app = Command("muniment versions", "The versions of a model.", example="muniment versions show digits@main")
log_app = Command(
    "muniment log",
    "The versions on the way back from a reference along its branch, newest first.",
    example="muniment log digits@exp/dropout --graph",
)

_TABLE: tuple[Column, ...] = (
    ("VERSION", lambda item: f"{cell(item.get('model'))}/{item['number']}"),
    ("ID", lambda item: short(item["id"])),
    ("BRANCH", lambda item: cell(item.get("branch"))),
    ("TRACK", lambda item: cell(item.get("track"))),
    ("SIZE", lambda item: size(item["size"]) if isinstance(item.get("size"), int) else ""),
    ("COMMITTED", lambda item: moment(item.get("committed_at"))),
    ("OPERATOR", lambda item: cell(item.get("operator"))),
    ("DESCRIPTION", lambda item: _said_of(item)[:60]),
)


def _said_of(item: Mapping[str, Any]) -> str:
    """What a version is said to be; of a deleted one that it is deleted, and why."""
    gone = item.get("deleted")
    return f"deleted: {cell(gone.get('reason'))}" if gone else cell(item.get("description"))


@app.command("ls")
def ls(
    model: str, /, *, branch: str | None = None, at: At = None, limit: Limit = 100, common: Common = DEFAULTS
) -> None:
    """List a model's versions, newest first."""
    with common.client() as client:
        common.rows(
            (item.raw for item in client.versions(model, branch=branch, at=at)),
            name=lambda item: item["id"],
            table=_TABLE,
            limit=limit,
            empty=f"{model} {'had' if at else 'has'} no versions{f' on {branch}' if branch else ''}"
            + (f" as of {at}" if at else ""),
        )


@app.command("show")
def show(ref: str, /, *, at: At = None, common: Common = DEFAULTS) -> None:
    """Show what a reference means, or meant: the version, its manifest and its files."""
    with common.client() as client:
        found = client.version(ref, at=at)
    manifest = found.raw.get("manifest") or {}
    release = found.raw.get("release") or {}
    ref = f"{found.model}@{release['semver']}" if release else found.ref
    common.show(
        found.raw,
        name=found.id,
        facts=[
            ("version", found.ref),
            ("id", found.id),
            ("release", f"{ref}  {release['id']}, {release['copy']} in {release['track']}" if release else None),
            ("branch", found.branch),
            ("previous", found.previous),
            ("stability", found.stability),
            ("track", found.track),
            ("operator", found.operator),
            ("committed", moment(found.committed_at)),
            ("description", found.description),
            ("tags", found.raw.get("tags")),
            *((name, manifest.get(name)) for name in ("run_id", "experiment_id")),
            *((name, some(manifest.get(name))) for name in ("params", "hyperparams", "metrics")),
            ("datasets", [item.get("name") for item in manifest.get("datasets", [])]),
            ("parents", [f"{short(item['id'])} ({item['kind']})" for item in manifest.get("parents", [])]),
            ("signature", _signature(found.raw.get("signature"))),
            ("reproduces", reproduction(found.raw.get("reproduces"))),
            *(("differs in", line) for line in differences(found.raw.get("reproduces"))),
            ("reproduced by", [reproduction(item) for item in found.raw.get("reproduced_by") or []]),
            *(
                (f"file {file['path']}", f"{size(file['size'])}  {file.get('format', '')}  sha256:{file['sha256']}")
                for file in found.raw.get("files") or []
            ),
        ],
    )
    common.next(f"muniment download {ref} DIR")


@app.command("describe")
def describe(
    ref: str,
    /,
    *,
    description: str | None = None,
    no_description: Annotated[bool, Option("Take the description away.")] = False,
    tag: Annotated[tuple[str, ...], Option("NAME=TEXT; NAME alone takes the tag away.")] = (),
    common: Common = DEFAULTS,
) -> None:
    """Change a version's description and tags; each change is audited and can be reverted."""
    gone = {name: None for name in tag if "=" not in name}
    tags = {**gone, **options.pairs([one for one in tag if "=" in one], "--tag")}
    with common.client() as client:
        found = client.describe(ref, description=description, tags=tags, clear=no_description)
    common.show(
        found,
        name=found["id"],
        facts=[
            ("version", f"{found['model']}/{found['number']}"),
            ("description", found["description"]),
            ("tags", found["tags"]),
        ],
    )


@app.command("delete")
def delete(
    ref: str, /, *, reason: Annotated[str, Option("Why; it stays with the version.")], common: Common = DEFAULTS
) -> None:
    """Delete a version: its number and its lineage stay, its bytes go with the next gc."""
    with common.client() as client:
        found = client.delete_version(ref, reason=reason)
    version, deleted = f"{found['model']}/{found['number']}", found["deleted"]
    common.show(
        found,
        name=found["id"],
        facts=[("version", version), ("deleted", moment(deleted["at"])), ("reason", deleted["reason"])],
    )
    common.next("muniment gc")


def _signature(item: Mapping[str, Any] | None) -> str | None:
    if item is None:
        return None
    by = f" by {cell(item['signer'])}" if item.get("signer") else ""
    left_out = f", {item['uncovered']} files left out" if item.get("uncovered") else ""
    return f"{item['status']}{by}{left_out}" + (f" ({item['code']})" if item.get("code") else "")


@app.command("attest")
def attest(
    ref: str,
    /,
    *,
    out: Annotated[
        Path | None, Option("Write the bundles and the public key into this folder.", ("-o", "--out"))
    ] = None,
    common: Common = DEFAULTS,
) -> None:
    """What the registry attests of a version: an OMS signature over its files, and its SLSA v1 provenance."""
    with common.client() as client:
        found = client.attestations(ref) if out is None else client.attest(ref, out)
    version = f"{found['model']}/{found['number']}"
    facts = [("version", version), ("id", found["id"]), ("key", found["key"]["hint"]), ("files", found.get("files"))]
    common.show(found, name=found["id"], facts=facts)
    if out is None:
        common.next(f"muniment versions attest {ref} -o DIR")
    else:
        signed = f"--signature {out}/muniment.sig --public_key {out}/muniment.pub"
        kept = "--ignore-paths MODEL/.muniment-manifest.json"  # what a download keeps beside the files
        common.next(f"model_signing verify key MODEL {kept} {signed}")
        provenance = f"--ignore_unsigned_files --signature {out}/provenance.sig --public_key {out}/muniment.pub"
        common.next(f"model_signing verify key {out} {provenance}")


@app.command("verify-signature")
def verify_signature(
    ref: str,
    /,
    *,
    public_key: Annotated[tuple[Path, ...], Option("A PEM file whose key you trust; may be repeated.")] = (),
    root: Annotated[tuple[Path, ...], Option("A PEM file with root certificates; may be repeated.")] = (),
    sigstore_root: Annotated[Path | None, Option("Sigstore's trusted_root.json, for keyless signatures.")] = None,
    identity: Annotated[str | None, Option("Whose keyless signature: e-mail or URI; * is any text.")] = None,
    issuer: Annotated[str | None, Option("Who vouches for that identity: an OpenID Connect issuer's URL.")] = None,
    attestation: Annotated[bool, Option("Verify the registry's own signature, not the publisher's.")] = False,
    record: Annotated[bool, Option("Let the registry judge again, by the keys it trusts now, and keep that.")] = False,
    common: Common = DEFAULTS,
) -> int:
    """Verify a version's signature here by what you trust, or, without any, tell how the registry judged it."""
    keyless = (sigstore_root, identity, issuer)
    if any(keyless) and not all(keyless):
        raise Usage("a keyless signature is verified by three things", expected="--sigstore-root, --identity, --issuer")
    here = bool(public_key or root or sigstore_root)
    if record and (here or attestation):
        raise Usage("two options contradict each other", expected="--record, or keys and roots to verify by here")
    if attestation and not (public_key or root):
        raise Usage(
            "no key to verify by is named", expected="--public-key FILE: the registry's, from where you trust it"
        )
    with common.client() as client:
        if here:
            found = client.verify_signature(
                ref,
                keys=public_key,
                roots=root,
                sigstore_root=sigstore_root,
                identities=[(issuer, identity)] if issuer and identity else [],
                registry=attestation,
            )
            version, outcome, by = found.version.raw, found.judgement.as_json(), found.signed_by
            trouble = found.judgement.trouble
            why = None if trouble is None else str(trouble)
        else:
            version = client.check_signature(ref) if record else client.version(ref).raw
            outcome, by, why = version.get("signature") or {"status": "unsigned"}, "publisher", None
    name = f"{version['model']}/{version['number']}"
    common.show(
        {"id": version["id"], "model": version["model"], "number": version["number"], "signed_by": by, **outcome},
        name=version["id"],
        facts=[("version", name), ("signed by", by), ("signature", _signature(outcome)), ("because", why)],
    )
    if outcome["status"] != "verified":
        return failures.FAILED
    return failures.OK


@log_app.default
def log(
    ref: str,
    /,
    *,
    graph: Annotated[bool, Option("Draw all versions that lead to it, with branches and merges.")] = False,
    at: At = None,
    limit: Limit = 100,
    common: Common = DEFAULTS,
) -> None:
    """Walk back from a reference along its branch, or with --graph along all its parents."""
    with common.client() as client:
        if graph:
            _graph(common, client.graph(parse_reference(ref).model, ref=ref), limit)
            common.next(f"muniment blame {ref}")
            return
        common.rows(
            (item.raw for item in client.log(ref, at=at)),
            name=lambda item: item["id"],
            table=_TABLE,
            limit=limit,
            empty=f"{ref} has no history",
        )


def _graph(common: Common, versions: Iterator[dict[str, Any]], limit: int) -> None:
    shown: dict[Key, dict[str, Any]] = {}

    def rows() -> Iterator[tuple[Key, list[Key]]]:
        for version in islice(versions, limit) if limit else versions:
            shown[version["number"]] = version
            yield version["number"], [edge["number"] for edge in version["edges"] if edge["model"] is None]

    for line in draw(rows()):
        if line.key is None:
            if not common.json and not common.quiet:
                common.line({}, name="", text=line.lanes)
            continue
        version = shown.pop(line.key)
        common.line(version, name=version["id"], text=f"{line.lanes}  {_described(version)}")
    if limit and next(versions, None) is not None:
        common.say(f"the first {limit} are shown; --limit 0 shows all")


def _described(version: dict[str, Any]) -> str:
    parts = [str(version["number"]), short(version["id"]), cell(version["branch"]), moment(version["committed_at"])]
    parts.append(cell(version["operator"]))
    for edge in version["edges"]:
        if edge["kind"] != "previous":
            where = f"{edge['model']}/{edge['number']}" if edge["model"] else str(edge["number"])
            parts.append(cell(f"({edge['kind']} of {where})"))
    return "  ".join([*parts, "(deleted)"] if version["deleted"] else parts)
