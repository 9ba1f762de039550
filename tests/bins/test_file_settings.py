"""Settings of file storage: every form of every variable, and what is said of a wrong one."""

from pathlib import Path

import pytest

from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.files import S3Settings
from tests.bins.environments import NEEDED, S3_NEEDED, problem, problems, read


@pytest.mark.parametrize(
    ("env", "backend", "directory"),
    [
        ({"FILE_STORAGE_BACKEND": "local"}, "local", "data/files"),
        ({"FILE_STORAGE": "fs", "FILE_FS_PATH": "/srv/f"}, "local", "/srv/f"),
        (
            {"FILE_STORAGE_BACKEND": "", "FILE_STORAGE": "local", "FILE_STORAGE_PATH": ""},
            "local",
            "data/files",
        ),
        ({"FILE_STORAGE_BACKEND": "none", "FILE_STORAGE": "local"}, "none", "data/files"),
        ({"FILE_STORAGE_PATH": "x", "FILE_FS_PATH": "y"}, "none", "x"),
        ({"DATA_DIR": "/var/less"}, "none", "/var/less/files"),
        ({"FILE_STORAGE_BACKEND": ""}, "none", "data/files"),
    ],
)
def test_file_storage_takes_aliases_and_empty_counts_as_unset(
    env: dict[str, str], backend: str, directory: str
) -> None:
    files = read(**env).files
    assert (files.backend, files.directory, files.s3) == (backend, Path(directory), None)


@pytest.mark.parametrize("raw", ["Local", " local", "disk"])
def test_another_file_backend_is_refused(raw: str) -> None:
    expected = f'invalid FILE_STORAGE_BACKEND "{raw}": expected "none", "local", or "s3"'
    assert problem(FILE_STORAGE_BACKEND=raw) == expected
    assert problem(FILE_STORAGE=raw) == expected


def test_dev_mode_keeps_files_in_the_data_directory_unless_told_otherwise() -> None:
    usual = Settings.from_env({"DATA_DIR": "/var/less"}, embedded=True).files
    assert (usual.backend, usual.directory) == ("local", Path("/var/less/files"))
    told = Settings.from_env({"FILE_STORAGE": "none"}, embedded=True).files
    assert told.backend == "none"


def test_s3_has_a_usual_region_and_speaks_tls() -> None:
    assert read(**S3_NEEDED).files.s3 == S3Settings(
        "https://s3.example.com", "files", "us-east-1", "the access key", "the secret key"
    )


def test_s3_settings_are_trimmed_but_for_the_region_which_may_be_empty() -> None:
    padded = {name: f" {value}\n" for name, value in S3_NEEDED.items() if name != "FILE_STORAGE_BACKEND"}
    assert read(**S3_NEEDED | padded | {"FILE_S3_REGION": ""}).files.s3 == read(**S3_NEEDED).files.s3
    s3 = read(**S3_NEEDED, FILE_S3_REGION=" eu-west-3").files.s3
    assert s3 is not None
    assert s3.region == " eu-west-3"


@pytest.mark.parametrize(
    ("raw", "use_ssl", "endpoint"),
    [
        ("minio", "true", "https://minio"),
        ("minio:9000", "false", "http://minio:9000"),
        ("10.0.0.1:9000/", "OFF", "http://10.0.0.1:9000"),
        ("[::1]:9000", "no", "http://[::1]:9000"),
        ("http://minio:9000", "true", "http://minio:9000"),
        ("https://minio", "0", "https://minio"),
        ("https://example.com/objects/eu", "1", "https://example.com/objects/eu"),
        ("example.com/objects/", "Yes", "https://example.com/objects"),
        ("s3_internal", "on", "https://s3_internal"),
    ],
)
def test_an_endpoint_is_a_host_or_a_url_and_its_scheme_wins(raw: str, use_ssl: str, endpoint: str) -> None:
    s3 = read(**S3_NEEDED | {"FILE_S3_ENDPOINT": raw}, FILE_S3_USE_SSL=use_ssl).files.s3
    assert s3 is not None
    assert s3.endpoint == endpoint


HOST_OR_PORT = "invalid host or port"
PLAIN = "expected host, host:port, or a URL with a plain path"


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        ("https://", HOST_OR_PORT),
        ("minio:", HOST_OR_PORT),
        ("minio:0", HOST_OR_PORT),
        ("minio:66000", HOST_OR_PORT),
        ("minio:x", HOST_OR_PORT),
        ("[::1", HOST_OR_PORT),
        ("[minio]", HOST_OR_PORT),
        ("ftp://minio", HOST_OR_PORT),
        ("HTTP://minio", HOST_OR_PORT),
        ("::1", HOST_OR_PORT),
        ("min,io", HOST_OR_PORT),
        ("minio/a?b", PLAIN),
        ("minio#a", PLAIN),
        ("minio//a", PLAIN),
        ("minio/a b", "only printable ASCII characters are allowed"),
    ],
)
def test_a_malformed_endpoint_is_an_error_at_start(raw: str, fault: str) -> None:
    expected = f'failed to initialize S3 object store: invalid FILE_S3_ENDPOINT "{raw}": {fault}'
    assert problem(**S3_NEEDED | {"FILE_S3_ENDPOINT": raw}) == expected


def test_a_password_in_the_endpoint_is_refused_and_not_repeated() -> None:
    told = problem(**S3_NEEDED | {"FILE_S3_ENDPOINT": "https://me:hunter2@minio"})
    assert told == (
        "failed to initialize S3 object store: invalid FILE_S3_ENDPOINT: "
        "credentials belong into FILE_S3_ACCESS_KEY and FILE_S3_SECRET_KEY"
    )


def test_what_s3_needs_is_asked_for_in_order() -> None:
    assert problems(NEEDED | {"FILE_STORAGE": "s3", "FILE_S3_ACCESS_KEY": " "}) == [
        f"FILE_S3_{name} is required when FILE_STORAGE_BACKEND=s3"
        for name in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "BUCKET")
    ]


@pytest.mark.parametrize("raw", ["", "False!", "ssl"])
def test_another_word_for_tls_is_refused(raw: str) -> None:
    expected = f'invalid FILE_S3_USE_SSL value "{raw}": expected "true" or "false"'
    assert problem(**S3_NEEDED, FILE_S3_USE_SSL=raw) == expected


def test_variables_of_s3_are_not_judged_while_another_backend_is_used() -> None:
    files = read(FILE_STORAGE="local", FILE_S3_USE_SSL="?", FILE_S3_ENDPOINT="not a host").files
    assert (files.backend, files.s3) == ("local", None)


def test_keys_are_not_shown_by_repr() -> None:
    shown = repr(read(**S3_NEEDED))
    assert "the secret key" not in shown
    assert "the access key" not in shown
