"""The one configuration file: its sections, and how it is read, checked whole and digested (`loading`)."""

from reconciler.settings.loading import (
    CONFIG_MAX_BYTES,
    Loaded,
    environment_problems,
    load,
    policy_digest,
    sections_of,
    to_policy,
)
from reconciler.settings.model import RegistrySettings, RepositorySettings, Settings
from reconciler.settings.types import split_address

__all__ = [
    "CONFIG_MAX_BYTES",
    "Loaded",
    "RegistrySettings",
    "RepositorySettings",
    "Settings",
    "environment_problems",
    "load",
    "policy_digest",
    "sections_of",
    "split_address",
    "to_policy",
]
