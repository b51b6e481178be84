import base64
from pathlib import Path

from muniment.server.parts.kafka import cluster_id, server_properties


def read_properties(text: str) -> dict[str, str]:
    """As Java reads them, for what `server_properties` writes: one a line, `\\uXXXX` for UTF-16 units."""
    pairs = (line.split("=", 1) for line in text.splitlines())
    return {
        name: value.encode("ascii").decode("unicode_escape").encode("utf-16", "surrogatepass").decode("utf-16")
        for name, value in pairs
    }


def test_every_listener_is_on_the_loopback_address() -> None:
    properties = read_properties(server_properties(Path("/data"), 21000, 21001))
    listeners = properties["listeners"].split(",")
    assert [each.partition("://")[2] for each in listeners] == ["127.0.0.1:21000", "127.0.0.1:21001"]
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:21000"


def test_topics_are_never_created_by_mistake() -> None:
    assert read_properties(server_properties(Path("/data"), 1, 2))["auto.create.topics.enable"] == "false"


def test_any_folder_name_survives_the_properties_file() -> None:
    folder = Path("/tmp/a b/\\x41/ä/\u65e5\U0001f5c2/c=#!:\n")
    assert read_properties(server_properties(folder, 1, 2))["log.dirs"] == str(folder)


def test_a_cluster_id_is_never_taken_for_an_option() -> None:
    ids = {cluster_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert not [each for each in ids if each.startswith("-")]
    assert {len(base64.urlsafe_b64decode(each + "==")) for each in ids} == {16}
