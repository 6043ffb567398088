"""The error codes of the wire and the answer they become.

Source: OCI distribution-spec v1.1.1, Error Codes (code-1 to code-14).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from state.canonical import Json


class Code(StrEnum):
    """Every code a 4xx answer of this registry may carry."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    UNAUTHORIZED = "UNAUTHORIZED"
    DENIED = "DENIED"
    UNSUPPORTED = "UNSUPPORTED"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"


_STATUS: Final[dict[Code, int]] = {
    Code.BLOB_UNKNOWN: 404,
    Code.BLOB_UPLOAD_UNKNOWN: 404,
    Code.MANIFEST_BLOB_UNKNOWN: 404,  # end-7 names 404 and 413 as its failures
    Code.MANIFEST_UNKNOWN: 404,
    Code.NAME_UNKNOWN: 404,
    Code.UNAUTHORIZED: 401,
    Code.DENIED: 403,
    Code.UNSUPPORTED: 405,
    Code.TOOMANYREQUESTS: 429,
}


class WireError(Exception):
    """A request that is refused with a code of the specification.

    `status` is the code's usual HTTP status (400 where there is no other) unless it is given.
    """

    def __init__(
        self, code: Code, message: str, *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = _STATUS.get(code, 400) if status is None else status
        self.headers = dict(headers or {})


def error_body(code: str, message: str) -> dict[str, Json]:
    """The JSON body of an error answer."""
    return {"errors": [{"code": code, "message": message}]}
