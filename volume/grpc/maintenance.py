"""Maintenance: a mode in which a server refuses calls that change what it stores."""

from less_sync.volume.grpc.errors import CallError
from less_sync.volume.services import Services


def refuse_in_maintenance(services: Services) -> None:
    """Let nobody pass while the server is in maintenance.

    Raises:
        CallError: it is.
    """
    if services.store.state.maintenance:
        raise CallError(f"volume server {services.options.server_id} is in maintenance mode")
