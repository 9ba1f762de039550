"""The migrations there are: scripts beside this file, and what the existing servers know of them."""

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

SCRIPTS: Final = Path(__file__).parent
"""Where the scripts of this project are."""

SHARED_LAST: Final = 12
"""Versions up to this one are shared with the existing servers, and recorded as they record them."""

OWN_FIRST: Final = 101
"""This project's own versions start here: 13 could collide with a later one of an existing server."""

NO_TRANSACTION: Final = "-- no-transaction"
"""First line of a script that must run outside a transaction. It must hold one statement only, and one
that may be repeated: a crash after it and before its bookkeeping row leaves it to be run again."""

SHARED_CHECKSUMS: Final = {
    1: "c1f451ce1ec7d7f5862e70ed0bb119f97f454cf8cf13332ace2d0a8059c98e719b23a8e974574a5b4807e8025c4cd815",
    2: "2561c3d373d5603150a1b63202f00058380560083fcb29f664aa05e4fb4ae53b81be07382f4244a0a65150f081cdeb18",
    3: "7b6a3167336b2d7c38d68576bfd02baee1ad468052136f65309a9b8264101b48fa12d0274f3cb3e1843ec967431aaaf2",
    4: "b78734a6a87bea23b6e08a4ffc436f3c3a1de519776c5666082f2445222fc8d4f502e993e3cc4d662aef41456ac0281f",
    5: "f8277dc2528b0d2085a4fb2489bc03ab628687845b2731cbdf733283b69194b5f82331077d8f0bf45e00247aa893ee71",
    6: "10ae5d437327421c89bc5d2db16d80d5496cdbf8258eb36a88ff3ea9856c8b61a6374d10cf0390aae6372778555e7453",
    7: "6901c38fe7d3cf8d8823b4769b0f8c60856205dd70418dd28298f349f08ba3b37f5bfaadf9ce1e8b5b326666dc7edd5b",
    8: "7d6ad83f7cbf7f678d7b71c948682b2e111aeaf0d1426337b6c4af46fafdd481d8560bdf0e6b95d07a11b484eb543005",
    9: "69e2607afccedd58fed2367549d244ac2d36082ff101640eb784a6e09ca1831808768d148b5c278cf3e8b5299f1643f1",
    10: "b72bd1b3f2b209ab19549f25a9fe2ce86daf0fe74c19cf152f667b84363265951a0f60c9a70252c5c09a7b7350c07644",
    11: "f1ad892e86faa47b402225993712a3daaea9018f386230f499c93a684241626a945a213226612123fa835938d356eb82",
    12: "996a8e1d879ea06badd3e4dfb44ad7a01d0574914c77714d41ac2420e1bda629e4aea7dfcf63ab9df6e5ce1611a6891c",
}
"""SHA-384 of the existing server's files, which it compares at every start. Our files differ in wording,
so these are constants (docs/storage.md 11.3)."""

BASELINE_CHECKSUM: Final = bytes.fromhex(
    "aae8cfdce9b5529ad0cb3eb2e121ea793dd4532749b1bd9f091c1eb3c8ee7d28a00af564ee11493de4c9be12061f9037"
)
"""Version 1 of the existing server's audited baseline, whose file created everything and dropped it again."""

FORMER_CHECKSUMS: Final = {
    101: "74d4606e5fd5fc8c76661c40c8c51c8677c97bd191c78dd959211f7d56e62a9ba0aa5d7bb41a51554f2fd5bf10ee4d12",
    102: "00742045dede27d4f38215846ed4f66c3ecd8d32627aa201f495fa51afcd1d0d7854fcbce977d86e51f2a81f529c908f",
}
"""Of up files of our own before their comments were reworded; the statements are the same."""

_UP_NAME: Final = re.compile(r"(\d+)_([a-z0-9_]+)\.up\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: `up` and `down` are whole scripts."""

    version: int
    name: str
    up: str
    down: str
    checksum: bytes
    """SHA-384, 48 bytes: of the existing server's file for shared versions, else of the up file."""
    former_checksum: bytes | None = None
    """What databases may have recorded that were migrated before the file's comments were reworded."""

    def is_recorded_as(self, checksum: bytes | None) -> bool:
        """Whether a database that recorded this checksum has applied this migration."""
        return checksum is not None and checksum in (self.checksum, self.former_checksum)

    @property
    def shared(self) -> bool:
        """Whether the existing servers know this migration."""
        return self.version <= SHARED_LAST

    @property
    def description(self) -> str:
        """The name as the existing server records it, with spaces."""
        return self.name.replace("_", " ")

    @property
    def label(self) -> str:
        """As printed: `004 add_wrapped_dek`."""
        return f"{self.version:03d} {self.name}"


Catalog = dict[int, Migration]
"""Migrations by version, ascending."""


def load(folder: Path = SCRIPTS) -> Catalog:
    """The scripts of the sync server's line, with the checksums that the existing servers expect.

    Raises:
        FileNotFoundError: an up file has no down file.
        ValueError: two files of one version, or a version that is neither shared nor our own.
    """
    return {version: _as_recorded(migration) for version, migration in scripts(folder).items()}


def scripts(folder: Path) -> Catalog:
    """Read all `NNNN_name.up.sql` files of a folder and their down files.

    Raises:
        FileNotFoundError: an up file has no down file.
        ValueError: two files of one version, or a name that is not a migration's.
    """
    catalog: Catalog = {}
    for path in sorted(folder.glob("*.up.sql")):
        migration = _read(path)
        if migration.version in catalog:
            raise ValueError(f"two migrations of version {migration.version}")
        catalog[migration.version] = migration
    return dict(sorted(catalog.items()))


def _read(path: Path) -> Migration:
    match = _UP_NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"not a migration's file name: {path.name}")
    version, name = int(match[1]), match[2]
    up = path.read_bytes()
    down = path.with_name(f"{match[1]}_{name}.down.sql").read_text(encoding="utf-8")
    return Migration(
        version=version, name=name, up=up.decode(), down=down, checksum=hashlib.sha384(up).digest()
    )


def _as_recorded(migration: Migration) -> Migration:
    """The migration as databases of the sync server have recorded it."""
    version = migration.version
    if version in SHARED_CHECKSUMS:
        return replace(migration, checksum=bytes.fromhex(SHARED_CHECKSUMS[version]))
    if version < OWN_FIRST:
        raise ValueError(f"version {version} belongs to the existing servers")
    former = FORMER_CHECKSUMS.get(version)
    return migration if former is None else replace(migration, former_checksum=bytes.fromhex(former))
