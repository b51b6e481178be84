"""Copies inside the store: in one request, or in parts where one would take minutes or is not allowed (5 GiB)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from muniment.adapters.s3.connection import S3Connection
from muniment.adapters.s3.multipart import MAX_PARTS, S3Multipart
from muniment.contracts.errors import MunimentError
from muniment.ports.blobs import Location, ObjectVersion, Part


async def copy(
    connection: S3Connection, multipart: S3Multipart, source: ObjectVersion, bucket: str, key: str
) -> Location:
    """Copy `source`; every request names its version-id and its ETag. A copy in parts that fails is given up whole."""
    options = connection.options
    if source.size <= options.copy_part_size:
        version_id = await multipart.copy_whole(source, bucket, key)
        return Location(bucket, key, version_id)
    upload_id = await connection.run(multipart.create, bucket, key, "application/octet-stream")
    places = asyncio.Semaphore(options.copy_parts_at_once)

    async def part(number: int, offset: int, length: int) -> Part:
        async with places:
            return await connection.run(multipart.copy_part, source, bucket, key, upload_id, number, offset, length)

    try:
        # Not a TaskGroup: an ordinary error must leave as itself, not inside an ExceptionGroup.
        tasks = [asyncio.ensure_future(part(*place)) for place in split(source.size, options.copy_part_size)]
        try:
            parts = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return await connection.run(multipart.complete, bucket, key, upload_id, parts)
    except BaseException:
        # A part still under way in a thread may arrive after this; the store's own expiry of uploads takes it then.
        with contextlib.suppress(MunimentError):  # the failure that led here is the one to tell
            await asyncio.shield(connection.run(multipart.abort, bucket, key, upload_id))
        raise


def split(size: int, part_size: int) -> Iterator[tuple[int, int, int]]:
    """(number, offset, length) of each part: of `part_size`, or larger where that would make more than 10,000."""
    part_size = max(part_size, -(-size // MAX_PARTS))
    for number, offset in enumerate(range(0, size, part_size), start=1):
        yield number, offset, min(part_size, size - offset)
