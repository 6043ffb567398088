"""Signing statements with short-lived certificates of a Sigstore deployment, public or private.

A token of ours is exchanged for a certificate of ten minutes (Fulcio), and each signature is put into a log (Rekor).
Import this module only where kind sigstore is configured: sigstore takes 0.3 s to import.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import requests
from requests.adapters import HTTPAdapter
from sigstore import oidc
from sigstore._internal.fulcio import ExpiredCertificate  # it has no public home
from sigstore.dsse import Statement
from sigstore.errors import Error as SigstoreError
from sigstore.errors import VerificationError
from sigstore.models import ClientTrustConfig
from sigstore.sign import Signer, SigningContext

from reconciler.evidence.authority import CertificateClaims
from reconciler.evidence.certificates import claims_of
from reconciler.evidence.found import Refused
from reconciler.strict_yaml import read_regular
from state.errors import ConfigError, Denied, InvalidValue, RateLimited, ReconcilerError, Unavailable

_FILE_MAX_BYTES: Final = 1024 * 1024
_TOKEN_MAX_BYTES: Final = 64 * 1024
_KEPT_S: Final = 240.0
"""How long one certificate is used; it is good for ten minutes."""
_TIMEOUT_S: Final = (5.0, 30.0)
"""Connecting, and waiting for each piece of an answer."""
_SHOWN_MAX: Final = 300

_T = TypeVar("_T")


class _Held(NamedTuple):
    signer: Signer
    claims: CertificateClaims
    until: float
    """`time.monotonic()` from which on another one is fetched."""


class SigstoreSigner:
    """Implements `ports.EvidenceSigner`; safe to share between threads."""

    def __init__(self, trust_config_file: Path, token_file: Path | None, *, deadline_s: float = 60.0) -> None:
        """`token_file` holds an OIDC token for the audience `sigstore`; None takes the CI's ambient one.

        `deadline_s` bounds each exchange with the deployment. Raises ConfigError if the trust config cannot be used.
        """
        raw = read_regular(trust_config_file, max_bytes=_FILE_MAX_BYTES)
        try:
            self._context = SigningContext.from_trust_config(ClientTrustConfig.from_json(raw.decode()))
            self.trusted_root = json.dumps(json.loads(raw)["trustedRoot"]).encode()
            """The deployment's trusted root (JSON), which proves what this signer signs."""
        except Exception as error:  # whatever is wrong with it, it cannot be used
            raise ConfigError(
                f"{trust_config_file}: expected a Sigstore client trust configuration (JSON):"
                f" {type(error).__name__}: {str(error)[:_SHOWN_MAX]}"
            ) from error
        _refuse_without_timestamps(json.loads(raw)["signingConfig"], trust_config_file)
        self._token_file = token_file
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._held: _Held | None = None

    def sign(self, statement: bytes) -> bytes:
        """See EvidenceSigner; raises InvalidValue too, for a statement that sigstore does not sign."""
        try:
            made = Statement(statement)
        except SigstoreError as error:
            raise InvalidValue(f"statement cannot be signed: {str(error)[:_SHOWN_MAX]}") from error
        return self._sign(made)

    def sign_marker(self, payload: bytes) -> bytes:
        """A bundle of a marker's statement; raises what `sign` raises.

        Its first subject is a git commit, which sigstore's own model of statements does not know; `state.approval`
        has checked it.
        """
        made = Statement.__new__(Statement)
        made._contents = payload
        return self._sign(made)

    def _sign(self, made: Statement) -> bytes:
        held = self._current()
        try:
            return self._signed(held, made)
        except ExpiredCertificate:  # a deployment may issue shorter ones than we keep
            held = self._current(instead_of=held)
        try:
            return self._signed(held, made)
        except ExpiredCertificate as error:
            raise _clocks_differ() from error

    def claims(self) -> CertificateClaims:
        """Who we are, as our certificate says it. Raises what `sign` raises."""
        return self._current().claims

    def name(self) -> str:
        """The certificate identity. Raises what `sign` raises."""
        return self.claims().identity

    def _signed(self, held: _Held, statement: Statement) -> bytes:
        def work() -> bytes:
            _bound(getattr(self._context._rekor, "_session", None))  # each thread has a session of its own
            return held.signer.sign_dsse(statement).to_json().encode()

        return self._exchange(work, "Rekor", "")

    def _current(self, instead_of: _Held | None = None) -> _Held:
        """The signer in use, or a new one if it is too old, or is `instead_of`."""
        with self._lock:
            held = self._held
            if held is None or held is instead_of or time.monotonic() >= held.until:
                held = self._held = self._fetched()
            return held

    def _fetched(self) -> _Held:
        until = time.monotonic() + _KEPT_S
        token = self._token()

        def work() -> _Held:
            _bound(self._context._fulcio.session)
            signer = Signer(token, self._context)
            return _Held(signer, claims_of(signer._signing_cert()), until)

        try:
            return self._exchange(work, "Fulcio", str(token))
        except ExpiredCertificate as error:
            raise _clocks_differ() from error
        except Refused as error:
            raise ConfigError(f"Fulcio: issued a certificate that cannot be used: {error.text}") from error

    def _token(self) -> oidc.IdentityToken:
        where = str(self._token_file) if self._token_file is not None else "the ambient token"
        try:
            text = self._ambient() if self._token_file is None else self._read(self._token_file)
            return oidc.IdentityToken(text)
        except (SigstoreError, UnicodeDecodeError) as error:
            # Neither text nor cause of the error: a decoder may quote what it could not read.
            why = error if isinstance(error, oidc.IdentityError) else "not text"
            raise ConfigError(
                f"{where}: expected an OIDC token that is valid now, for the audience sigstore: {str(why)[:_SHOWN_MAX]}"
            ) from None

    @staticmethod
    def _read(path: Path) -> str:
        return read_regular(path, max_bytes=_TOKEN_MAX_BYTES).decode().strip()

    @staticmethod
    def _ambient() -> str:
        found = oidc.detect_credential()
        if found is None:
            raise ConfigError(
                "evidence.signer: token_file is null, and there is no ambient token here (as GitHub Actions has with"
                " `permissions: id-token: write`); name the file of a token"
            )
        return found

    def _exchange(self, work: Callable[[], _T], who: str, secret: str) -> _T:
        """The result of `work`, which talks to `who`, within the deadline. Raises ExpiredCertificate and our errors."""
        answers: queue.SimpleQueue[_T | Exception] = queue.SimpleQueue()

        def run() -> None:
            try:
                answers.put(work())
            except Exception as error:  # noqa: BLE001  (told to the caller, below)
                answers.put(error)

        # Nothing can end a thread that waits on a socket: it is left behind, and ends by its own timeouts.
        threading.Thread(target=run, name=f"sigstore-{who}", daemon=True).start()
        try:
            answer = answers.get(timeout=self._deadline_s)
        except queue.Empty:
            raise Unavailable(f"{who}: no answer within {self._deadline_s:g} s") from None
        if not isinstance(answer, Exception):
            return answer
        if isinstance(answer, ExpiredCertificate | Refused | ReconcilerError):
            raise answer
        # The cause is not chained: its request holds the token.
        raise _told(answer, who, secret) from None


def _refuse_without_timestamps(signing: dict[str, Any], file: Path) -> None:
    """A version 2 log gives no time: without a timestamp authority each try would log an entry that is of no use."""
    logs = {service.get("majorApiVersion") for service in signing.get("rekorTlogUrls") or ()}
    if logs == {2} and not signing.get("tsaUrls"):
        raise ConfigError(f"{file}: its log is of version 2, which needs a timestamp authority, and tsaUrls is empty")


def _clocks_differ() -> ConfigError:
    return ConfigError(
        "Fulcio: a fresh certificate is expired already: the clocks of this machine and of Fulcio differ"
    )


class _Bounded(HTTPAdapter):
    """Adds the timeouts that sigstore's clients lack."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        return super().send(request, *args, **{**kwargs, "timeout": kwargs.get("timeout") or _TIMEOUT_S})


def _bound(session: requests.Session | None) -> None:
    if session is not None and not isinstance(session.get_adapter("https://"), _Bounded):
        for scheme in ("https://", "http://"):
            session.mount(scheme, _Bounded())


def _told(error: Exception, who: str, secret: str) -> ReconcilerError:
    """One of our errors, with what the server said."""
    response = _response(error)
    if response is None:
        if isinstance(error, VerificationError):
            return ConfigError(
                f"{who}: what it issued is not vouched for by the trust config: {str(error)[:_SHOWN_MAX]};"
                " expected the file of the same deployment"
            )
        if isinstance(error, oidc.ExpiredIdentity):
            return ConfigError(f"{who}: the OIDC token expired before it was used")
        return Unavailable(_without(f"{who}: no usable answer: {type(error).__name__}: {error}", secret))
    text = _without(f"{who}: {response.status_code}: {_message(response)}", secret)
    if response.status_code == 429:
        return RateLimited(text)
    return Unavailable(text) if response.status_code >= 500 else Denied(text)


def _response(error: BaseException | None) -> requests.Response | None:
    """The answer that an error is about; Sigstore's own errors hide it in what caused them."""
    while error is not None:
        if isinstance(error, requests.RequestException) and error.response is not None:
            return error.response
        error = error.__cause__ or error.__context__
    return None


def _message(response: requests.Response) -> str:
    try:
        said = response.json()["message"]
    except (ValueError, KeyError, TypeError):
        said = response.text
    return " ".join(str(said).split())


def _without(text: str, secret: str) -> str:
    return (text.replace(secret, "[token]") if secret else text)[:_SHOWN_MAX]
