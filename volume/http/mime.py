"""The type of a file by the extension of its name, as existing servers on the same machine tell it.

Three tables, of which the first that knows an extension counts: the one that existing servers bring
(`_FIRST`); that of the system; the one of their language's library (`_LAST`). Of the system either the
shared MIME database is used, which adds to `_LAST`, or, where there is none, the `mime.types` files, which
come before it. An extension is looked for as it is, then in lower case.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from less_sync.volume.logs import Logger

GLOBS: Final = (Path("/usr/local/share/mime/globs2"), Path("/usr/share/mime/globs2"))
"""Where the shared MIME database may be; the first that is there counts."""
TYPES: Final = tuple(
    Path("/etc", directory, "mime.types") for directory in ("", "apache2", "apache", "httpd/conf")
)
"""Read in this order, a later one overriding, when there is no database."""
FILE_BYTES_MAX: Final = 8 << 20
"""Nothing behind these is read of such a file."""

_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
_FIRST: Final = {
    "application/gzip": ".gz",
    "application/javascript": ".js .mjs",
    "application/json": ".json",
    "application/msword": ".doc",
    "application/pdf": ".pdf",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.ms-powerpoint": ".ppt",
    f"{_OFFICE}.presentationml.presentation": ".pptx",
    f"{_OFFICE}.spreadsheetml.sheet": ".xlsx",
    f"{_OFFICE}.wordprocessingml.document": ".docx",
    "application/x-7z-compressed": ".7z",
    "application/x-bzip2": ".bz2",
    "application/x-rar-compressed": ".rar",
    "application/x-tar": ".tar",
    "application/xml": ".xml",
    "application/zip": ".zip",
    "audio/aac": ".aac",
    "audio/flac": ".flac",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/wav": ".wav",
    "image/bmp": ".bmp",
    "image/gif": ".gif",
    "image/jpeg": ".jpeg .jpg",
    "image/png": ".png",
    "image/svg+xml": ".svg",
    "image/webp": ".webp",
    "image/x-icon": ".ico",
    "text/css": ".css",
    "text/csv": ".csv",
    "text/html": ".htm .html",
    "text/markdown": ".markdown .md",
    "text/plain": ".cfg .conf .env .gitignore .ini .log .txt",
    "text/sql": ".sql",
    "text/typescript": ".ts",
    "text/x-c": ".c",
    "text/x-c++": ".c++ .cc .cpp .cxx",
    "text/x-c-header": ".h .hpp",
    "text/x-dockerfile": ".dockerfile",
    "text/x-go": ".go",
    "text/x-java": ".java",
    "text/x-kotlin": ".kt",
    "text/x-perl": ".pl",
    "text/x-php": ".php",
    "text/x-python": ".py",
    "text/x-ruby": ".rb",
    "text/x-rust": ".rs",
    "text/x-scala": ".scala",
    "text/x-shellscript": ".bash .fish .sh .zsh",
    "text/x-swift": ".swift",
    "text/yaml": ".yaml .yml",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/webm": ".webm",
    "video/x-flv": ".flv",
    "video/x-ms-wmv": ".wmv",
    "video/x-msvideo": ".avi",
}
_LAST: Final = {
    "application/octet-stream": ".bin .com .exe",
    "application/postscript": ".ai .eps .ps",
    "application/rdf+xml": ".rdf",
    "application/rtf": ".rtf",
    "application/vnd.android.package-archive": ".apk",
    "application/wasm": ".wasm",
    "application/xhtml+xml": ".xht .xhtml",
    "audio/mp4": ".m4a",
    "audio/ogg": ".oga .opus",
    "image/apng": ".apng",
    "image/avif": ".avif",
    "image/jpeg": ".jfif .pjp .pjpeg",
    "image/tiff": ".tif .tiff",
    "image/x-xbitmap": ".xbm",
    "message/rfc822": ".eml",
    "text/calendar": ".ics",
    "text/html": ".ehtml .shtml",
    "text/plain": ".text",
    "text/vtt": ".vtt",
    "text/xml": ".xbl .xsl",
    "video/ogg": ".ogv",
}
_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LOG: Final = Logger(__name__)


class Types:
    """Extensions and their types. The system's files are read at the first question (some milliseconds)."""

    def __init__(self, globs: Sequence[Path] = GLOBS, types: Sequence[Path] = TYPES) -> None:
        self._globs: Final = globs
        self._files: Final = types
        self._types: dict[str, str] = {}
        self._lower: dict[str, str] = {}

    def of_name(self, name: str) -> str:
        """The type that the extension of a file name stands for; empty when it stands for none."""
        return self.of_extension(extension(name))

    def of_extension(self, ending: str) -> str:
        """The same of an extension with its dot."""
        if not ending:
            return ""
        if not self._types:
            self._load()
        return self._types.get(ending) or self._lower.get(ending.lower(), "")

    def _load(self) -> None:
        self._add(_entries(_LAST))
        for path in self._globs:
            lines = _lines(path)
            if lines is not None:
                # An extension may stand there many times, the one of most weight first.
                self._add(entry for entry in _glob_entries(lines) if entry[0] not in self._types)
                break
        else:
            for path in self._files:
                self._add(_types_entries(_lines(path) or []))
        self._add(_entries(_FIRST))

    def _add(self, entries: Iterator[tuple[str, str]]) -> None:
        for ending, type_ in entries:
            if _TYPE.fullmatch(type_):
                full = f"{type_.lower()}; charset=utf-8" if type_.startswith("text/") else type_
                self._types[ending] = self._lower[ending.lower()] = full


def extension(name: str) -> str:
    """From the last dot of the last segment of a name, or nothing."""
    dot = name.rfind(".")
    return name[dot:] if dot > name.rfind("/") else ""


def _entries(table: dict[str, str]) -> Iterator[tuple[str, str]]:
    return ((ending, type_) for type_, endings in table.items() for ending in endings.split())


def _lines(path: Path) -> list[str] | None:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX).decode(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    except OSError as fault:
        _LOG.warning("a file of MIME types cannot be read", path=str(path), fault=str(fault))
        return None


def _glob_entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Of lines `weight:type:*.extension`; other patterns are passed over."""
    for line in lines:
        fields = line.split(":")
        if len(fields) < 3 or not fields[0] or fields[0].startswith("#"):
            continue
        if fields[2].startswith("*.") and len(fields[2]) > 2 and not set("?*[") & set(fields[2][1:]):
            yield fields[2][1:], fields[1]


def _types_entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Of lines `type extension extension`, without dots."""
    for line in lines:
        type_, *endings = line.split("#", 1)[0].split() or [""]
        yield from ((f".{ending}", type_) for ending in endings)
