"""The command that started this process, as it is recorded with a run: without what looks like a secret.

A manifest is locked and cannot be changed, so a secret in it stays. What an option's name, a URL or a known form of
token gives away is left out; a secret that is a bare word among others cannot be told from them.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

HIDDEN: Final = "***"
MAX_CHARACTERS: Final = 2000
"""As long as the manifest's field may be; of a longer command only the program's name is kept."""
_SECRET_WORDS: Final = {
    *("apikey", "auth", "authorization", "credential", "credentials", "passphrase", "passwd", "password", "pwd"),
    *("secret", "secrets", "token"),
}
_SECRET_PAIRS: Final = {("access", "key"), ("api", "key"), ("private", "key"), ("secret", "key")}
_NAMED: Final = re.compile(r"(?s)(-{0,2}[A-Za-z][\w.-]*)=(.*)")
_USER: Final = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_QUERY: Final = re.compile(r"(?i)([?&][^=&#]*(?:sig|token|key|secret|credential|password)[^=&#]*=)[^&#]*")
_TOKEN: Final = re.compile(
    r"\bwhsec_[A-Za-z0-9+/=_-]{12,}"
    r"|\b(?:mnt|hf|ghp|gho|ghs|github_pat|glpat|sk|pk|xox[abps])[_-][A-Za-z0-9_-]{12,}"
)


def started_by() -> str | None:
    """How the process was started, on one line of shell; None where nothing tells, as in an interactive Python."""
    words = list(getattr(sys, "orig_argv", ()))
    if len(words) < 2:  # an interactive Python
        return None
    text = shlex.join([Path(words[0]).name, *without_secrets(words[1:])])
    if text.isprintable() and len(text) <= MAX_CHARACTERS:
        return text
    name = Path(sys.argv[0]).name if sys.argv else ""
    return name or None


def without_secrets(words: Sequence[str]) -> Iterator[str]:
    """The words of a command with `***` for each value that looks like a secret."""
    hides_next = False
    for word in words:
        if hides_next and not word.startswith("-"):
            yield HIDDEN
            hides_next = False
            continue
        named = _NAMED.fullmatch(word)
        hides_next = named is None and word.startswith("-") and _is_secret(word)
        if named is not None and _is_secret(named[1]):
            yield f"{named[1]}={HIDDEN}"
        else:
            yield _TOKEN.sub(HIDDEN, _QUERY.sub(rf"\1{HIDDEN}", _USER.sub(HIDDEN, word)))


def _is_secret(name: str) -> bool:
    parts = [part for part in re.split(r"[-_.]+", name.lower()) if part]
    return not _SECRET_WORDS.isdisjoint(parts) or any(pair in _SECRET_PAIRS for pair in pairwise(parts))
