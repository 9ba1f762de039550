"""The doctor of one server, asked about another."""

import json
from collections.abc import Mapping

from nacl.signing import SigningKey

from tests.bins.commands import run_less_sync
from tests.federation.rig import Node, base64url, rig


async def told(node: Node, **changes: str) -> Mapping[str, Mapping[str, str]]:
    """What its doctor says of its peers, by check."""
    finished = await run_less_sync("doctor", "--json", env={**node.settings, **changes})
    lines = map(json.loads, finished.out.splitlines())
    return {one["check"]: one for one in lines if one["check"].startswith(("peer", "own"))}


async def test_a_peer_is_dialled_its_keys_are_compared_and_its_server_is_not_disturbed(
    databases: list[str],
) -> None:
    async with rig(databases, "home", "edge1") as r:
        peer = f"peer {r.home.domain}"
        found = await told(r.edge1)
        assert {check: one["state"] for check, one in found.items()} == {
            "own keys": "ok",
            f"{peer} keys": "ok",
            f"{peer} connection": "ok",
        }, found
        await r.home.until_counts(r.edge1, 0, 0)
        other = f"{r.home.kid}={base64url(bytes(SigningKey.generate().verify_key))}"
        found = await told(r.edge1, FEDERATION_TRUSTED_KEYS=other)
        assert found[f"{peer} keys"]["state"] == "failed"
        assert f"another key under {r.home.kid}" in found[f"{peer} keys"]["found"]
        await r.edge1.sql("UPDATE federation_signing_keys SET is_primary = false")
        found = await told(r.edge1)
        assert (found["own keys"]["state"], found[f"{peer} connection"]["state"]) == (
            "warning",
            "not applicable",
        )


async def test_a_peer_that_refuses_our_key_or_is_down_is_told_apart(databases: list[str]) -> None:
    async with rig(databases, "home", "edge1") as r:
        peer = f"peer {r.home.domain}"
        key = SigningKey.generate()
        await r.edge1.sql(
            "UPDATE federation_signing_keys SET private_key = $1, public_key = $2",
            bytes(key),
            key.verify_key.encode(),
        )
        found = await told(r.edge1)
        assert found[f"{peer} connection"]["found"].endswith("answers HTTP 401")
        await r.home.stop()
        found = await told(r.edge1)
        assert {one["state"] for check, one in found.items() if check.startswith(peer)} == {
            "failed",
            "warning",
        }
