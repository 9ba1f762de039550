"""Who counts as one person, where places and turns are shared."""

from less_sync.auth import Identity


def connection_key(identity: Identity) -> str:
    """What connections and transfers are counted under: the mailbox, or the user where a token has none."""
    if identity.mailbox_id:
        return identity.mailbox_id
    return f"{identity.client_id}\x00{identity.issuer}\x00{identity.user_id}"
