"""What an operator gave: options, the file that `ENV_FILE` names, the environment. The earlier win."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from less_sync.bins.settings.env_file import EnvFile, read_env_file
from less_sync.bins.settings.reader import SettingsReader

FILE_VARIABLE = "ENV_FILE"


@dataclass(frozen=True, slots=True)
class Given:
    """Where variables come from, and what a command makes of it when some are missing."""

    environment: Mapping[str, str] = field(repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By the variable that each stands for."""
    file: EnvFile | None = None
    embedded: bool = False
    """No `DATABASE_URL` means the server's own Postgres, and then no issuers mean dev mode."""
    dev: bool = False
    """Dev mode was asked for."""
    issuers: bytes | None = field(default=None, repr=False)
    """What `ISSUERS_FILE` held when it was read for a worker; None: it is to be read."""

    def with_file(self) -> Self:
        """The same with the file that option or environment name, if they do.

        What systemd read from this file at the start stands in the environment too, and would come back when
        its line is removed. So what stands there with the file's value is taken for the file's.

        Raises:
            EnvFileError: the file cannot be used.
        """
        path = SettingsReader({**self.environment, **self.options}).text_or_empty(FILE_VARIABLE)
        if path is None:
            return self
        file = read_env_file(Path(path))
        rest = {
            name: value
            for name, value in self.environment.items()
            if name == FILE_VARIABLE or file.values.get(name) != value
        }
        return replace(self, environment=rest, file=file)

    def again(self) -> Self:
        """The same with all files as they are now.

        Raises:
            EnvFileError: the file cannot be used.
        """
        file = None if self.file is None else read_env_file(self.file.path)
        return replace(self, file=file, issuers=None)

    def values(self) -> dict[str, str]:
        """Every variable with the value that counts."""
        return {**self.environment, **self._from_file(), **self.options}

    def source(self, variable: str) -> str:
        """Which of the three a variable is taken from: `option`, `ENV_FILE` or `environment`."""
        if variable in self.options:
            return "option"
        return FILE_VARIABLE if variable in self._from_file() else "environment"

    def _from_file(self) -> Mapping[str, str]:
        """What the file sets; which file is read is not for the file to say."""
        values = {} if self.file is None else self.file.values
        return {name: value for name, value in values.items() if name != FILE_VARIABLE}
