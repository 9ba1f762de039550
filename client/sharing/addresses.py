"""Where an invitation goes: a person's DID and mailbox, and the servers that the two sides use."""

from dataclasses import dataclass

from less_sync.auth import encode_did_key
from less_sync.client.folder.access import server_url, tokens_from
from less_sync.client.folder.errors import UsageProblem
from less_sync.client.folder.identity import did_key_of, who_is
from less_sync.client.folder.run import as_folder_error
from less_sync.client.kept_key import KeyFileError
from less_sync.client.sharing.domains import domain_of
from less_sync.client.sharing.session import Options, Output
from less_sync.sync.client import SyncClientError


@dataclass(frozen=True, slots=True)
class Address:
    """Where to leave an invitation, and for whom.

    `server` is the domain of the mailbox's server if that is another one, and `home` that by which it knows
    the home of the space; empty: what the folder knows, else the server we use.
    """

    did: str
    mailbox_id: str
    server: str = ""
    home: str = ""

    def __repr__(self) -> str:
        return "Address()"


def dev_address(options: Options, user: str) -> Address:
    """DID and mailbox of a user of the dev server.

    Raises:
        UsageProblem: this is no data directory of a dev server, or no user's name.
    """
    issuer = options.tokens.issuer
    if issuer is None:
        raise UsageProblem(
            f"{options.tokens.data_dir} is no data directory of a server in dev mode",
            "--to and --mailbox name somebody elsewhere",
        )
    try:
        return Address(encode_did_key(issuer.key(user).public_key()), issuer.mailbox_id(user))
    except (KeyFileError, ValueError) as error:
        raise UsageProblem(str(error)) from error


def address_of(did: str, mailbox_id: str, at: str | None, home: str | None) -> Address:
    """What the options of `invite` say.

    Raises:
        UsageProblem: one of the servers is no domain.
    """
    server = "" if at is None else domain_of(at, "--at")
    return Address(did, mailbox_id, server, "" if home is None else domain_of(home, "--home"))


async def tell_address(options: Options, output: Output) -> None:
    """Tell our DID and mailbox as `invite` takes them.

    Raises:
        FolderError: no token, or the server cannot be asked.
        UsageProblem: we have no DID or no mailbox.
    """
    url = server_url(options.server)
    try:
        token = await tokens_from(options.tokens).source()
        who = await who_is(url, token, did_key_of(options.did_key_file, options.tokens))
    except SyncClientError as error:
        raise as_folder_error(error, url) from error
    if not who.did or not who.mailbox:
        raise UsageProblem(
            "this token has no DID, or no mailbox",
            "its `did` and `mailbox_id` are needed; where tokens have none, --did-key-file names a key",
        )
    text = f"--to {who.did} --mailbox {who.mailbox}"
    output.tell("address", text, did=who.did, mailbox_id=who.mailbox)
