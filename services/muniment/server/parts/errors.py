"""The one failure a part can raise."""

from __future__ import annotations

from muniment.contracts.errors import Misconfigured


class PartError(Misconfigured):
    """Kafka, Postgres or the object store could not be started, or died while running.

    `part` is "kafka", "postgres", "s3" or "data"; `log` holds the last lines the part wrote, if it ran at all.
    """

    def __init__(
        self,
        part: str,
        code: str,
        message: str,
        *,
        expected: object = None,
        actual: object = None,
        hint: str | None = None,
        log: str = "",
    ) -> None:
        super().__init__(code, message, expected=expected, actual=actual, hint=hint)
        self.part = part
        self.log = log

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n--- last lines of its log ---\n{self.log}" if self.log else text
