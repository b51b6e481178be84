"""A log that other hands have changed is not added to; what was asked for waits, and is appended after the repair."""

from __future__ import annotations

import pytest

from muniment.contracts.errors import Transient

from .conftest import Session, Writer, incoming

DAMAGE = {
    "another root": "UPDATE tree_head SET root = sha256('x') WHERE size = 3",
    "another frontier": "UPDATE tree_head SET frontier = ARRAY[sha256('x'), sha256('y')] WHERE size = 3",
    "head and frontier alike": (
        "UPDATE tree_head SET frontier = ARRAY[sha256('x'), sha256('y')],"
        " root = sha256('\\x01'::bytea || sha256('x') || sha256('y')) WHERE size = 3"
    ),
    "last entry gone": "DELETE FROM entry WHERE index = 2",
    "last head gone": "DELETE FROM tree_head WHERE size = 3",
    "an entry planted": (
        "INSERT INTO entry SELECT 3, 'planted', leaf_hash, root_hash, data, log_time, action, outcome, operator,"
        " model, resource, correlation FROM entry WHERE index = 2"
    ),
    "no heads": "DELETE FROM tree_head",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
async def test_a_damaged_log_is_not_added_to(writer: Writer, superuser: Session, damage: str) -> None:
    await writer.append(incoming("a"), incoming("b"))
    await writer.append(incoming("c"))
    await superuser.execute("""
        CREATE TABLE entry_copy AS TABLE entry; CREATE TABLE head_copy AS TABLE tree_head;
        ALTER TABLE entry DISABLE TRIGGER only_added_to; ALTER TABLE tree_head DISABLE TRIGGER only_added_to
    """)
    await superuser.execute(damage)
    count = await superuser.fetchval("SELECT count(*) FROM entry")
    with pytest.raises(Transient) as caught:
        await writer.append(incoming("waits"))
    assert caught.value.code == "audit_log_damaged"
    assert caught.value.expected
    assert caught.value.actual
    assert await superuser.fetchval("SELECT count(*) FROM entry") == count
    assert await superuser.fetchval("SELECT count(*) FROM outbox") == 3

    await superuser.execute("DELETE FROM entry; INSERT INTO entry TABLE entry_copy")
    await superuser.execute("DELETE FROM tree_head; INSERT INTO tree_head TABLE head_copy")
    await writer.append(incoming("waits"))
    assert await superuser.fetchval("SELECT event_id FROM entry WHERE index = 3") == "waits"
