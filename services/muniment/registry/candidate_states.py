"""What can become of a candidate. The table's check has the same words."""

from __future__ import annotations

from typing import Final, Literal, get_args

State = Literal["waiting", "committed", "refused"]
STATES: Final[tuple[State, ...]] = get_args(State)
Asked = State | Literal["any"]
"""What a list may be asked for."""
