"""The settings: the one package that reads the environment and the configuration file."""

from consumers.settings.clouds import authority_of, cloud_of
from consumers.settings.lists import ListSettings, MmdbSettings
from consumers.settings.load import load_settings
from consumers.settings.model import (
    CheckpointSettings,
    CrowdSecSettings,
    EventHubSettings,
    FeedSettings,
    HttpSettings,
    LogsSettings,
    PolicySettings,
    SentinelSettings,
    ServiceSettings,
    Settings,
    StateSettings,
)
from consumers.settings.reader import SettingsReader

__all__ = [
    "CheckpointSettings",
    "CrowdSecSettings",
    "EventHubSettings",
    "FeedSettings",
    "HttpSettings",
    "ListSettings",
    "LogsSettings",
    "MmdbSettings",
    "PolicySettings",
    "SentinelSettings",
    "ServiceSettings",
    "Settings",
    "SettingsReader",
    "StateSettings",
    "authority_of",
    "cloud_of",
    "load_settings",
]
