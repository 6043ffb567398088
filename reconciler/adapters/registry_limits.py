"""The bounds on what one registry client reads, waits for, repeats and writes."""

from __future__ import annotations

from dataclasses import dataclass

from state.oci import MANIFEST_MAX_BYTES

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one registry client; the defaults suit a public registry and 16 worker threads."""

    connections: int = 16
    """Pooled connections; at least as many as there are worker threads, more threads wait for a free one."""
    connect_timeout_s: float = 5
    read_timeout_s: float = 30
    """For each single read from the socket."""
    call_timeout_s: float = 120
    """For one call with all its redirects, tries and waits, until the last byte of the body."""
    listing_timeout_s: float = 600
    """The same for a listing, over all its pages."""
    attempts: int = 4
    """How often a call that may be repeated is sent, the first time included."""
    backoff_base_s: float = 0.25
    backoff_cap_s: float = 8
    """The wait before try n+1 is uniform in 0 .. min(cap, base * 2^(n-1)): full jitter."""
    retry_after_cap_s: float = 30
    """A registry that asks for a longer pause is not waited for: the caller gets the number instead."""
    cooldown_s: float = 60
    """The pause after a rate limit that names none."""
    writes_per_s: float | None = 10
    """Writes per registry owner (the first path part), over all threads; None writes unpaced."""
    writes_burst: int = 10
    redirects: int = 5
    manifest_max_bytes: int = MANIFEST_MAX_BYTES
    tags_max_bytes: int = 64 * _MIB
    tags_max_pages: int = 10_000
    token_max_bytes: int = 64 * 1024
    error_max_bytes: int = 8 * 1024
    """An error's body is read up to here and no further."""
