"""Flags to `Options`: lists for each directory, sizes with units, addresses, and the look at directories."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from less_sync.bins.volume.flags import FLAGS
from less_sync.bins.volume.go_flags import Given
from less_sync.bins.volume.own_address import own_address
from less_sync.volume.options import (
    GRPC_PORT_ABOVE,
    MIB,
    PORT_MAX,
    Address,
    DirectoryOptions,
    Options,
    parse_address,
)

_SIZE: Final = re.compile(r"([0-9][0-9.,]*)\s*([a-z]*)\Z", re.IGNORECASE)
_POWERS: Final = ("", "k", "m", "g", "t", "p", "e")
_LOG_LEVELS: Final = ("off", "error", "warn", "info", "debug", "trace")
_TOLD: Final = ("ip", "id", "publicUrl", "master", "mserver", "disk", "tags", "dataCenter", "rack")
NEVER_S: Final = 1e9
DIRECTORIES_MAX: Final = 256


class OptionsError(Exception):
    """The flags cannot be used; the text says which, and why."""


class _FreeSpace(NamedTuple):
    bytes_min: int
    percent_min: float


def read_options(given: Given, environment: Mapping[str, str]) -> Options:
    """Make options of flags.

    Raises:
        OptionsError: a list has the wrong length, a value is none, or a directory will not do.
    """
    ip = _bracketed(given.text("ip") or own_address())
    bind = (given.text("ip.bind") or ip).strip("[]")
    port = _port(given, "port", 0)
    public_port = _port(given, "port.public", port)
    _refuse_bytes(given)
    return Options(
        directories=_directories(given, environment),
        index_directory=_index_directory(given, environment),
        ip=ip,
        bind=bind,
        port=port,
        grpc_port=_port(given, "port.grpc", port + GRPC_PORT_ABOVE),
        public_port=public_port,
        id=given.text("id"),
        public_url=given.text("publicUrl") or f"{ip}:{public_port}",
        masters=_masters(given.text("mserver") or given.text("master")),
        data_centre=given.text("dataCenter"),
        rack=given.text("rack"),
        read_mode=given.text("readMode"),
        white_list=tuple(_split(given.text("whiteList"))),
        file_bytes_max=given.integer("fileSizeLimitMB") * MIB,
        upload_bytes_max=given.integer("concurrentUploadLimitMB") * MIB,
        download_bytes_max=given.integer("concurrentDownloadLimitMB") * MIB,
        upload_wait_s=given.seconds("inflightUploadDataTimeout"),
        download_wait_s=given.seconds("inflightDownloadDataTimeout"),
        fix_orientation=given.boolean("images.fix.orientation"),
        idle_timeout_s=_idle_s(given.integer("idleTimeout")),
        pre_stop_s=min(max(0.0, float(given.integer("preStopSeconds"))), NEVER_S),
        sync_interval_s=max(0.0, given.seconds("sync.every")),
        compaction_bytes_per_s=given.integer("compactionMBps") * MIB,
        metrics_port=_port(given, "metricsPort", 0, or_none=True),
        metrics_ip=given.text("metricsIp") or bind,
        offset_bytes=_offset_bytes(given),
        config_directory=_path(given.text("config_dir"), environment) if given.text("config_dir") else None,
        security_file=_path(given.text("securityFile"), environment) if given.text("securityFile") else None,
        log_level=_log_level(given, environment),
        log_format="json" if environment.get("LOG_FORMAT") == "json" else "text",
        unread=tuple(
            flag.name for flag in FLAGS if flag.ignored and given.origins[flag.name] in ("line", "file")
        ),
    )


def parse_size(text: str) -> int:
    """Bytes of `10GiB` (powers of 1024), `10GB` (powers of 1000), or a bare number.

    Raises:
        ValueError: it is no size.
    """
    match = _SIZE.match(text.strip())
    if match is None:
        raise ValueError(f"no size: {text}")
    number, unit = match[1].replace(",", ""), match[2].lower()
    power = unit.removesuffix("b")
    base = 1024 if power.endswith("i") else 1000
    size = float(number) * base ** _POWERS.index(power.removesuffix("i"))
    if not math.isfinite(size):
        raise ValueError(f"no size: {text}")
    return int(size)


def _bracketed(host: str) -> str:
    """An IPv6 address in the brackets that a port behind it needs."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _port(given: Given, name: str, unset: int, *, or_none: bool = False) -> int:
    port = given.integer(name) or unset
    if not (or_none and port == 0) and not 0 < port <= PORT_MAX:
        raise OptionsError(f"-{name}: no port: {port}")
    return port


def _idle_s(seconds: int) -> float:
    """0 and less are no limit, as at existing servers."""
    return float(min(seconds, NEVER_S)) if seconds > 0 else NEVER_S


def _refuse_bytes(given: Given) -> None:
    """Only paths may be no UTF-8: everything else is told to others in messages, which are text.

    Raises:
        OptionsError: another value is none.
    """
    for name in _TOLD:
        try:
            given.text(name).encode()
        except UnicodeEncodeError as error:
            raise OptionsError(f"-{name}: no UTF-8: {given.text(name)!a}") from error


def _offset_bytes(given: Given) -> int:
    width = given.integer("index.offsetBytes")
    if width not in (4, 5):
        raise OptionsError(f"-index.offsetBytes: 4 or 5, not {width}")
    return width


def _log_level(given: Given, environment: Mapping[str, str]) -> str:
    if given.integer("v") > 0:
        return "debug"
    level = environment.get("LOG_LEVEL", "info").lower()
    return level if level in _LOG_LEVELS else "info"


def _masters(text: str) -> tuple[Address, ...]:
    try:
        masters = tuple(parse_address(one) for one in _split(text))
    except ValueError as error:
        raise OptionsError(f"-master: no address: {text}") from error
    if not masters:
        raise OptionsError("-master: none is given")
    return masters


def _split(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _path(text: str, environment: Mapping[str, str]) -> Path:
    """With `~` for the home directory at its start."""
    home = environment.get("HOME")
    if home and (text == "~" or text.startswith("~/")):
        return Path(home + text[1:])
    return Path(text)


def _index_directory(given: Given, environment: Mapping[str, str]) -> Path | None:
    if not given.text("dir.idx"):
        return None
    return _writable(_path(given.text("dir.idx"), environment), "Check Meta Folder (-dir.idx)")


def _directories(given: Given, environment: Mapping[str, str]) -> tuple[DirectoryOptions, ...]:
    texts = _split(given.text("dir")) or [environment.get("TMPDIR") or "/tmp"]
    count = len(texts)
    if count > DIRECTORIES_MAX:
        raise OptionsError(f"-dir: at most {DIRECTORIES_MAX} directories, not {count}")
    paths = [_writable(_path(text, environment), "Check Data Folder(-dir)") for text in texts]
    limits = [_limit(one) for one in _for_each(given, "max", "max", count)]
    free = _free_spaces(given, count)
    types = [_disk_type(one) for one in _for_each(given, "disk", "disk type", count)]
    tags = [tuple(filter(None, one.split(":"))) for one in _for_each(given, "tags", "tags", count)]
    return tuple(
        DirectoryOptions(path, limit, kind, words, space.bytes_min, space.percent_min)
        for path, limit, kind, words, space in zip(paths, limits, types, tags, free, strict=True)
    )


def _for_each(given: Given, flag: str, what: str, count: int) -> list[str]:
    """The entries of a list, one for each directory; a single one is for all of them."""
    entries = [one.strip() for one in given.text(flag).split(",")]
    if len(entries) == 1:
        return entries * count
    if len(entries) != count:
        raise OptionsError(f"{count} directories by -dir, but only {len(entries)} {what} is set by -{flag}")
    return entries


def _limit(text: str) -> int:
    try:
        limit = int(text)
    except ValueError as error:
        raise OptionsError(f"The max specified in -max not a valid number {text}") from error
    if limit < 0:
        raise OptionsError(f"The max specified in -max not a valid number {text}")
    return limit


def _disk_type(text: str) -> str:
    kind = text.lower()
    return "" if kind == "hdd" else kind


def _free_spaces(given: Given, count: int) -> list[_FreeSpace]:
    flag = "minFreeSpace" if given.text("minFreeSpace") else "minFreeSpacePercent"
    return [_free_space(one, flag) for one in _for_each(given, flag, flag, count)]


def _free_space(text: str, flag: str) -> _FreeSpace:
    """A number up to 100 is a percentage, everything else a size."""
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if 0 <= percent <= 100:
        return _FreeSpace(0, percent)
    try:
        return _FreeSpace(parse_size(text), 0.0)
    except ValueError as error:
        raise OptionsError(f"The value specified in -{flag} not a valid value {text}") from error


def _writable(path: Path, what: str) -> Path:
    """The directory, if it is one whose owner may write; whoever runs this may do less all the same."""
    fault = ""
    try:
        status = path.stat()
    except OSError as error:
        fault = f"stat {path}: {(error.strerror or type(error).__name__).lower()}"
    else:
        if not path.is_dir():
            fault = "not a valid folder!"
        elif not status.st_mode & 0o200:
            fault = "Not writable!"
    if fault:
        raise OptionsError(f"{what} Writable {path} : {fault}")
    return path
