"""Asks the ApplicationSet controller to look again, by a push event as GitHub sends it.

The controller's webhook refreshes every set with a plugin generator on any push or pull request event, whatever it is
about: alone, or as the second child of a matrix, not as its first. It takes GitHub's events alone where GitHub's secret
is configured. Source: argo-cd applicationset/webhook/webhook.go (`HandleEvent`, `shouldRefreshPluginGenerator`,
`shouldRefreshMatrixGenerator`).
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from typing import Final

import requests

from reconciler.adapters.forge_limits import ForgeLimits
from reconciler.adapters.http_errors import printable
from reconciler.adapters.http_transport import Call, Origin, Transport
from reconciler.ports import Clock
from state.errors import Denied, Unavailable

_LIMITS: Final = ForgeLimits(connections=1, read_timeout_s=5, call_timeout_s=10)
_BODY: Final = json.dumps(
    {
        "ref": "refs/heads/previews",
        # Its path must not be empty: the controller cuts off its first character.
        "repository": {"html_url": "https://ameide.invalid/previews", "default_branch": "main"},
    }
).encode()


class ControllerWebhook:
    """A `PreviewRefresh`.

    Args:
        url: of the controller's webhook, such as http://argocd-applicationset-controller.argocd:7000/api/webhook.
        read_secrets: `webhook.github.secret` of its `argocd-secret`, the first one signs. Raises ConfigError.
    """

    def __init__(self, url: str, read_secrets: Callable[[], tuple[str, ...]], clock: Clock) -> None:
        self._url = url
        self._read_secrets = read_secrets
        self._clock = clock
        self._transport = Transport(requests.Session(), Origin.of(url), _LIMITS, clock, verify=True)

    def refresh(self) -> None:
        secret = self._read_secrets()[0]
        where = f"POST {printable(self._url)}"
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-Hub-Signature-256": f"sha256={hmac.digest(secret.encode(), _BODY, 'sha256').hex()}",
        }
        call = Call("POST", self._url, where, headers, _BODY)
        response = self._transport.send(call, None, self._clock.monotonic_s() + _LIMITS.call_timeout_s)
        if response.status_code == 400:
            raise Denied(
                f"{where}: answered 400; check that this is the webhook of the ApplicationSet controller, not of "
                "argocd-server, and that preview.refresh.secret_file holds its webhook.github.secret"
            )
        if not 200 <= response.status_code < 300:
            raise Unavailable(f"{where}: answered {response.status_code}, expected 200")

    def close(self) -> None:
        """Close the pooled connection."""
        self._transport.close()
