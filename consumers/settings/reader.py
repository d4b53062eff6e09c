"""Reading the settings again when a file that they come from has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.settings.load import files_of_settings, load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from consumers.settings.model import Settings

Stamp = tuple[int, int, int] | None


class SettingsReader:
    """Reads the settings, and reads them again only after a change of their files."""

    def __init__(self, config: Path | None = None) -> None:
        self._config = config
        self._stamps: dict[Path, Stamp] = {}

    def read(self) -> Settings:
        """Read the settings. Raises ConfigurationError."""
        # before reading, so that a change in the meantime is seen the next time
        stamps = _stamps([*files_of_settings(self._config), *self._stamps])
        settings = load_settings(self._config)
        key_file = settings.crowdsec.api_key_file
        if key_file is not None and key_file not in stamps:
            self._stamps = {key_file: None}
            return self.read()
        self._stamps = stamps
        return settings

    def read_if_changed(self) -> Settings | None:
        """Read the settings if a file has changed since they were last read, else return None.

        Raises ConfigurationError; then the next call reads again.
        """
        if _stamps(list(self._stamps)) == self._stamps:
            return None
        return self.read()


def _stamps(paths: list[Path]) -> dict[Path, Stamp]:
    """Return what changes with a file. A mounted secret is replaced by another file."""
    stamps: dict[Path, Stamp] = {}
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            stamps[path] = None
        else:
            stamps[path] = (found.st_ino, found.st_size, found.st_mtime_ns)
    return stamps
