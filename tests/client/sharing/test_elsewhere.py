"""Spaces whose home is another server: entering them through one's own, and what only the home does.

The own server is played, in what it answers to each request.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from less_sync.auth import Permission, b64url_encode
from less_sync.client.folder.access import ServerOption, TokenOptions
from less_sync.client.folder.errors import FolderError, ServerDown, UsageProblem
from less_sync.client.folder.shared import Rotation, SharedFile, SharedSpace
from less_sync.client.sharing.addresses import address_of
from less_sync.client.sharing.bundle import make_bundle, open_bundle
from less_sync.client.sharing.entering import join
from less_sync.client.sharing.people import accept, invite, list_mailbox
from less_sync.client.sharing.rotation import rotate_folder
from less_sync.client.sharing.session import Options, Output
from less_sync.client.sharing.spaces import Invitee, Revocation, invite_token, revoke
from less_sync.sync.protocol.codes import HOSTED_ELSEWHERE
from less_sync.sync.protocol.frames import Request
from tests.client.sharing.members import ROOT, ROOT_KEY, Member, chained, founder, joined, new_person, ucan
from tests.sync.scripted_server import Peer, hold, scripted

MAILBOX = "0" * 64
FORWARDED = {"id": "forwarded", "payload": "", "created_at": "", "expires_at": ""}
HOME = "home.example"
MADE = {"id": "", "key_generation": 1, "home_server": HOME}
AT_HOME_ALONE = ("bad_request", HOSTED_ELSEWHERE)

Answer = Mapping[str, object] | tuple[str, str]


@dataclass
class Script:
    """What the server answers in turn, and what it was asked: `asked` are names, `params` what came along."""

    answers: list[tuple[str, Answer]]
    asked: list[str] = field(default_factory=list)
    params: dict[str, dict[str, object]] = field(default_factory=dict)

    async def play(self, peer: Peer) -> None:
        await peer.welcome_by_token()
        for method, answer in self.answers:
            await self.answer(peer, await peer.request(method), answer)
        await hold(peer)

    async def answer(self, peer: Peer, request: Request, answer: Answer) -> None:
        self.asked.append(request.method)
        assert isinstance(request.params, dict)
        self.params[request.method] = request.params
        if isinstance(answer, tuple):
            await peer.refuse(request, *answer)
        else:
            await peer.answer(request, answer)


def shown(member: Member | SharedSpace) -> tuple[str, Answer]:
    shared = member.shared if isinstance(member, Member) else member
    return "subscribe", {"spaces": [{"id": str(shared.space), "cursor": 1, "key_generation": 1}]}


def not_shown(shared: SharedSpace, error: str = "forbidden") -> tuple[str, Answer]:
    return "subscribe", {"spaces": [], "errors": [{"space": str(shared.space), "error": error}]}


EMPTY_LOG = ("membership.list", {"entries": [], "metadata_version": 0})


def options_of(member: Member, url: str, parent: Path) -> Options:
    key = parent / f"{member.name}.pem"
    key.write_bytes(member.person.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    claims = b64url_encode(json.dumps({"did": member.person.did}).encode())
    return Options(ServerOption(url), TokenOptions(token=f"e30.{claims}.e30"), key)


def folder_of(member: Member) -> Path:
    return member.file.path.parent.parent


@dataclass
class Guest:
    """Somebody with nothing yet, and what was made for them."""

    member: Member
    bundle: str
    folder: Path

    @property
    def waiting(self) -> list[tuple[str, Answer]]:
        one = {"id": "one", "payload": self.bundle, "created_at": "", "expires_at": ""}
        return [("invitation.list", {"invitations": [one]}), ("invitation.list", {"invitations": []})]

    @property
    def shared(self) -> SharedSpace | None:
        return SharedFile(self.folder).load()


def guest(alice: Member, parent: Path, home: str = HOME) -> Guest:
    bob = Member("bob", new_person(), SharedFile(parent / "bob"))
    token = ucan(alice.shared.space, alice.person, bob.person, Permission.WRITE, alice.shared.ucan)
    known = msgspec.structs.replace(alice.shared, home=home)
    return Guest(bob, make_bundle(token, known, alice.person), parent / "bob")


@pytest.fixture
def alice(tmp_path: Path) -> Member:
    return founder(tmp_path)


@pytest.mark.parametrize("error", ["forbidden", "not_found"])
async def test_accepting_makes_a_space_of_another_server_known_at_ones_own(
    alice: Member, tmp_path: Path, error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bob = guest(alice, tmp_path)
    more = [not_shown(alice.shared, error), ("space.create", MADE), ("invitation.delete", {})]
    script = Script([*bob.waiting, *more])
    async with scripted(script.play) as server:
        options = options_of(bob.member, server.url, tmp_path)
        await accept(options, bob.folder, None, Output(as_json=True), force=False)
    assert script.params["space.create"] == {
        "id": str(alice.shared.space),
        "root_public_key": ROOT_KEY,
        "home_server": HOME,
    }
    assert bob.shared is not None
    assert (bob.shared.space, bob.shared.home) == (alice.shared.space, HOME)
    assert json.loads(capsys.readouterr().out)["event"] == "joined"


@pytest.mark.parametrize("home", ["", HOME])
async def test_a_space_that_ones_server_knows_is_not_made_known_again(
    alice: Member, tmp_path: Path, home: str
) -> None:
    bob = guest(alice, tmp_path, home)
    asked = [shown(alice)] if home else []
    script = Script([*bob.waiting, *asked, ("invitation.delete", {})])
    async with scripted(script.play) as server:
        options = options_of(bob.member, server.url, tmp_path)
        await accept(options, bob.folder, None, Output(as_json=True), force=False)
    assert bob.shared is not None
    assert (bob.shared.home, "space.create" in script.asked) == (home, False)


async def test_a_server_that_has_trouble_reaching_the_home_holds_nobody_up(
    alice: Member, tmp_path: Path
) -> None:
    bob = guest(alice, tmp_path)
    script = Script([*bob.waiting, not_shown(alice.shared, "internal"), ("invitation.delete", {})])
    async with scripted(script.play) as server:
        options = options_of(bob.member, server.url, tmp_path)
        await accept(options, bob.folder, None, Output(as_json=True), force=False)
    assert bob.shared is not None


async def test_a_space_that_is_known_by_then_is_entered(alice: Member, tmp_path: Path) -> None:
    bob = guest(alice, tmp_path)
    known = ("conflict", "space already exists")
    script = Script(
        [*bob.waiting, not_shown(alice.shared), ("space.create", known), ("invitation.delete", {})]
    )
    async with scripted(script.play) as server:
        options = options_of(bob.member, server.url, tmp_path)
        await accept(options, bob.folder, None, Output(as_json=True), force=False)
    assert bob.shared is not None


@pytest.mark.parametrize(
    ("answer", "raised", "words"),
    [
        (
            ("bad_request", "not trusted"),
            FolderError,
            f"your server takes no spaces from {HOME}: not trusted",
        ),
        (("internal", "failed"), ServerDown, "the server has trouble: failed"),
        ({"id": "", "key_generation": 1}, FolderError, "your server made an empty space of this id"),
    ],
)
async def test_where_ones_server_takes_no_such_space_nothing_is_entered_and_the_invitation_stays(
    alice: Member, tmp_path: Path, answer: Answer, raised: type[FolderError], words: str
) -> None:
    bob = guest(alice, tmp_path)
    script = Script([*bob.waiting, not_shown(alice.shared), ("space.create", answer)])
    async with scripted(script.play) as server:
        options = options_of(bob.member, server.url, tmp_path)
        with pytest.raises(raised, match=words):
            await accept(options, bob.folder, None, Output(as_json=True), force=False)
    assert (bob.shared, script.asked[-1]) == (None, "space.create")


async def test_the_home_can_be_named_by_who_enters(alice: Member, tmp_path: Path) -> None:
    bob = guest(alice, tmp_path, "inside.example")
    script = Script(
        [*bob.waiting, not_shown(alice.shared), ("space.create", MADE), ("invitation.delete", {})]
    )
    async with scripted(script.play) as server:
        options = options_of(bob.member, server.url, tmp_path)
        await accept(options, bob.folder, None, Output(as_json=True), force=False, home=f"https://{HOME}/")
    assert (script.params["space.create"]["home_server"], bob.shared and bob.shared.home) == (HOME, HOME)


async def test_who_joins_by_a_bundle_is_in_though_only_the_home_could_note_it(
    alice: Member, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bob = guest(alice, tmp_path)
    entering = Script([not_shown(alice.shared), ("space.create", MADE)])
    telling = Script([shown(alice), EMPTY_LOG, ("membership.append", AT_HOME_ALONE), shown(alice)])
    async with scripted(entering.play, telling.play) as server:
        options = options_of(bob.member, server.url, tmp_path)
        await join(options, bob.folder, bob.bundle, Output(as_json=False), force=False)
    assert bob.shared is not None
    assert (bob.shared.home, telling.asked[2]) == (HOME, "membership.append")
    assert "could not be told: this is done at the home of the space" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kept", "named", "sent"),
    [("", None, "127.0.0.1"), (HOME, None, HOME), (HOME, "https://Other.Example:443/", "other.example")],
)
async def test_an_invitation_to_another_server_says_where_the_space_is(
    alice: Member,
    tmp_path: Path,
    kept: str,
    named: str | None,
    sent: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    alice.file.update(lambda now: msgspec.structs.replace(now or alice.shared, home=kept))
    bob = new_person()
    script = Script([shown(alice), EMPTY_LOG, ("membership.append", {"chain_seq": 1, "metadata_version": 1})])
    invitation = Script([])

    async def act(peer: Peer) -> None:
        await peer.welcome_by_token()
        for method, answer in script.answers:
            await script.answer(peer, await peer.request(method), answer)
        payload = script.params["membership.append"]
        entry = {"chain_seq": 1, "prev_hash": b"", **{k: payload[k] for k in ("entry_hash", "payload")}}
        await script.answer(peer, await peer.request("subscribe"), shown(alice)[1])
        log = {"entries": [entry], "metadata_version": 1}
        await script.answer(peer, await peer.request("membership.list"), log)
        await invitation.answer(peer, await peer.request("invitation.create"), FORWARDED)
        await hold(peer)

    async with scripted(act) as server:
        address = address_of(bob.did, MAILBOX, "bobs.example", named)
        invitee = Invitee(bob.did, Permission.WRITE, 4_000_000_000)
        options = options_of(alice, server.url, tmp_path)
        await invite(options, folder_of(alice), invitee, address, Output(as_json=True))
    params = invitation.params["invitation.create"]
    assert (params["mailbox_id"], params["server"]) == (MAILBOX, "bobs.example")
    assert open_bundle(str(params["payload"]), bob).home == sent
    told = json.loads(capsys.readouterr().out)
    assert (told["at"], told["home"], told["expires_at"]) == ("bobs.example", sent, None)


def test_a_bundle_for_another_server_is_made_without_any(alice: Member, tmp_path: Path) -> None:
    bob = new_person()
    options, folder = options_of(alice, "ws://127.0.0.1:1", tmp_path), folder_of(alice)
    invitee = Invitee(bob.did, Permission.READ, 4_000_000_000)
    assert open_bundle(invite_token(options, folder, invitee), bob).home == ""
    assert open_bundle(invite_token(options, folder, invitee, home=HOME), bob).home == HOME
    with pytest.raises(UsageProblem, match="--home names no server"):
        invite_token(options, folder, invitee, home="not a domain")
    assert alice.shared.home == ""


Command = Callable[[Options, Path], object]


async def _invite(options: Options, folder: Path) -> None:
    did = new_person().did
    invitee = Invitee(did, Permission.READ, 4_000_000_000)
    await invite(options, folder, invitee, address_of(did, MAILBOX, None, None), Output(as_json=True))


async def _remove(options: Options, folder: Path) -> None:
    await rotate_folder(options, folder, [ROOT.did], Output(as_json=True))


async def _rotate(options: Options, folder: Path) -> None:
    await rotate_folder(options, folder, [], Output(as_json=True))


async def _revoke(options: Options, folder: Path) -> None:
    await revoke(options, folder, Revocation(cid="00" * 32), Output(as_json=True))


@pytest.mark.parametrize("rotation", [None, Rotation(from_epoch=1, remove=("did:key:z",))], ids=str)
@pytest.mark.parametrize(
    ("command", "refused"),
    [(_invite, "membership.append"), (_rotate, "membership.append"), (_revoke, "membership.revoke")],
)
async def test_what_only_the_home_does_is_said_in_words_and_changes_nothing_here(
    alice: Member, tmp_path: Path, command: Command, refused: str, rotation: Rotation | None
) -> None:
    bob = joined(tmp_path, "bob", alice, Permission.ADMIN)
    bob.file.update(lambda now: msgspec.structs.replace(now or bob.shared, rotation=rotation))
    before = bob.shared

    async def act(peer: Peer) -> None:
        answers = dict([shown(bob), EMPTY_LOG, (refused, AT_HOME_ALONE)])
        script = Script([])
        await peer.welcome_by_token()
        while True:
            request = await peer.any_request()
            await script.answer(peer, request, answers[request.method])

    async with scripted(act) as server:
        with pytest.raises(FolderError, match="this is done at the home of the space") as caught:
            await command(options_of(bob, server.url, tmp_path), folder_of(bob))  # type: ignore[misc]  # a coroutine
    assert "`push`, `pull` and `watch` work here" in caught.value.hint
    assert bob.shared == before


async def test_a_rotation_that_is_pending_at_the_home_is_not_asked_for_again_and_again(
    alice: Member, tmp_path: Path
) -> None:
    asked: list[str] = []
    space = {"id": str(alice.shared.space), "cursor": 1, "key_generation": 2, "rewrap_epoch": 2}
    key = alice.key_entry(2, bytes(32))
    (handed_out,) = chained((key, alice.person, alice.shared.keys))
    answers: dict[str, Answer] = {
        "subscribe": {"spaces": [space]},
        "membership.list": {"entries": [msgspec.structs.asdict(handed_out)], "metadata_version": 1},
        "deks.get": {"_chunks": 0},
        "file.deks.get": {"_chunks": 0},
        "epoch.complete": AT_HOME_ALONE,
    }

    async def act(peer: Peer) -> None:
        script = Script([])
        await peer.welcome_by_token()
        while True:
            request = await peer.any_request()
            asked.append(request.method)
            await script.answer(peer, request, answers[request.method])

    async with scripted(act) as server:
        with pytest.raises(FolderError, match="this is done at the home of the space"):
            await _rotate(options_of(alice, server.url, tmp_path), folder_of(alice))
    assert asked.count("epoch.complete") == 1
    assert alice.shared.rotation is None


async def test_the_list_of_invitations_names_the_home(
    alice: Member, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bob = guest(alice, tmp_path)
    async with scripted(Script(bob.waiting).play, Script(bob.waiting).play) as server:
        options = options_of(bob.member, server.url, tmp_path)
        await list_mailbox(options, Output(as_json=True))
        await list_mailbox(options, Output(as_json=False))
    as_json, words = capsys.readouterr().out.splitlines()
    assert json.loads(as_json)["home"] == HOME
    assert words.endswith(f"from {alice.person.did}, at {HOME}")
