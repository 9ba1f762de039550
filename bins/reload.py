"""SIGHUP: `ENV_FILE` and `ISSUERS_FILE` are read again while the server goes on (docs/operations.md 11.2)."""

import asyncio
from typing import Final

import structlog

from less_sync.bins.services import log_at
from less_sync.bins.settings.config import ConfigError, Settings
from less_sync.bins.settings.live import LIVE, refusal_of, with_live
from less_sync.bins.settings.shown import in_force
from less_sync.sync.services import Services

READ_TIMEOUT_S: Final = 10.0
"""For the file, which may lie on a share of the network that does not answer."""

_log = structlog.get_logger(__name__)


class Reloading:
    """Reads the settings again when it is asked to, and lets take effect what can."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self._settings = settings
        """As they are in force: what needs a restart stays as it was at the start."""
        self._services = services
        self._reading: asyncio.Task[Settings] | None = None

    async def run(self, asked: asyncio.Event, keys: asyncio.Event) -> None:
        """Look again whenever `asked` is set, which is cleared then; `keys` is set before each look.

        Two tasks cannot wait for one event that each of them clears, so the keeper of the own keys is told by
        another.
        """
        while True:
            await asked.wait()
            asked.clear()
            keys.set()
            try:
                await self.look_again()
            except Exception:  # what is in force goes on, and so does the server
                _log.exception("settings are not taken over")

    async def look_again(self) -> None:
        """Read the file again. What is wrong with it is logged, all of it, and nothing changes then."""
        if self._settings.given.file is None and self._settings.issuers.file is None:
            _log.info("settings are not read again: there is no ENV_FILE and no ISSUERS_FILE")
            return
        try:
            new = await self._read()
        except ConfigError as error:
            _refuse(*error.problems)
        except TimeoutError:
            _refuse("ENV_FILE cannot be read: the file system does not answer")
        else:
            refused = refusal_of(self._settings, new)
            if refused is None:
                self._take_over(new)
            else:
                _refuse(refused)

    async def _read(self) -> Settings:
        """The settings as they would be read now; in a thread, and in one at a time.

        Raises:
            ConfigError: they are not usable.
            TimeoutError: nothing was to be had within the time, or the look before still waits.
        """
        if self._reading is not None and not self._reading.done():
            raise TimeoutError
        self._reading = asyncio.create_task(asyncio.to_thread(self._settings.again))
        done, _ = await asyncio.wait({self._reading}, timeout=READ_TIMEOUT_S)
        if not done:
            raise TimeoutError
        return self._reading.result()

    def _take_over(self, new: Settings) -> None:
        old = self._settings
        before, after = in_force(old), in_force(new)
        changed = [name for name, value in after.items() if value != before[name]]
        if new.issuers.ruled != old.issuers.ruled and "ISSUERS_FILE" not in changed:
            changed.append("ISSUERS_FILE")  # the same file with something else in it
        self._settings = with_live(old, new)
        if {"TRUSTED_ISSUERS", "ISSUERS_FILE", "AUDIENCES"} & set(changed):
            self._services.authenticator.trust(
                new.issuers.plain, new.token_policy.audiences, new.issuers.ruled
            )
        if "LOG_LEVEL" in changed:
            log_at(self._services, new.log.level)
        for warning in self._settings.warnings():
            if warning not in old.warnings():
                _log.warning(warning)
        _tell(changed)


def _refuse(*problems: str) -> None:
    for problem in problems:
        _log.error("settings are not taken over", problem=problem)


def _tell(changed: list[str]) -> None:
    taken = ",".join(name for name in changed if name in LIVE)
    waiting = ",".join(name for name in changed if name not in LIVE)
    if taken:
        _log.info("settings have changed", settings=taken)
    if waiting:
        _log.warning("settings take effect with the next restart", settings=waiting)
    if not changed:
        _log.info("settings are unchanged")
