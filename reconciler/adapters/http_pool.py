"""The pooled connections of one session, found without what requests asks anew for every request.

A session here has no proxies, no client certificates and no cookies, and verifies every host in one way. So a host's
pool is found once, and an answer is not looked through for cookies: that was a tenth of the time that a small request
took on our side.
"""

from __future__ import annotations

import threading
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict


class PooledAdapter(HTTPAdapter):
    """HTTPAdapter for requests of `http_transport`. Thread-safe."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._finding = threading.Lock()
        self._pools: dict[tuple[str, str, bool | str], Any] = {}

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """The pool of the request's host, its verification set up. `proxies` and `cert` are never given here."""
        scheme, _, host = str(request.url).split("/", 3)[:3]
        key = scheme, host, verify
        if (pool := self._pools.get(key)) is None or pool.pool is None:  # let go of, since there were too many
            with self._finding:
                pool = super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)
                super().cert_verify(pool, str(request.url), verify, cert)  # type: ignore[no-untyped-call]
                self._pools[key] = pool
        return pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Done where the pool was made."""

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:  # noqa: ARG002
        """Path and query, as the request line has them."""
        path = str(request.path_url)
        return f"/{path.lstrip('/')}" if path.startswith("//") else path

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """The answer without cookies."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = CaseInsensitiveDict(resp.headers)
        response.raw = resp
        response.reason = resp.reason
        response.url = str(req.url)
        response.request = req
        return response
