"""All flags of the volume server: those of existing servers with their defaults, and three of ours."""

from typing import Final

from less_sync.bins.volume.go_flags import Flag, Kind

WORD: Final = "volume"


def _ignored(name: str, kind: Kind, default: str, meaning: str, *, top: bool = False) -> Flag:
    return Flag(name, kind, default, meaning, top=top, ignored=True)


FLAGS: Final = (
    Flag("port", "int", "8080", "port of the admin HTTP listener"),
    Flag("port.grpc", "int", "0", "port of the gRPC listener; 0 is `port` + 10000"),
    Flag("port.public", "int", "0", "port of a second HTTP listener, for reading; 0 or `port` is none"),
    Flag("ip", "text", "", "address told to others; empty is the first of this machine that is no loopback"),
    Flag("ip.bind", "text", "", "address that the listeners are bound to; empty is `ip`"),
    Flag("id", "text", "", "name of this server at the master; empty is `ip:port`"),
    Flag("publicUrl", "text", "", "public address told to others; empty is `ip:port.public`"),
    Flag("master", "text", "localhost:9333", "masters, each `host:port` or `host:port.grpcPort`, by commas"),
    Flag("mserver", "text", "", "old name of `master`, which wins if given"),
    Flag("dir", "text", "", "data directories, by commas; empty is the directory for temporary files"),
    Flag("dir.idx", "text", "", "one directory for all index files and `state.pb`; empty is beside the data"),
    Flag("max", "text", "8", "most volumes of each directory; 0 is as many as the free space allows"),
    Flag(
        "minFreeSpace", "text", "", "free space below which a directory takes no writes: `10GiB`, or percent"
    ),
    Flag("minFreeSpacePercent", "text", "1", "the same in percent; `minFreeSpace` wins"),
    Flag("disk", "text", "", "disk type of each directory: `hdd`, `ssd` or any word; empty is `hdd`"),
    Flag("tags", "text", "", "tags of each directory, by colons"),
    Flag("dataCenter", "text", "", "data centre told to the master"),
    Flag("rack", "text", "", "rack told to the master"),
    _ignored("index", "text", "memory", "kind of index: always in memory here"),
    _ignored("index.leveldbTimeout", "int", "0", "hours until an index is put away"),
    Flag("index.offsetBytes", "int", "4", "width of offsets in the index of new volumes, 4 or 5 (ours)"),
    Flag("readMode", "text", "proxy", "reads of volumes that are elsewhere: `local`, `proxy` or `redirect`"),
    Flag("whiteList", "text", "", "addresses and networks that may write, by commas; empty is all"),
    Flag("fileSizeLimitMB", "int", "256", "largest file, in MiB"),
    Flag("concurrentUploadLimitMB", "int", "0", "uploads at once, in MiB; 0 is no limit"),
    Flag("concurrentDownloadLimitMB", "int", "0", "downloads at once, in MiB; 0 is no limit"),
    Flag("inflightUploadDataTimeout", "duration", "60s", "longest wait of an upload at the limit"),
    Flag("inflightDownloadDataTimeout", "duration", "60s", "longest wait of a download at the limit"),
    _ignored("hasSlowRead", "bool", "true", "no read holds up a write here"),
    _ignored("readBufferSizeMB", "int", "4", "the size of pieces is fixed here"),
    Flag("images.fix.orientation", "bool", "false", "turn uploaded JPEGs as their EXIF data says"),
    Flag("idleTimeout", "int", "30", "seconds after which a silent HTTP connection is closed; 0 is never"),
    Flag("preStopSeconds", "int", "10", "seconds between the farewell to the master and the stop"),
    Flag("sync.every", "duration", "0s", "time between flushes of what was written; 0 is none (ours)"),
    Flag("compactionMBps", "int", "0", "most MiB a second of a vacuum; 0 is no limit"),
    _ignored("maintenanceMBps", "int", "0", "copies between servers are not served yet"),
    Flag("metricsPort", "int", "0", "port of the metrics listener; 0 is none"),
    Flag("metricsIp", "text", "", "address of the metrics listener; empty is `ip.bind`"),
    _ignored(
        "volume.allowUntrustedRemoteEndpoints",
        "bool",
        "false",
        "remote reads are not served yet",
    ),
    _ignored("pprof", "bool", "false", "profiling"),
    _ignored("cpuprofile", "text", "", "profiling"),
    _ignored("memprofile", "text", "", "profiling"),
    _ignored("debug", "bool", "false", "profiling"),
    _ignored("debug.port", "int", "6060", "profiling"),
    Flag("options", "text", "", "file with more flags, a line each"),
    Flag("securityFile", "text", "", "this file instead of the search for `security.toml` (ours)"),
    Flag("config_dir", "text", "", "directory in which `security.toml` is looked for first", top=True),
    Flag("v", "int", "0", "1 and above: log what helps to find a fault, too", top=True),
    _ignored("logtostderr", "bool", "true", "the log goes to standard output", top=True),
    _ignored("alsologtostderr", "bool", "true", "the log goes to standard output", top=True),
    _ignored("stderrthreshold", "text", "", "the log goes to standard output", top=True),
    _ignored("logdir", "text", "", "the log goes to standard output", top=True),
    _ignored("vmodule", "text", "", "the level of the log is that of `v`", top=True),
    _ignored("log_backtrace_at", "text", "", "the log shows no traces", top=True),
)


def usage(name: str) -> str:
    """What `-h` and a wrong line print."""
    lines = [
        f"Usage: {name} [volume] [-flag=value ...]",
        f"       {name} check|export DIR  (-h behind it says more)",
        "",
        "Starts a volume server. docs/volume.md describes all of it.",
        "Exit codes: 0 done, 1 failed, 2 wrong usage, or help.",
        "",
    ]
    for flag in FLAGS:
        shown = f" (default {flag.default})" if flag.default and flag.kind != "bool" else ""
        what = "accepted, without effect: " if flag.ignored else ""
        lines.append(f"  -{flag.name} {'' if flag.kind == 'bool' else flag.kind}".rstrip())
        lines.append(f"      {what}{flag.meaning}{shown}")
    return "\n".join(lines) + "\n"
