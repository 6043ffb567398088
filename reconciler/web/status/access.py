"""Who may read the page. The bind address decides; an identity proxy in front can be made to be required."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final, NamedTuple

from werkzeug.wrappers import Request

from reconciler.settings.types import is_loopback

USER_MAX_CHARS: Final = 200
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Refused(Exception):
    """This request may not read the page; the text says what to do about it, and nothing of what is configured."""


class IdentityProxy(NamedTuple):
    """A proxy that signs people in and says in a header who asks."""

    user_header: str
    networks: tuple[_Network, ...]
    """The addresses that it connects from. From any other the header means nothing."""

    @classmethod
    def make(cls, user_header: str, addresses: Iterable[str]) -> IdentityProxy:
        return cls(user_header, tuple(ipaddress.ip_network(a) for a in addresses))


class Access:
    """Checks requests for pages; probes and metrics are not concerned."""

    def __init__(self, bound_host: str, proxy: IdentityProxy | None = None) -> None:
        """`bound_host` is the address that the listener is bound to."""
        self._bound_to_loopback = is_loopback(f"[{bound_host}]" if ":" in bound_host else bound_host)
        self._proxy = proxy

    def user(self, request: Request) -> str | None:
        """Who asks; None where no identity proxy is configured. Raises Refused."""
        if self._proxy is None:
            self._refuse_foreign_names(request)
            return None
        peer = _peer(request)
        if peer is None or not any(peer in network for network in self._proxy.networks):
            raise Refused("This page is read through the identity proxy; this request did not come from it.")
        user = request.headers.get(self._proxy.user_header, "").strip()
        # Several headers of one name arrive joined by a comma, and then it is not known which of them the proxy set.
        if not user or len(user) > USER_MAX_CHARS or not user.isprintable() or "," in user:
            raise Refused("The identity proxy did not say who you are: sign in, or have its user header configured.")
        return user

    def _refuse_foreign_names(self, request: Request) -> None:
        """A page of another site whose name was made to lead here (DNS rebinding) asks under that name."""
        if self._bound_to_loopback and not is_loopback(request.host):
            raise Refused("This page listens on this machine alone; ask for it as localhost or 127.0.0.1.")


def _peer(request: Request) -> _Address | None:
    try:
        peer = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return None
    mapped = peer.ipv4_mapped if isinstance(peer, ipaddress.IPv6Address) else None
    return mapped or peer
