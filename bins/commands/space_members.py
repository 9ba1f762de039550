"""The commands `space address|members|invite|accept|rotate|presence|send`.

What they need is imported when they run.
"""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from less_sync.bins.commands.exit_codes import WORDS, exit_codes
from less_sync.bins.commands.folder import (
    DATA_DIR,
    DataDir,
    DidKeyFile,
    Insecure,
    Json,
    Server,
    Token,
    TokenCommand,
    TokenFile,
    User,
    run_verb,
)
from less_sync.bins.commands.space_options import (
    HERE,
    ON_THE_SERVER,
    Force,
    Home,
    PermissionName,
    SharedFolder,
    options_of,
    run,
    seconds,
)
from less_sync.client.folder.errors import ExitCode

if TYPE_CHECKING:
    from less_sync.client.sharing.session import Output


def add_member_commands(space: typer.Typer) -> None:
    """Add the commands about the people of a space."""
    for command, codes in (
        (address, ON_THE_SERVER - {ExitCode.DISK_FULL, ExitCode.FOLDER_BUSY, ExitCode.ACCESS_LOST}),
        (members, ON_THE_SERVER),
        (invite, ON_THE_SERVER),
        (accept, WORDS),
        (rotate, ON_THE_SERVER | {ExitCode.KEY_MISMATCH}),
        (presence, ON_THE_SERVER),
        (send, ON_THE_SERVER),
    ):
        space.command(epilog=exit_codes(*codes))(command)


def address(
    *,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    did_key_file: DidKeyFile = None,
    json: Json = False,
) -> None:
    """Print your DID and mailbox, for who invites you.

    As options of `invite`: the mailbox is on the server that the token is for. The server is asked only if
    the token does not name them.
    """
    from less_sync.client.sharing.addresses import tell_address

    options = options_of((server, insecure), (token, token_file, token_command, user, data_dir), did_key_file)

    async def work(output: "Output") -> None:
        await tell_address(options, output)

    run(work, as_json=json)


def members(
    folder: SharedFolder = HERE,
    *,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    did_key_file: DidKeyFile = None,
    json: Json = False,
) -> None:
    """List who is in a space, by its membership log."""
    from less_sync.client.sharing import people

    options = options_of((server, insecure), (token, token_file, token_command, user, data_dir), did_key_file)

    async def work(output: "Output") -> None:
        await people.members(options, folder, output)

    run(work, as_json=json)


def invite(
    folder: SharedFolder = HERE,
    *,
    to: Annotated[
        str | None, typer.Option(metavar="DID", help="Whom: what `less-sync key did` printed there.")
    ] = None,
    mailbox: Annotated[
        str | None, typer.Option(metavar="HEX", help="Their mailbox: the `mailbox_id` of their tokens.")
    ] = None,
    to_user: Annotated[
        str | None, typer.Option(metavar="NAME", help="Instead of both: a user of the dev server here.")
    ] = None,
    permission: Annotated[PermissionName, typer.Option(help="What they may do.")] = PermissionName.WRITE,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long: 90m, 24h, 90d.")] = "90d",
    at: Annotated[
        str | None,
        typer.Option(metavar="DOMAIN", help="Their server, as yours knows it, if it is another one."),
    ] = None,
    home: Home = None,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    did_key_file: DidKeyFile = None,
    json: Json = False,
) -> None:
    """Let somebody in by an invitation in their mailbox.

    Makes the same bundle as `invite-token` and leaves it in the person's mailbox on the server, for a week.
    They enter with `accept`. The members hear of it at once, so the next key reaches the person whoever makes
    it. With --at the mailbox is on another server, which must trust yours; it uses the space from there.
    """
    from less_sync.auth import Permission
    from less_sync.client.sharing import addresses, people
    from less_sync.client.sharing.spaces import Invitee

    named = to is not None and mailbox is not None and to_user is None
    if not named and (to_user is None or to is not None or mailbox is not None):
        raise typer.BadParameter("give --to and --mailbox, or --to-user")
    if at is not None and to_user is not None:
        raise typer.BadParameter("--to-user is a user of the server here: with --at give --to and --mailbox")
    if home is not None and at is None:
        raise typer.BadParameter("--home is for somebody on another server: give --at too")
    options = options_of((server, insecure), (token, token_file, token_command, user, data_dir), did_key_file)
    expires_at = int(time.time()) + seconds(expires)

    async def work(output: "Output") -> None:
        if to_user is not None:
            address = addresses.dev_address(options, to_user)
        else:
            address = addresses.address_of(to or "", mailbox or "", at, home)
        invitee = Invitee(address.did, Permission[permission.name], expires_at)
        await people.invite(options, folder, invitee, address, output)

    run(work, as_json=json)


def accept(
    folder: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Where to; without it, list what waits.")
    ] = None,
    *,
    invitation: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Which invitation, if several spaces wait.")
    ] = None,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    did_key_file: DidKeyFile = None,
    force: Force = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Enter a space by an invitation in your mailbox.

    Binds the folder to the space and pulls, as `join` does with a bundle that you were sent, and removes the
    invitation. Without a folder it lists what waits. A space of another server is used through yours, if its
    operator trusts that server.
    """
    from less_sync.client.sharing import people

    tokens = (token, token_file, token_command, user, data_dir)
    options = options_of((server, insecure), tokens, did_key_file)

    async def work(output: "Output") -> None:
        if folder is None:
            await people.list_mailbox(options, output)
        else:
            await people.accept(options, folder, invitation, output, force=force, home=home)

    run(work, as_json=json, goes_on=folder is not None)
    if folder is not None:
        run_verb("pull", folder, (server, insecure), tokens, None, did_key_file, json=json)


def rotate(
    folder: SharedFolder = HERE,
    *,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="DID", help="Revoke all tokens of this member first.")
    ] = None,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    did_key_file: DidKeyFile = None,
    json: Json = False,
) -> None:
    """Give a space a new key; remove members.

    The key is known to the present members alone, with --remove to all but these. If it was interrupted, run
    it again: it goes on where it stopped.
    """
    from less_sync.client.sharing.rotation import rotate_folder

    options = options_of((server, insecure), (token, token_file, token_command, user, data_dir), did_key_file)

    async def work(output: "Output") -> None:
        await rotate_folder(options, folder, remove or (), output)

    run(work, as_json=json)


def presence(
    folder: SharedFolder = HERE,
    *,
    say: Annotated[str, typer.Option(metavar="TEXT", help="What the others see beside your DID.")] = "",
    once: Annotated[
        bool, typer.Option("--once", help="Tell who is there and end, without being there.")
    ] = False,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    did_key_file: DidKeyFile = None,
    json: Json = False,
) -> None:
    """Be present in a space, and see who else is.

    Tells what they `send`, too, until Ctrl-C.
    """
    from less_sync.client.sharing import presence as room

    options = options_of((server, insecure), (token, token_file, token_command, user, data_dir), did_key_file)

    async def work(output: "Output") -> None:
        await room.presence(options, folder, say, output, once=once)

    run(work, as_json=json, until_stopped=True)


def send(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say.")],
    folder: SharedFolder = HERE,
    *,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    did_key_file: DidKeyFile = None,
    json: Json = False,
) -> None:
    """Send a text to whoever is present now.

    That is who runs `presence`. It is stored nowhere.
    """
    from less_sync.client.sharing import presence as room

    options = options_of((server, insecure), (token, token_file, token_command, user, data_dir), did_key_file)

    async def work(output: "Output") -> None:
        await room.send(options, folder, text, output)

    run(work, as_json=json)
