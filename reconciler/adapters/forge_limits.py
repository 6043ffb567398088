"""The bounds on what one forge client reads, waits for, repeats and writes."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ForgeLimits:
    """Bounds of one forge client. A forge asks for requests one after another, and a second between writes.

    Source: docs.github.com, "Best practices for using the REST API".
    """

    connections: int = 4
    connect_timeout_s: float = 5
    read_timeout_s: float = 30
    """For each single read from the socket."""
    call_timeout_s: float = 120
    """For one call with its redirects, tries and waits, until the last byte of the body."""
    attempts: int = 3
    """How often a read is sent, the first time included. A write is sent once."""
    backoff_base_s: float = 0.5
    backoff_cap_s: float = 8
    retry_after_cap_s: float = 10
    """A forge that asks for a longer pause is not waited for: the caller gets the number instead."""
    cooldown_s: float = 60
    """The pause after a limit that names none. Source: docs.github.com, "Rate limits for the REST API"."""
    pause_max_s: float = 3600
    """No answer alone silences us for longer."""
    write_spacing_s: float = 1.0
    redirects: int = 3
    answer_max_bytes: int = 16 * _MIB
    """One page of 100 pull requests is 1.4 MB at GitHub, where each embeds two repositories."""
    pages_max: int = 200
    """100 pull requests each; a listing with more is not complete."""
    stored_max: int = 1000
    """Answers kept for conditional requests, at most."""
    error_max_bytes: int = 8 * 1024
