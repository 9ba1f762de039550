"""Mutual TLS of the gRPC listener, from the settings `grpc.ca`, `grpc.volume.cert` and `grpc.volume.key`.

Clients need a certificate that the authority has signed. `grpc.volume.allowed_commonNames` (by commas) and
`grpc.allowed_wildcard_domain` narrow it to certificates with one of these names, or a name that ends so.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from less_sync.volume.logs import Logger
from less_sync.volume.security.settings import SecuritySettings
from less_sync.volume.security.tls import TlsError, grpc_files

_log = Logger(__name__)
_NAMES: Final = ("grpc.ca", "grpc.volume.cert", "grpc.volume.key")


@dataclass(frozen=True, slots=True)
class AllowedNames:
    """Which names of a client's certificate are let through."""

    names: frozenset[str]
    ending: str
    """Empty: none."""

    def allow(self, name: str) -> bool:
        """Whether a client with that common name may call."""
        return name in self.names or bool(self.ending and name.endswith(self.ending))


def allowed_names(settings: SecuritySettings) -> AllowedNames | None:
    """The names that are let through; None where every certificate of the authority will do."""
    listed = settings.text("grpc.volume.allowed_commonNames").split(",")
    names = frozenset(filter(None, (name.strip() for name in listed)))
    ending = settings.text("grpc.allowed_wildcard_domain")
    return AllowedNames(names, ending) if names or ending else None


def server_credentials(settings: SecuritySettings) -> grpc.ServerCredentials | None:
    """What the listener proves itself with; None where no certificate and key are set: plain text then.

    The files are read again when they have changed; while they cannot be read the former ones stay.

    Raises:
        TlsError: a file cannot be used at the start.
    """
    authority, certificate, key = (settings.path(name) for name in _NAMES)
    if certificate is None or key is None:
        return None
    return _Files(authority, certificate, key).credentials()


class _Files:
    def __init__(self, authority: Path | None, certificate: Path, key: Path) -> None:
        self._paths: Final = (authority, certificate, key)
        self._stamps: list[tuple[int, int]] | None = None
        """Of the files last used; None: the first handshake looks at them once more."""

    def credentials(self) -> grpc.ServerCredentials:
        # The stubs do not know that the fetcher may return None.
        return grpc.dynamic_ssl_server_credentials(
            self._read(),
            self._changed,  # type: ignore[arg-type]
            require_client_authentication=self._paths[0] is not None,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Asked by grpcio, in a thread of its own, before each handshake; None: as before."""
        try:
            stamps = self._stamped()
            if stamps == self._stamps:
                return None
            found = self._read()
        except (OSError, TlsError) as error:
            _log.warning("certificates cannot be read again", kind=type(error).__name__)
            return None
        self._stamps = stamps
        return found

    def _read(self) -> grpc.ServerCertificateConfiguration:
        authority, certificate, key = grpc_files(*self._paths)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)

    def _stamped(self) -> list[tuple[int, int]]:
        found = [path.stat() for path in self._paths if path is not None]
        return [(one.st_mtime_ns, one.st_ino) for one in found]
