"""How a request ends when it does not succeed."""

from less_sync.sync.protocol.codes import ErrorCode


class RpcError(Exception):
    """Ends a request with an error response: `{code, message}`."""

    def __init__(self, code: ErrorCode, message: str | None = None) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = code.value if message is None else message
