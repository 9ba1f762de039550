"""Environments from which settings are read, and what is said of them."""

from collections.abc import Mapping

import pytest

from less_sync.bins.settings.config import ConfigError, Settings

NEEDED = {"DATABASE_URL": "postgres://db/sync", "TRUSTED_ISSUERS": "https://accounts.example.com"}
S3_NEEDED = {
    "FILE_STORAGE_BACKEND": "s3",
    "FILE_S3_ENDPOINT": "s3.example.com",
    "FILE_S3_ACCESS_KEY": "the access key",
    "FILE_S3_SECRET_KEY": "the secret key",
    "FILE_S3_BUCKET": "files",
}


def read(**env: str) -> Settings:
    return Settings.from_env(NEEDED | env)


def problems(env: Mapping[str, str], **mode: bool) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(env, **mode)
    return caught.value.problems


def problem(**env: str) -> str:
    (message,) = problems(NEEDED | env)
    return message
