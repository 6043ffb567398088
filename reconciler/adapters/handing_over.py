"""Writing what `handed_over` reads: files about a digest, each whole or not there."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from state.errors import ConfigError
from state.oci import Digest


def hand_over(directory: Path, digest: Digest, name: str, raw: bytes) -> Path:
    """Write `sha256-<hex>/<name>`, replacing an older one of that name. Raises ConfigError if it cannot be written."""
    folder = directory / f"sha256-{digest.hex}"
    fresh = folder / f".{name}.{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o755, exist_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644), "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(folder / name)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigError(f"{folder}: cannot be written: {error.strerror} (handed_over_dir)") from error
    return folder / name
