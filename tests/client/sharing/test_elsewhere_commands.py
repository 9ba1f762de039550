"""Sharing with somebody on another server, by command."""

import pytest

from tests.client.sharing.people import Town


async def test_what_address_prints_is_what_invite_takes(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    plans, bobs = alice.folder("plans"), town.parent / "bobs"
    async with town.server():
        await alice.run("space", "create", plans)
        printed = (await bob.run("space", "address")).out.split()
        (told,) = await bob.told("space", "address")
        assert printed == ["--to", await bob.did(), "--mailbox", told["mailbox_id"]]
        assert (await alice.run("space", "invite", plans, *printed)).status == 0
        assert (await bob.run("space", "accept", bobs)).status == 0


async def test_without_federation_an_invitation_elsewhere_is_refused_in_words(town: Town) -> None:
    alice, bob = town.person("alice"), town.person("bob")
    plans = alice.folder("plans")
    async with town.server():
        await alice.run("space", "create", plans)
        address = (await bob.run("space", "address")).out.split()
        refused = await alice.run("space", "invite", plans, *address, "--at", "bobs.example")
    assert refused.status == 1
    assert "leaves no invitation at bobs.example: federation is not enabled on this server" in refused.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--to-user", "bob", "--at", "bobs.example"), "--to-user is a user of the server here"),
        (("--to", "d", "--mailbox", "m", "--home", "home.example"), "give --at too"),
        (("--to", "d", "--mailbox", "m", "--at", "no domain"), "--at names no server"),
    ],
)
async def test_options_that_do_not_go_together_are_refused(
    town: Town, words: tuple[str, ...], told: str
) -> None:
    alice = town.person("alice")
    refused = await alice.run("space", "invite", alice.folder("plans"), *words)
    assert (refused.status, told in " ".join(refused.err.split())) == (2, True), refused.err
