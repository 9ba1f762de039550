"""What `doctor` says of replicas: a standby is well, anything else is a warning."""

from pathlib import Path

from less_sync.bins.doctor.findings import State
from less_sync.bins.doctor.replicas import look_at_replicas
from less_sync.bins.settings.cluster import ClusterSettings
from tests.cluster.replica.conftest import Streaming


async def test_each_replica_is_looked_at(streaming: Streaming, tmp_path: Path) -> None:
    away = f"postgresql://postgres:secret@/sync?host={tmp_path}&port=5432"
    urls = (streaming.standby.url, streaming.primary.url, away)
    found = await look_at_replicas(ClusterSettings(1, None, None, urls))
    assert [(one.check, one.state) for one in found] == [
        ("replicas", State.OK),
        ("replicas", State.WARNING),
        ("replicas", State.WARNING),
    ]
    assert "is no standby" in found[1].found
    assert "cannot connect" in found[2].found
    assert all("secret" not in one.found for one in found)


async def test_without_replicas_nothing_is_said() -> None:
    assert await look_at_replicas(ClusterSettings(1, None, None, ())) == []
