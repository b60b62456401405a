"""`raft-kv doctor`: what counts as trouble, and that secrets are not shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kv.app.doctor import FSYNC_COUNT, fsync_ms, look_here, member_troubles, node_troubles, security_rows
from raft_actors.cluster.nodes import Node

WELL: dict[str, Any] = {
    "member": 1,
    "state": "running",
    "error": None,
    "data": "/d/1",
    "peer_ms": 1.0,
    "server_ms": 1.0,
}
NODE = Node(node_id="n", address="10.0.0.1", labels={})


class TestTroubles:
    def test_a_healthy_member_is_none(self) -> None:
        assert member_troubles(WELL) == []

    def test_each_thing_that_is_wrong_with_a_member_is_a_sentence(self) -> None:
        assert member_troubles(WELL | {"state": "failed", "error": "damage"}) == ["member 1: it is failed: damage"]
        assert "deleted or moved" in member_troubles(WELL | {"data": None})[0]
        assert "server does not answer" in member_troubles(WELL | {"server_ms": None})[0]
        assert len(member_troubles(WELL | {"state": "unreachable", "peer_ms": None, "data": None})) == 1

    def test_a_node_with_other_code_or_without_a_place_for_data_is_trouble(self) -> None:
        assert node_troubles(NODE, {}, None) == []
        (version,) = node_troubles(NODE, {"raft_actors": "0.0.9"}, None)
        assert version.startswith("node 10.0.0.1: raft-actors 0.0.9 there and ")
        assert node_troubles(NODE, {"data_trouble": "full"}, "shadowed") == [
            "node 10.0.0.1: shadowed",
            "node 10.0.0.1: full",
        ]


class TestLookingAtANode:
    def test_the_sync_is_measured_where_the_root_would_be_made_and_leaves_nothing(self, tmp_path: Path) -> None:
        row = look_here(str(tmp_path / "not" / "yet"))
        assert row["data_root"] == str(tmp_path / "not" / "yet")
        assert row["fsync_ms"] >= 0
        assert list(tmp_path.iterdir()) == []
        assert FSYNC_COUNT % 2 == 1, "a median of an even number is nobody's time"

    def test_a_root_that_cannot_be_written_is_trouble_and_no_traceback(self) -> None:
        row = look_here("/proc/raft-actors")
        assert "cannot be written" in row["data_trouble"]
        assert "fsync_ms" not in row

    def test_fsync_ms_is_in_milliseconds(self, tmp_path: Path) -> None:
        assert 0 <= fsync_ms(tmp_path) < 10_000


class TestSecurity:
    def test_secrets_are_never_shown(self, tmp_path: Path) -> None:
        rows = security_rows({"RAY_AUTH_TOKEN": "sesame"}, tmp_path)
        assert "sesame" not in repr(rows)
        assert "in $RAY_AUTH_TOKEN" in repr(rows)

    def test_a_token_that_others_may_read_is_pointed_out(self, tmp_path: Path) -> None:
        token = tmp_path / "token"
        token.write_text("sesame")
        for mode, hint in ((0o644, True), (0o600, False)):
            token.chmod(mode)
            said = repr(security_rows({"RAY_AUTH_TOKEN_PATH": str(token)}, tmp_path))
            assert ("chmod 600" in said, "sesame" in said) == (hint, False)

    def test_without_token_and_tls_it_says_what_that_means(self, tmp_path: Path) -> None:
        said = repr(security_rows({}, tmp_path))
        assert "can run code" in said
        assert "can be read on the network" in said
        assert "'on'" in repr(security_rows({"RAY_USE_TLS": "1"}, tmp_path))
