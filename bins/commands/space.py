"""The commands `space ...`. What they need is imported when they run."""

import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from less_sync.bins.commands.exit_codes import WORDS, exit_codes
from less_sync.bins.commands.folder import (
    DATA_DIR,
    DataDir,
    DidKeyFile,
    Insecure,
    Json,
    KeyFile,
    Server,
    Token,
    TokenCommand,
    TokenFile,
    User,
)
from less_sync.bins.commands.space_members import add_member_commands
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
    text_of,
)
from less_sync.client.folder.errors import INTERRUPTED, ExitCode
from less_sync.client.folder.paths import STATE_DIR

if TYPE_CHECKING:
    from less_sync.client.sharing.session import Output

    Work = Callable[[Output], Awaitable[int | None]]


HELP: Final = """Share a folder with other people.

A token lets one person into a space: to read, to write, or to administer it. A bundle is the one line of text
that carries a token and the keys of the space, encrypted for that person. An invitation is a bundle that
waits in the person's mailbox on the server.
"""


def add_space_commands(app: typer.Typer) -> None:
    """Add the group `space` to the umbrella command."""
    space = typer.Typer(
        name="space",
        help=HELP,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    in_the_folder = {
        ExitCode.OK,
        ExitCode.FAILURE,
        ExitCode.USAGE,
        ExitCode.DISK_FULL,
        ExitCode.FOLDER_BUSY,
        INTERRUPTED,
    }
    answers = {ExitCode.OK, ExitCode.FAILURE, ExitCode.USAGE, ExitCode.ACCESS_LOST, INTERRUPTED}
    for command, codes in (
        (create, ON_THE_SERVER - {ExitCode.ACCESS_LOST}),
        (invite_token, in_the_folder),
        (join, WORDS),
        (recover, in_the_folder | {ExitCode.KEY_MISMATCH}),
        (revoke, ON_THE_SERVER),
        (explain, answers),
    ):
        space.command(epilog=exit_codes(*codes))(command)
    add_member_commands(space)
    app.add_typer(space)


def create(
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
    key_file: KeyFile = None,
    json: Json = False,
) -> None:
    """Make a shared space out of a folder.

    `push`, `pull` and `watch` then use that space. Its root key is kept beside your key file. Nothing is
    pushed yet.
    """
    from less_sync.client.folder.keyfile import default_key_path
    from less_sync.client.sharing import spaces

    options = options_of((server, insecure), (token, token_file, token_command, user, data_dir), did_key_file)
    keys_dir = (key_file or default_key_path()).parent

    async def work(output: "Output") -> None:
        await spaces.create(options, folder, keys_dir, output)
        output.hint("`less-sync push` sends what is in it, `less-sync space invite-token` lets others in")

    run(work, as_json=json)


def invite_token(
    folder: SharedFolder = HERE,
    *,
    to: Annotated[str, typer.Option(metavar="DID", help="Whom: what `less-sync key did` printed there.")],
    permission: Annotated[PermissionName, typer.Option(help="What they may do.")] = PermissionName.WRITE,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long: 90m, 24h, 90d.")] = "90d",
    home: Home = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    did_key_file: DidKeyFile = None,
    json: Json = False,
) -> None:
    """Let somebody in by a bundle that you send them.

    Prints the bundle: a token for their DID and the keys of the space, which nobody else can use. They enter
    with `join`. A token never outlives yours. Needs no server, so the members hear of it only when the person
    joins; `invite` tells them at once, and leaves the bundle in the person's mailbox. For somebody who uses
    another server, --home says where the space is.
    """
    from less_sync.auth import Permission
    from less_sync.client.sharing import spaces

    options = options_of((None, False), (None, None, None, user, data_dir), did_key_file)
    expires_at = int(time.time()) + seconds(expires)
    invitee = spaces.Invitee(to, Permission[permission.name], expires_at)

    async def work(output: "Output") -> None:
        bundle = spaces.invite_token(options, folder, invitee, home=home)
        output.tell("invite", bundle, bundle=bundle)

    run(work, as_json=json)


def join(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or one with files.")],
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="The line you were sent; - reads it from standard input.")
    ],
    *,
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
    """Enter a space with a bundle that you were sent.

    Binds the folder to the space and pulls; a file that is in both is kept twice. `accept` does the same with
    an invitation in your mailbox. Joining again takes over a token that is as good as the folder's. A space
    of another server is used through yours, if its operator trusts that server.
    """
    from less_sync.bins.commands.folder import run_verb
    from less_sync.client.sharing import entering

    tokens = (token, token_file, token_command, user, data_dir)
    options = options_of((server, insecure), tokens, did_key_file)
    text = text_of(bundle)

    async def work(output: "Output") -> None:
        await entering.join(options, folder, text, output, force=force, home=home)

    run(work, as_json=json, goes_on=True)
    run_verb("pull", folder, (server, insecure), tokens, None, did_key_file, json=json)


def recover(
    folder: SharedFolder = HERE,
    *,
    root_key: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The space's root key; else it is looked for beside the key file."),
    ] = None,
    server: Server = None,
    insecure: Insecure = False,
    token: Token = None,
    token_file: TokenFile = None,
    token_command: TokenCommand = None,
    user: User = None,
    data_dir: DataDir = DATA_DIR,
    did_key_file: DidKeyFile = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> None:
    """Administer a space anew, by its root key.

    For whoever made the space, after their own access was lost, weakened, revoked or has ended. The root key
    opens nothing: a folder without the space's keys first joins with a bundle of any member.
    """
    from less_sync.client.folder.keyfile import default_key_path
    from less_sync.client.sharing import entering

    options = options_of((server, insecure), (token, token_file, token_command, user, data_dir), did_key_file)
    keys_dir = (key_file or default_key_path()).parent

    async def work(output: "Output") -> None:
        await entering.recover(options, folder, entering.RootKey(keys_dir, root_key), output)

    run(work, as_json=json)


def revoke(
    folder: SharedFolder = HERE,
    *,
    cid: Annotated[str | None, typer.Option(metavar="CID", help="The token with this CID.")] = None,
    bundle: Annotated[
        str | None, typer.Option(metavar="BUNDLE", help="The token of this bundle; - reads standard input.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="DID", help="All tokens made for this DID from this folder.")
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
    """Take a token back. Whoever uses it is cut off at once, and everybody they passed it on to.

    What they have pulled stays with them, and the keys they know open what was written before: rotate the
    space's key to keep what comes from them even if the server helped.
    """
    from less_sync.client.sharing import spaces

    if sum(one is not None for one in (cid, bundle, to)) != 1:
        raise typer.BadParameter("give one of --cid, --bundle and --to")
    options = options_of((server, insecure), (token, token_file, token_command, user, data_dir), did_key_file)
    what = spaces.Revocation(cid, None if bundle is None else text_of(bundle), to)

    async def work(output: "Output") -> None:
        await spaces.revoke(options, folder, what, output)

    run(work, as_json=json)


def explain(
    token: Annotated[
        str,
        typer.Argument(metavar="TOKEN", help="A token, a bundle, the folder of a space, or - to read one."),
    ],
    *,
    permission: Annotated[
        PermissionName | None, typer.Option(help="To do what; default what the token grants.")
    ] = None,
    did: Annotated[
        str | None, typer.Option("--as", metavar="DID", help="Who asks; default whom it was given to.")
    ] = None,
    space: Annotated[
        str | None, typer.Option(metavar="ID", help="In which space; default the one it is about.")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(envvar="DATABASE_URL", metavar="URL", help="The server's database.")
    ] = None,
    data_dir: DataDir = DATA_DIR,
    json: Json = False,
) -> None:
    """Say why a token may or may not do a thing.

    Goes through each link of its chain. The root key and revocations are read from --database-url, or from
    the private Postgres of --data-dir; without either, what could not be checked is named. Exit code 9 when
    the answer is no.
    """
    from less_sync.bins.commands.explain import Inquiry, inquire

    # os.path: a text too long for a name is no folder, and no error.
    if token == "-" or not os.path.isdir(os.path.join(token, STATE_DIR)):
        text, folder = text_of(token), None
    else:
        text, folder = "", Path(token)
    inquiry = Inquiry(
        token=text,
        folder=folder,
        permission=None if permission is None else permission.name,
        audience=did,
        space=space,
        database_url=database_url or None,
        data_dir=data_dir,
    )

    async def work(output: "Output") -> int:
        return await inquire(inquiry, output, now_s=datetime.now(UTC).timestamp())

    run(work, as_json=json)
