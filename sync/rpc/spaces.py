"""`space.create`, and reading the rows of spaces a caller was granted."""

from less_sync.auth import parse_uuid
from less_sync.storage import SpaceExists, StorageError
from less_sync.sync.call import Call
from less_sync.sync.canary import is_canary
from less_sync.sync.errors import RpcError
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.messages import SpaceCreateParams, SpaceCreateResult
from less_sync.sync.rpc.elsewhere import server_named

_ROOT_KEY_BYTES = 33


async def create(call: Call, params: SpaceCreateParams, _grant: None) -> SpaceCreateResult:
    """Create a shared space under the caller's root key, or say of one where it has its home.

    See docs/protocol.md 7.2.
    """
    space = parse_uuid(params.id)
    if space is None:
        raise RpcError(ErrorCode.BAD_REQUEST, "invalid space id")
    key = params.root_public_key
    if len(key) != _ROOT_KEY_BYTES or key[0] not in (2, 3):
        raise RpcError(ErrorCode.BAD_REQUEST, "invalid root public key")
    if space.version == 5 or is_canary(space):
        # Personal space ids are version 5 and can be computed by others: nobody may sit on one
        # (docs/protocol.md 5.1). Nor on those that servers watch themselves by.
        raise RpcError(ErrorCode.CONFLICT, "space already exists")
    home = server_named(call, params.home_server, "home server is not a trusted federation peer")
    try:
        row = await call.services.spaces.create_space(space, call.identity.client_id, key, home)
    except SpaceExists:
        raise RpcError(ErrorCode.CONFLICT, "space already exists") from None
    except StorageError as error:
        raise RpcError(ErrorCode.INTERNAL, "failed to create space") from error
    # A space of this id may have been deleted, whose key is remembered and whose members listen still.
    call.services.authority.learn(row)
    call.services.announce.created(row.id)
    # What is not echoed was not understood, for all the client can know.
    return SpaceCreateResult(id=str(row.id), key_generation=row.key_generation, home_server=home or "")
