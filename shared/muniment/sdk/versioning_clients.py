"""What both clients offer on versions beside each other: comparison, measurements, releases, tracks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack

from muniment.sdk import releases as release_calls
from muniment.sdk.exchange import Call, Listing
from muniment.sdk.records import plain
from muniment.sdk.releases import Release

if TYPE_CHECKING:
    import os

    from muniment.sdk.attesting import SignatureVerification
    from muniment.sdk.measuring import Given, MeasureOptions
    from muniment.sdk.releases import ReleaseOptions

T = TypeVar("T")
Json = dict[str, Any]


class VersioningClient:
    """Blocking. Every method raises what the server answers with."""

    @abstractmethod
    def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _each(self, listing: Listing, of: Callable[[Any], T]) -> Iterator[T]: ...

    # -- comparison

    def compare(self, *refs: str, only_changed: bool = True) -> Json:
        """Two to six versions by their manifests: `versions`, and `sections` of rows with a value for each version.

        `cut` has the row count of a section that is not shown whole. Raises `Rejected` (`compare_count_invalid`).
        """
        from muniment.sdk.comparing import comparing

        return self._run(comparing(refs, only_changed=only_changed))

    def diff(self, old: str, new: str, *, tensors: bool = True, only_changed: bool = True) -> Json:
        """What changed between two versions: as `compare`, and `tensors` with the figures of each changed tensor.

        Tensors are read from the store: it takes the time of reading both versions' changed safetensors files.
        Raises `TooLarge` (`compare_too_large`) and `Rejected` (`safetensors_invalid`, `bytes_missing`).
        """
        from muniment.sdk.comparing import differing

        return self._run(differing(old, new, tensors=tensors, only_changed=only_changed))

    # -- signatures

    def attestations(self, ref: str) -> Json:
        """What the registry attests of a version: `signature` (an OMS bundle), `provenance` (SLSA v1) and its `key`."""
        from muniment.sdk.attesting import attestations

        return self._run(attestations(ref))

    def attest(self, ref: str, directory: str | os.PathLike[str]) -> Json:
        """Write a version's attestations and the registry's public key into a folder; `files` names them."""
        from muniment.sdk.attesting import attesting

        return self._run(attesting(ref, directory))

    def check_signature(self, ref: str, *, reason: str | None = None) -> Json:
        """Let the registry judge a version's signature by the keys it trusts now; the version, with its `signature`."""
        from muniment.sdk.attesting import checking

        return self._run(checking(ref, reason))

    def verify_signature(
        self,
        ref: str,
        *,
        keys: Sequence[str | os.PathLike[str]] = (),
        roots: Sequence[str | os.PathLike[str]] = (),
        sigstore_root: str | os.PathLike[str] | None = None,
        identities: Sequence[tuple[str, str]] = (),
        registry: bool = False,
    ) -> SignatureVerification:
        """Verify the publisher's signature of a version, or the registry's, on this machine: by these files alone.

        `keys` and `roots` are PEM files; `sigstore_root` is Sigstore's `trusted_root.json`, by which keyless signatures
        of `identities`, pairs of issuer and identity, are verified (the extra `muniment[sigstore]`, no network).
        Raises `NotFound` (`signature_not_found`), `Conflict` (`manifest_mismatch`, `digest_mismatch`) and, for files
        that cannot be used, `Rejected` and `Misconfigured`.
        """
        from muniment.sdk.attesting import TrustFiles, verifying

        return self._run(verifying(ref, TrustFiles(keys, roots, sigstore_root, identities), registry=registry))

    # -- measurements

    def evaluate(self, ref: str, measurements: Given, **options: Unpack[MeasureOptions]) -> Json:
        """Append evaluations of a version: `{"accuracy": 0.97}`, or mappings with `metric`, `value` and more.

        They count for promotion; observations do not. The answer names the `divergences` from the baseline's
        tolerances that began or ended. Raises `Rejected` where a row is at fault, naming it.
        """
        from muniment.sdk.measuring import measuring

        return self._run(measuring("evaluation", ref, measurements, options))

    def observe(self, ref: str, measurements: Given, **options: Unpack[MeasureOptions]) -> Json:
        """Append observations of a version, from production, as `evaluate` does evaluations."""
        from muniment.sdk.measuring import measuring

        return self._run(measuring("observation", ref, measurements, options))

    def series(
        self,
        model: str,
        metric: str,
        *,
        dataset: str | None = None,
        slice: str | None = None,  # noqa: A002  # reason: the word that the HTTP surface uses
        over: Literal["versions", "time"] = "versions",
        ref: str | None = None,
    ) -> Iterator[Json]:
        """A metric over versions (`number`, `id`, `value`, `source`, `at`), or over time: the observations of the
        version that `ref` names, by default the baseline.
        """
        from muniment.sdk.measuring import series

        return self._each(series(model, metric, dataset, slice, over, ref), plain)

    def divergences(self, model: str, *, state: Literal["holding", "broken"] | None = None) -> Iterator[Json]:
        """How the baseline's tolerances stand, and since when those that are broken are."""
        from muniment.sdk.measuring import divergences

        return self._each(divergences(model, state), plain)

    # -- releases and tracks

    def publish_release(self, model: str, version: str, *, ref: str, **options: Unpack[ReleaseOptions]) -> Release:
        """Release a version under a semantic version. The same of the same source again answers the same release.

        Raises `Rejected` (`semver_invalid`), `Conflict` (`release_exists`, `version_deleted`, `checks_missing`).
        """
        return self._run(release_calls.publish_release(model, version, ref, options))

    def releases(self, model: str) -> Iterator[Release]:
        """A model's releases, highest first."""
        return self._each(release_calls.releases(model), Release.of)

    def release(self, ref: str) -> Release:
        """The release that a reference means (`digits@1.2.0`, `digits@^1.2`); manifest and files are in `raw`."""
        return self._run(release_calls.release(ref))

    def tracks(self) -> Iterator[Json]:
        """All tracks."""
        return self._each(release_calls.tracks(), plain)

    def track(self, name: str) -> Json:
        """One track."""
        return self._run(release_calls.track(name))

    def change_track(self, name: str, change: Mapping[str, Any]) -> Json:
        """Make a track, or change the given fields: `lock_mode`, `retention_s`, `bucket`, `formats`, `checks`."""
        return self._run(release_calls.change_track(name, change))


class AsyncVersioningClient:
    """The same for asyncio; the docstrings of `VersioningClient` hold."""

    @abstractmethod
    async def _run(self, call: Call[T]) -> T: ...

    @abstractmethod
    def _each(self, listing: Listing, of: Callable[[Any], T]) -> AsyncIterator[T]: ...

    # -- comparison

    # -- signatures

    async def attestations(self, ref: str) -> Json:
        from muniment.sdk.attesting import attestations

        return await self._run(attestations(ref))

    async def attest(self, ref: str, directory: str | os.PathLike[str]) -> Json:
        from muniment.sdk.attesting import attesting

        return await self._run(attesting(ref, directory))

    async def check_signature(self, ref: str, *, reason: str | None = None) -> Json:
        from muniment.sdk.attesting import checking

        return await self._run(checking(ref, reason))

    async def verify_signature(
        self,
        ref: str,
        *,
        keys: Sequence[str | os.PathLike[str]] = (),
        roots: Sequence[str | os.PathLike[str]] = (),
        sigstore_root: str | os.PathLike[str] | None = None,
        identities: Sequence[tuple[str, str]] = (),
        registry: bool = False,
    ) -> SignatureVerification:
        from muniment.sdk.attesting import TrustFiles, verifying

        return await self._run(verifying(ref, TrustFiles(keys, roots, sigstore_root, identities), registry=registry))

    async def compare(self, *refs: str, only_changed: bool = True) -> Json:
        from muniment.sdk.comparing import comparing

        return await self._run(comparing(refs, only_changed=only_changed))

    async def diff(self, old: str, new: str, *, tensors: bool = True, only_changed: bool = True) -> Json:
        from muniment.sdk.comparing import differing

        return await self._run(differing(old, new, tensors=tensors, only_changed=only_changed))

    # -- measurements

    async def evaluate(self, ref: str, measurements: Given, **options: Unpack[MeasureOptions]) -> Json:
        from muniment.sdk.measuring import measuring

        return await self._run(measuring("evaluation", ref, measurements, options))

    async def observe(self, ref: str, measurements: Given, **options: Unpack[MeasureOptions]) -> Json:
        from muniment.sdk.measuring import measuring

        return await self._run(measuring("observation", ref, measurements, options))

    def series(
        self,
        model: str,
        metric: str,
        *,
        dataset: str | None = None,
        slice: str | None = None,  # noqa: A002  # reason: the word that the HTTP surface uses
        over: Literal["versions", "time"] = "versions",
        ref: str | None = None,
    ) -> AsyncIterator[Json]:
        from muniment.sdk.measuring import series

        return self._each(series(model, metric, dataset, slice, over, ref), plain)

    def divergences(self, model: str, *, state: Literal["holding", "broken"] | None = None) -> AsyncIterator[Json]:
        from muniment.sdk.measuring import divergences

        return self._each(divergences(model, state), plain)

    # -- releases and tracks

    async def publish_release(
        self, model: str, version: str, *, ref: str, **options: Unpack[ReleaseOptions]
    ) -> Release:
        return await self._run(release_calls.publish_release(model, version, ref, options))

    def releases(self, model: str) -> AsyncIterator[Release]:
        return self._each(release_calls.releases(model), Release.of)

    async def release(self, ref: str) -> Release:
        return await self._run(release_calls.release(ref))

    def tracks(self) -> AsyncIterator[Json]:
        return self._each(release_calls.tracks(), plain)

    async def track(self, name: str) -> Json:
        return await self._run(release_calls.track(name))

    async def change_track(self, name: str, change: Mapping[str, Any]) -> Json:
        return await self._run(release_calls.change_track(name, change))
