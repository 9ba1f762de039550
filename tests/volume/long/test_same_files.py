"""Our server and the real one take turns on the same files, and read the same in them."""

from pathlib import Path
from random import Random

import pytest

from tests.volume.cluster import Cluster, Kind
from tests.volume.life import Life

TURNS = 6
STEPS_IN_A_TURN = 70


@pytest.mark.parametrize("first", ["ours", "weed"])
@pytest.mark.parametrize("seed", range(4))
def test_a_directory_lives_under_both_servers_in_turns(first: Kind, seed: int, tmp_path: Path) -> None:
    volumes = {3: "", 4: "3d", 5: ""}
    life = Life(seed, volumes)
    with Cluster(tmp_path, first) as cluster:
        server = cluster.servers[0]
        cluster.allocate(3)
        cluster.allocate(4, ttl="3d")
        cluster.allocate(5, collection="pics_2")
        for turn in range(TURNS):
            life.live(cluster, server, STEPS_IN_A_TURN)
            before = life.readings(server)
            life.judge(before)
            if Random(f"{seed} {turn}").random() < 0.5:
                server.stop()
            else:
                server.kill()
            server.restart(kind="weed" if server.kind == "ours" else "ours")
            assert life.readings(server) == before
