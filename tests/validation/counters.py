"""A stub that tells the metrics of a server as a test sets them."""

import asyncio
from collections.abc import Mapping
from typing import Final

from less_sync.validation.metrics import FAMILIES

LOWEST: Final[Mapping[str, list[tuple[str, float]]]] = {
    "less_sync_http_requests_total": [('route="/health",code="200"', 100), ('route="/api",code="101"', 10)],
    "less_sync_rpc_total": [('method="pull",code="ok"', 50), ('method="pull",code="internal"', 2)],
    "less_sync_handshake_refusals_total": [('reason="http_401"', 1), ('reason="invalid_auth_token"', 1)],
    "less_sync_delivery_lag_seconds": [("", 0.02)],
    "less_sync_delivery_proof_age_seconds": [("", 5)],
    "less_sync_delivery_proofs_total": [("", 40)],
    "less_sync_db_pool_connections_max": [("", 10)],
    "less_sync_db_pool_connections": [("", 2)],
    "less_sync_lanes": [('state="connected"', 2)],
    "less_sync_build_info": [('version="1"', 1)],
    "less_sync_node_info": [('node="n",worker="0"', 1)],
    "process_start_time_seconds": [("", 1.7e9)],
}
"""What the stub tells at first."""


class Counted:
    """A server's metrics that a test sets, behind a real listener."""

    def __init__(self) -> None:
        self.families: dict[str, dict[str, float]] = {name: dict(rows) for name, rows in LOWEST.items()}
        self.text: str | None = None
        """In place of the families."""
        self.status = 200
        self.asked: list[str] = []
        """Heads of requests."""
        self.url = ""

    def count(self, name: str, labels: str, by: float) -> None:
        """Let a series grow."""
        family = self.families[FAMILIES[name]]
        family[labels] = family.get(labels, 0) + by

    def _text(self) -> str:
        if self.text is not None:
            return self.text
        lines = []
        for name, rows in self.families.items():
            lines.append(f"# TYPE {name} {'counter' if name.endswith('_total') else 'gauge'}")
            lines += [f"{name}{{{labels}}} {value}" for labels, value in rows.items()]
        return "\n".join(lines) + "\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        body = self._text().encode()
        head = f"HTTP/1.1 {self.status} OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        more = "Location: http://127.0.0.1:1/\r\n" if self.status == 302 else ""
        writer.write(f"{head}{more}\r\n".encode() + body)
        writer.close()
