"""The reporter against a plane on a real socket: what it says, what it keeps, what it bears."""

import json
import os
import ssl
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from less_sync.client.durable import replace
from less_sync.fleet.reporter.client import ANSWER_BYTES_MAX, REQUEST_S_MAX, Plane
from less_sync.fleet.reporter.report import Report
from less_sync.fleet.reporter.reporter import Served
from less_sync.fleet.reporter.state import LOCK_FILE, STATE_FILE
from tests.fleet.reported import ENROLMENT, IMPATIENT_S, running, small_report, state_file
from tests.fleet.stub_plane import (
    AGENT,
    HEARTBEAT,
    REGISTER,
    Behaviour,
    StubPlane,
    babble,
    hang,
    hang_up,
    never_begin,
    never_end,
    says,
    status,
    stub_plane,
)
from tests.sync.tls import self_signed

TAKEN = b'{"heartbeat_interval_seconds":60}'
"""All that an answer to a heartbeat must have."""
AWAY = "the fleet plane does not hear of this server"
AGAIN = "the fleet plane hears of this server again"


@pytest.fixture
async def plane() -> AsyncIterator[StubPlane]:
    async with stub_plane() as found:
        yield found


def kept(directory: Path) -> Any:
    return json.loads((directory / STATE_FILE).read_bytes())


async def test_it_registers_once_and_beats_on(plane: StubPlane, tmp_path: Path) -> None:
    async with running(plane, tmp_path) as one:
        assert await one.clock.wait_s() == 0
        for _ in range(3):
            assert 48 <= await one.clock.next_wait_s() <= 72
        (registration,) = plane.registrations
        assert (registration.method, registration.target) == ("POST", REGISTER)
        assert registration.credential == ENROLMENT
        assert registration.json == {
            "instance_id": kept(tmp_path)["instance_id"],
            "name": "one",
            "kind": "sync",
            "hostname": "host",
            "os": "linux",
            "arch": "amd64",
            "version": "1.2.3",
            "labels": {"a": "b"},
        }
        assert [beat["sequence"] for beat in plane.beats] == [1, 2, 3]
        assert {asked.credential for asked in plane.asked[1:]} == set(plane.tokens)
        assert len({beat["boot_id"] for beat in plane.beats}) == 1
        assert list(plane.beats[0]) == [
            *("sequence", "boot_id", "version", "uptime_seconds", "sent_at", "report")
        ]
        assert plane.beats[0]["sent_at"] == "2026-01-01T00:00:00.000Z"
        assert 54 <= plane.beats[1]["uptime_seconds"] <= 66
        assert plane.beats[0]["report"]["connections"] == 3
        assert list(plane.beats[0]["report"]) == list(Report.__struct_fields__)
        standing = one.reporter.standing
        assert (standing.beaten, standing.failed, standing.connected) == (3, 0, True)
    assert [beat["report"]["stopping"] for beat in plane.beats] == [False, False, False, True]
    assert stat.S_IMODE((tmp_path / STATE_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / LOCK_FILE).stat().st_mode) == 0o600


async def test_after_a_restart_it_is_known_and_boots_anew(plane: StubPlane, tmp_path: Path) -> None:
    for _ in range(2):
        async with running(plane, tmp_path, enrolment_token=None if plane.asked else ENROLMENT) as one:
            await one.clock.wait_s()
            await one.clock.next_wait_s()
    assert len(plane.registrations) == 1
    boots = [beat["boot_id"] for beat in plane.beats]
    assert len(set(boots)) == 2
    sequences = {boot: [b["sequence"] for b in plane.beats if b["boot_id"] == boot] for boot in boots}
    assert all(found == list(range(1, len(found) + 1)) for found in sequences.values())


async def test_the_minimal_report_tells_of_life_and_disk_alone(plane: StubPlane, tmp_path: Path) -> None:
    async with running(plane, tmp_path, minimal=True) as one:
        await one.clock.wait_s()
        await one.clock.next_wait_s()
    report = plane.beats[0]["report"]
    assert list(report) == list(Report.__struct_fields__)
    told = {name: value for name, value in report.items() if value is not None}
    assert told == {"disk_total_bytes": 10, "disk_free_ratio": 0.5, "draining": False, "stopping": False}


async def test_the_minimal_report_tells_that_a_server_drains(plane: StubPlane, tmp_path: Path) -> None:
    async def snapshot() -> Report:
        return Report(connections=1, draining=True)

    async with running(plane, tmp_path, minimal=True, snapshot=snapshot) as one:
        await one.clock.wait_s()
        await one.clock.next_wait_s()
    told = [(beat["report"]["draining"], beat["report"]["connections"]) for beat in plane.beats]
    assert told == [(True, None)] * 2


async def test_the_shortest_and_the_longest_answer_are_taken(plane: StubPlane, tmp_path: Path) -> None:
    plane.next += [plane.usual, *(status(200, body=body) for body in (TAKEN, TAKEN.ljust(ANSWER_BYTES_MAX)))]
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        for _ in range(2):
            assert await one.clock.next_wait_s() > 40
        assert one.reporter.standing.failed == 0


async def test_a_wanted_interval_is_taken_over_within_bounds(plane: StubPlane, tmp_path: Path) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        for told, least_s, most_s in ((5, 4, 6), (-1, 4, 6), (10**9, 3240, 3960), (30, 27, 33)):
            plane.next.append(says(heartbeat_interval_seconds=told))
            assert least_s <= await one.clock.next_wait_s() <= most_s


# A plane that does not answer as it should.


def redirect(plane: StubPlane) -> Behaviour:
    return status(302, f"Location: {plane.url}/elsewhere")


@pytest.mark.parametrize(
    "behaviour",
    [
        *(hang, hang_up, babble, never_begin, never_end, redirect),
        *(status(number) for number in (204, 301, 400, 500, 502)),
        *(status(200, body=body) for body in (b"no json", b"[]", b"\xff", TAKEN.ljust(ANSWER_BYTES_MAX + 1))),
        status(302, body=TAKEN),
        status(200, body=b'{"heartbeat_interval_seconds":"x"}'),
        status(200, "Content-Encoding: gzip", body=b"\x1f\x8b"),
    ],
)
async def test_whatever_is_wrong_is_told_once_and_tried_again(
    behaviour: Any, plane: StubPlane, tmp_path: Path
) -> None:
    if behaviour is redirect:
        behaviour = redirect(plane)
    patience_s = IMPATIENT_S if behaviour is hang else REQUEST_S_MAX
    async with running(plane, tmp_path, request_s_max=patience_s) as one:
        await one.clock.wait_s()
        await one.clock.next_wait_s()
        plane.always = behaviour
        waits = [await one.clock.next_wait_s() for _ in range(3)]
        assert all(0 <= wait_s <= 2**n for n, wait_s in enumerate(waits))
        assert one.log.of("warning") == [AWAY]
        standing = one.reporter.standing
        assert (standing.failed, standing.connected) == (3, False)
        plane.always = None
        assert await one.clock.next_wait_s() > 4
        assert one.log.of("info")[-1] == AGAIN
        assert (standing.failed, standing.connected) == (3, True)
        plane.next.append(status(500))
        assert await one.clock.next_wait_s() <= 1, "the first of a row again"
    assert all("elsewhere" not in asked.target for asked in plane.asked)
    # What was tried is not sent later: one heartbeat a try, each with a number of its own.
    assert [beat["sequence"] for beat in plane.beats] == list(range(1, len(plane.beats) + 1))


@pytest.mark.parametrize("behaviour", [never_begin, never_end])
async def test_an_answer_without_end_is_given_up_by_its_size(
    behaviour: Behaviour, plane: StubPlane, tmp_path: Path
) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        plane.next.append(behaviour)
        await one.clock.next_wait_s()
        assert one.log.told[-1][2]["reason"] == "the answer is too long"


async def test_nobody_listens(tmp_path: Path) -> None:
    async with stub_plane() as gone:
        pass
    async with running(gone, tmp_path) as one:
        for _ in range(5):
            await (one.clock.next_wait_s() if one.log.told else one.clock.wait_s())
        assert one.log.of("warning") == [AWAY]
    async with stub_plane(port=int(gone.url.rpartition(":")[2])) as back, running(back, tmp_path) as one:
        await one.clock.wait_s()
        await one.clock.next_wait_s()
        assert len(back.beats) == 1


@pytest.mark.parametrize("number", [429, 503])
@pytest.mark.parametrize(
    ("told", "least_s"),
    [
        ("Retry-After: 120", 120),
        ("Retry-After: Thu, 01 Jan 2026 00:02:00 GMT", 50),
        ("retry-after: 99999999999999999999", 3600),
        ("Retry-After: Thu, 01 Jan 2099 00:02:00 GMT", 3600),
    ],
)
async def test_a_plane_says_when_to_come_again(
    number: int, told: str, least_s: float, plane: StubPlane, tmp_path: Path
) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        await one.clock.next_wait_s()
        plane.next.append(status(number, told))
        assert least_s <= await one.clock.next_wait_s() <= 3600


@pytest.mark.parametrize(
    "told",
    [
        *("Retry-After: -1", "Retry-After: soon", "Retry-After: \xb2", "Retry-After:"),
        f"Retry-After: Thu, 01 Jan {'9' * 20} 00:02:00 GMT",
    ],
)
async def test_a_senseless_wish_is_passed_over(told: str, plane: StubPlane, tmp_path: Path) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        plane.next.append(status(429, told))
        assert await one.clock.next_wait_s() <= 1


@pytest.mark.parametrize("number", [401, 404])
async def test_who_is_not_known_any_more_registers_again(
    number: int, plane: StubPlane, tmp_path: Path
) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        await one.clock.next_wait_s()
        one.clock.now_s += 1000
        plane.next.append(status(number))
        assert await one.clock.next_wait_s() == 0
        assert await one.clock.next_wait_s() == 0
        assert len(plane.registrations) == 2
        await one.clock.next_wait_s()
        assert plane.asked[-1].credential == plane.tokens[1]
        assert kept(tmp_path)["token"] == plane.tokens[1]
        # The same once more: not so soon.
        plane.next.append(status(number))
        assert await one.clock.next_wait_s() == 0
        wait_s = await one.clock.next_wait_s()
        assert 200 < wait_s < 300
        assert len(plane.registrations) == 2
        assert await one.clock.next_wait_s() == 0
        assert len(plane.registrations) == 3


async def test_a_spent_enrolment_is_tried_every_five_minutes_and_the_old_token_too(
    plane: StubPlane, tmp_path: Path
) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        await one.clock.next_wait_s()
        one.clock.now_s += 1000
        plane.always = status(401)
        before = len(plane.asked)
        waits = [await one.clock.next_wait_s() for _ in range(6)]
        assert waits == [0, 300] * 3
        targets = [asked.target for asked in plane.asked[before:]]
        assert targets == [HEARTBEAT, REGISTER] * 3
        assert one.log.of("warning") == [AWAY]
        plane.always = None
        await one.clock.next_wait_s()
        assert plane.asked[-1].credential == plane.tokens[0], "of a plane whose database was put back"


async def test_without_an_enrolment_token_the_old_one_is_tried_now_and_then(
    plane: StubPlane, tmp_path: Path
) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
    async with running(plane, tmp_path, enrolment_token=None) as one:
        await one.clock.wait_s()
        plane.always = status(401)
        assert await one.clock.next_wait_s() == 300
        assert await one.clock.next_wait_s() == 300
        assert len(plane.registrations) == 1


async def test_the_first_registration_is_refused(plane: StubPlane, tmp_path: Path) -> None:
    plane.next += [status(401), status(403), status(503), status(201, body=b'{"agent_id":"/../x"}'), hang_up]
    async with running(plane, tmp_path) as one:
        assert await one.clock.wait_s() == 300
        assert await one.clock.next_wait_s() == 900
        assert [await one.clock.next_wait_s() <= bound for bound in (1, 2, 4)] == [True] * 3
        assert await one.clock.next_wait_s() == 0
        assert plane.beats == []
        assert {asked.json["instance_id"] for asked in plane.asked} == {kept(tmp_path)["instance_id"]}


async def test_who_is_forbidden_waits(plane: StubPlane, tmp_path: Path) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        plane.next.append(status(403))
        assert await one.clock.next_wait_s() == 900


async def test_a_retired_server_stops_for_good_and_says_so(plane: StubPlane, tmp_path: Path) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        await one.clock.next_wait_s()
        plane.next.append(status(410))
        one.clock.go()
        await one.ended()
        assert one.log.of("error") == ["the fleet plane has retired this server, which reports no more"]
        asked = len(plane.asked)
    assert len(plane.asked) == asked, "no farewell"


# What is wanted.


async def test_it_drains_and_resumes_when_that_changes_and_only_then(
    plane: StubPlane, tmp_path: Path
) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        await one.clock.next_wait_s()
        assert one.drains == [], "what an operator does here stands while nothing else is wanted"
        for state in ("draining", "draining", "?", None, "serving", "serving", "draining"):
            plane.desired = {"state": state, "version": None}
            await one.clock.next_wait_s()
        assert one.drains == ["drain", "resume", "drain"]


async def test_a_drain_that_fails_is_tried_again_and_told_once(plane: StubPlane, tmp_path: Path) -> None:
    tries: list[int] = []

    async def drain() -> None:
        tries.append(len(tries))
        if len(tries) < 3:
            raise RuntimeError("no")

    plane.desired = {"state": "draining"}
    async with running(plane, tmp_path, served=Served(small_report, drain)) as one:
        await one.clock.wait_s()
        for _ in range(5):
            await one.clock.next_wait_s()
        assert tries == [0, 1, 2]
        assert one.log.of("warning") == [
            "what the fleet plane wants cannot be done",
            "the fleet plane drains this server",
        ]
        assert one.reporter.standing.connected


async def test_a_wanted_version_is_kept_and_told_once(plane: StubPlane, tmp_path: Path) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        for version in ("1.3.0", "1.3.0", "1.3.0-rc.1"):
            plane.desired = {"state": "serving", "version": version}
            await one.clock.next_wait_s()
            assert one.reporter.standing.desired_version == version
            assert kept(tmp_path)["desired_version"] == version
        assert one.log.of("info").count("the fleet plane wants a version") == 2
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        assert one.reporter.standing.desired_version == "1.3.0-rc.1"
        for other in ({"x": 1}, 7, "latest", "1.2.3\nERROR", "1." + "9" * 70 + ".0"):
            plane.desired = {"state": "serving", "version": other}
            await one.clock.next_wait_s()
            assert one.reporter.standing.desired_version is None


async def test_a_token_is_exchanged_when_that_is_asked_for(plane: StubPlane, tmp_path: Path) -> None:
    rotate = says(commands=[{"type": "rotate_token"}])
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        plane.next += [rotate, hang_up, rotate, status(401), rotate]
        for _ in range(2):
            await one.clock.next_wait_s()
            assert kept(tmp_path)["token"] == plane.tokens[0], "while there is no new one"
        assert one.log.of("warning") == ["what the fleet plane wants cannot be done"]
        await one.clock.next_wait_s()
        asked = plane.registrations[-1]
        assert (asked.target, asked.credential) == (f"{REGISTER}?rotate=1", plane.tokens[0])
        assert kept(tmp_path)["token"] == plane.tokens[1] != plane.tokens[0]
        await one.clock.next_wait_s()
        assert plane.asked[-1].credential == plane.tokens[1]
        other = {"agent_id": "6f1b1a52-6a3c-4f0e-9d6e-0d6a4f1f2a34", "token": "lsa_x"}
        body = json.dumps(other | {"heartbeat_interval_seconds": 60}).encode()
        plane.next += [rotate, status(200, body=body)]
        await one.clock.next_wait_s()
        assert kept(tmp_path)["token"] == plane.tokens[1], "not that of another agent"


async def test_what_is_not_known_is_passed_over(plane: StubPlane, tmp_path: Path) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        plane.next.append(says(commands=[{"type": "explode"}, 7, None, {"type": ["rotate_token"]}], more={}))
        assert await one.clock.next_wait_s() > 4
        assert len(plane.registrations) == 1
        assert one.log.of("warning") == []


# The state, and who may use it.


async def test_one_directory_has_one_reporter_and_the_next_takes_over(
    plane: StubPlane, tmp_path: Path
) -> None:
    async with running(plane, tmp_path) as first:
        await first.clock.wait_s()
        await first.clock.next_wait_s()
        async with running(plane, tmp_path) as second:
            assert await second.clock.wait_s() == 10
            assert await second.clock.next_wait_s() == 10
            assert len(second.log.of("warning")) == 1
            assert len(plane.beats) == 1
            await first.stop()
            await second.clock.next_wait_s()
            assert [beat["boot_id"] == plane.beats[0]["boot_id"] for beat in plane.beats] == [
                True,
                True,
                False,
            ]
    assert len(plane.registrations) == 1


async def test_a_copied_directory_is_another_process_of_the_same_identity(
    plane: StubPlane, tmp_path: Path
) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / STATE_FILE).write_bytes((tmp_path / STATE_FILE).read_bytes())
        async with running(plane, copy) as other:
            await other.clock.wait_s()
            await one.clock.next_wait_s()
            assert len({beat["boot_id"] for beat in plane.beats}) == 2, "by this the plane tells"
            assert {asked.credential for asked in plane.asked[1:]} == {plane.tokens[0]}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"instance_id":"x"}', b'{"instance_id":7}', b"\xff", b'{"plane":"http://h"}'],
)
async def test_a_damaged_state_is_told_of_and_left_alone(
    content: bytes, plane: StubPlane, tmp_path: Path
) -> None:
    (tmp_path / STATE_FILE).write_bytes(content)
    async with running(plane, tmp_path) as one:
        await one.ended()
        ((_, message, told),) = one.log.told
        assert message == "this server does not report to its fleet plane"
        assert f"{tmp_path / STATE_FILE} is damaged" in str(told["reason"])
    assert (tmp_path / STATE_FILE).read_bytes() == content
    assert plane.asked == []


async def test_a_state_that_cannot_be_read_or_a_directory_that_is_gone(
    plane: StubPlane, tmp_path: Path
) -> None:
    (tmp_path / STATE_FILE).mkdir()
    for directory, reason in (
        (tmp_path, f"cannot read {tmp_path / STATE_FILE}: "),
        (tmp_path / "gone", f"cannot open {tmp_path / 'gone' / LOCK_FILE}: "),
    ):
        async with running(plane, directory) as one:
            await one.ended()
            assert str(one.log.told[0][2]["reason"]).startswith(reason)
    assert plane.asked == []


async def test_a_full_disk_costs_the_memory_of_the_token_and_no_heartbeat(
    plane: StubPlane, tmp_path: Path
) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
    (tmp_path / STATE_FILE).write_bytes(msgspec.json.encode({"instance_id": AGENT}))

    room = False

    def write(path: Path, content: bytes) -> None:
        if not room:
            raise OSError(28, "No space left on device")
        replace(path, content)

    async with running(plane, tmp_path, state=state_file(tmp_path, replace=write)) as one:
        await one.clock.wait_s()
        for _ in range(2):
            await one.clock.next_wait_s()
            assert plane.asked[-1].credential == plane.tokens[-1]
        assert one.log.of("warning") == ["what the fleet plane said is not kept"]
        assert kept(tmp_path) == {"instance_id": AGENT}
        room = True
        await one.clock.next_wait_s()
        assert kept(tmp_path)["token"] == plane.tokens[-1], "kept once there is room"


async def test_a_token_is_shown_to_the_plane_alone_that_gave_it(plane: StubPlane, tmp_path: Path) -> None:
    async with running(plane, tmp_path) as one:
        await one.clock.wait_s()
    async with stub_plane() as other, running(other, tmp_path) as one:
        await one.clock.wait_s()
        await one.clock.next_wait_s()
        assert [asked.credential for asked in other.asked] == [ENROLMENT, other.tokens[0]]
        assert other.registrations[0].json["instance_id"] == plane.registrations[0].json["instance_id"]


async def test_who_was_never_registered_needs_an_enrolment_token(plane: StubPlane, tmp_path: Path) -> None:
    async with running(plane, tmp_path, enrolment_token=None) as one:
        await one.ended()
        assert one.log.of("error") == ["this server does not report to its fleet plane"]
    assert plane.asked == []


async def test_a_fault_of_the_figures_is_told_once_and_ends_nothing(plane: StubPlane, tmp_path: Path) -> None:
    broken = True

    async def snapshot() -> Report:
        if broken:
            raise ZeroDivisionError
        return await small_report()

    async with running(plane, tmp_path, snapshot=snapshot) as one:
        await one.clock.wait_s()
        for _ in range(3):
            assert await one.clock.next_wait_s() > 4
        assert (one.log.of("warning"), plane.beats) == ([AWAY], [])
        broken = False
        await one.clock.next_wait_s()
        assert len(plane.beats) == 1


async def test_a_farewell_that_nobody_takes_raises_nothing_and_gives_the_lock_back(
    plane: StubPlane, tmp_path: Path
) -> None:
    async with running(plane, tmp_path, request_s_max=IMPATIENT_S) as one:
        await one.clock.wait_s()
        await one.clock.next_wait_s()
        plane.always = hang
        await one.stop()
        assert one.log.of("info")[-1] == "the fleet plane was not told that this server stops"
    again = state_file(tmp_path)
    assert again.take()
    again.give_back()


def https(plane: StubPlane, tls: ssl.SSLContext | None = None, request_s_max: float = REQUEST_S_MAX) -> Plane:
    """A client that believes one authority, or those of the system."""
    url, trusted = plane.url.replace("http:", "https:"), tls or ssl.create_default_context()
    return Plane(url, version="1", tls=lambda: trusted, request_s_max=request_s_max)


async def test_a_certificate_has_to_be_of_an_authority_that_is_believed(tmp_path: Path) -> None:
    tls, trusting = self_signed("127.0.0.1")
    async with stub_plane(tls=tls) as plane:
        async with running(https(plane), tmp_path) as one:
            await one.clock.wait_s()
            assert "CERTIFICATE_VERIFY_FAILED" in str(one.log.told[0][2]["reason"])
        assert plane.asked == []
        async with running(https(plane, trusting), tmp_path) as one:
            await one.clock.wait_s()
            await one.clock.next_wait_s()
        assert len(plane.beats) == 2


async def test_a_plane_that_hangs_in_the_handshake_costs_no_open_file(
    plane: StubPlane, tmp_path: Path
) -> None:
    async with running(https(plane, request_s_max=IMPATIENT_S), tmp_path) as one:
        await one.clock.wait_s()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(2):
            await one.clock.next_wait_s()
        assert len(os.listdir("/proc/self/fd")) <= before + 1
        assert one.log.of("warning") == [AWAY]
    assert plane.asked == []
