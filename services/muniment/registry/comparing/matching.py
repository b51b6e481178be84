"""Which tensor of one version is which of the other. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from muniment.registry.comparing.headers import StoredFile, Tensor


@dataclass(frozen=True, slots=True)
class Matched:
    """The tensors of two versions: those that both have (in the order of the old ones' bytes), and the others."""

    both: list[tuple[Tensor, Tensor]]
    removed: list[Tensor]
    added: list[Tensor]


def split_same(
    old: Sequence[StoredFile], new: Sequence[StoredFile]
) -> tuple[list[StoredFile], list[StoredFile], list[StoredFile]]:
    """The old files whose bytes are in the new version, too; what is left of the old ones, and of the new ones.

    A file has one twin at most: a copy that was added is left, and its tensors are added ones.
    """
    in_place, old, new = _without_twins(old, new, lambda file: (file.path, file.sha256))
    moved, old, new = _without_twins(old, new, lambda file: file.sha256)
    return in_place + moved, old, new


def _without_twins(
    old: Iterable[StoredFile], new: Iterable[StoredFile], key: Callable[[StoredFile], object]
) -> tuple[list[StoredFile], list[StoredFile], list[StoredFile]]:
    waiting: dict[object, list[StoredFile]] = defaultdict(list)
    for file in new:
        waiting[key(file)].append(file)
    same, left = [], []
    for file in old:
        twins = waiting[key(file)]
        if twins:
            twins.pop(0)
            same.append(file)
        else:
            left.append(file)
    return same, left, [file for files in waiting.values() for file in files]


def match_tensors(old: Iterable[Tensor], new: Iterable[Tensor]) -> Matched:
    """Match by name over all files.

    Where a name stands in several files (as in a folder for each part of a pipeline) the same path decides; what is
    left over is matched in the order of paths.
    """
    both, removed = [], []
    waiting = _by_name(new)
    for name, olds in _by_name(old).items():
        news = waiting.get(name, {})
        elsewhere = []
        for path, tensor in olds.items():
            if path in news:
                both.append((tensor, news.pop(path)))
            else:
                elsewhere.append(tensor)
        for tensor in elsewhere:
            if news:
                both.append((tensor, news.pop(min(news))))
            else:
                removed.append(tensor)
    both.sort(key=lambda pair: (pair[0].file.path, pair[0].offset))
    return Matched(both, removed, [tensor for news in waiting.values() for tensor in news.values()])


def _by_name(tensors: Iterable[Tensor]) -> dict[str, dict[str, Tensor]]:
    """By name and path."""
    found: dict[str, dict[str, Tensor]] = {}
    for tensor in sorted(tensors, key=lambda one: one.file.path):
        found.setdefault(tensor.name, {})[tensor.file.path] = tensor
    return found
