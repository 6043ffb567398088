"""Whether a secret's file is for its owner and this process alone, by its mode and its access control list.

systemd hands over credentials as files of root with an entry for the service's user. The group bits of such a file are
the list's mask, not what the group may do, so a check of the mode alone would refuse it. Source: acl(5), and
`linux/posix_acl_xattr.h` for the bytes.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path
from typing import Final

_ACL: Final = "system.posix_acl_access"
_VERSION: Final = 2
_USER, _GROUP_OBJECT, _GROUP, _OTHER = 0x02, 0x04, 0x08, 0x20
_NONE: Final = frozenset({errno.ENODATA, errno.ENOTSUP, errno.ENOENT})


def open_to_others(file: int | Path) -> bool:
    """Whether anybody but the owner and this process's user may read, write or run this file. Raises OSError."""
    listed = _acl(file)
    if listed is None:
        return bool(stat.S_IMODE(os.stat(file).st_mode) & 0o077)  # noqa: PTH116 - of a descriptor, too
    if len(listed) < 4 or struct.unpack_from("<I", listed)[0] != _VERSION:
        return True
    for tag, allowed, who in struct.iter_unpack("<HHI", listed[4 : 4 + (len(listed) - 4) // 8 * 8]):
        ours = tag == _USER and who == os.geteuid()
        if allowed and tag in {_USER, _GROUP_OBJECT, _GROUP, _OTHER} and not ours:
            return True
    return False


def _acl(file: int | Path) -> bytes | None:
    """The extended attribute; None where the file has no list, or the system no such thing."""
    if not hasattr(os, "getxattr"):
        return None
    try:
        return os.getxattr(file, _ACL)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise
