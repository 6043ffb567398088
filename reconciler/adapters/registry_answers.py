"""What a registry's good answers say: media type, digest, a page of tags and where the next one is.

Source: distribution-spec v1.1.1, Pulling manifests and Listing Tags; RFC 8288 (Link). Anything that is not such an
answer (a login page, a proxy's apology) is Unavailable, never an empty result.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import requests
from requests.utils import parse_header_links

from reconciler.adapters.http_transport import joined
from state import canonical
from state.errors import InvalidValue, Terminal, Unavailable, Unsupported
from state.oci import MANIFEST_MEDIA_TYPES, Digest, Tag

_SCHEMA_1: Final = "application/vnd.docker.distribution.manifest.v1+"
_OTHERS: Final = "application/vnd."
_SHOWN: Final = 80


def media_type(response: requests.Response, where: str) -> str:
    """The manifest's media type without parameters.

    Raises Unsupported for Docker schema 1 and other manifest types, Unavailable for what no registry serves here.
    """
    bare = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if bare in MANIFEST_MEDIA_TYPES:
        return bare
    shown = "".join(c for c in bare if c.isprintable())[:_SHOWN] or "no media type"
    if bare.startswith(_SCHEMA_1):
        raise Unsupported(f"{where}: Docker manifest schema 1 is not supported; push the image again with a newer tool")
    if bare.startswith(_OTHERS):
        raise Unsupported(f"{where}: {shown} is not a manifest type this program knows")
    raise Unavailable(f"{where}: expected a manifest, got {shown}, which is not a registry's answer")


def announced_digest(response: requests.Response, where: str) -> Digest | None:
    """`Docker-Content-Digest`, if there is one. Raises Unsupported for another algorithm or a malformed one."""
    text = response.headers.get("Docker-Content-Digest", "").strip()
    if not text:
        return None
    try:
        return Digest(text)
    except InvalidValue as error:
        raise Unsupported(f"{where}: Docker-Content-Digest: {error}") from error


def tag_page(response: requests.Response, where: str, max_bytes: int) -> list[Tag]:
    """The tags of one page, in its order; `null` is none. Raises Unavailable for what is no listing."""
    try:
        page = canonical.loads(response.content, what=where, max_bytes=max_bytes)
        if isinstance(page, dict) and "tags" in page:
            tags = page["tags"] if page["tags"] is not None else []
            if isinstance(tags, list):
                return [Tag(tag) for tag in tags]  # type: ignore[arg-type]  # Tag refuses what is no text
    except InvalidValue as error:
        raise Unavailable(f"{where}: not a tag listing: {error}") from error
    raise Unavailable(f"{where}: expected an object with `tags`, got something else; nothing was used")


def next_page(response: requests.Response, base: str, path: str, where: str) -> str | None:
    """The URL of the next page on our own registry, or None. Raises Terminal if the link leads elsewhere.

    Registries behind a TLS proxy write `http://` into absolute links: only path and query are taken, and the call goes
    where every call goes.
    """
    links = parse_header_links(response.headers.get("Link", ""))
    target = next((link["url"] for link in links if link.get("rel", "").lower() == "next"), None)
    if target is None:
        return None
    ours, theirs = urlsplit(base), urlsplit(joined(response.url, target, where))
    if _host(theirs.netloc) != _host(ours.netloc) or theirs.path != f"{ours.path}{path}":
        raise Terminal(f"{where}: the link to the next page leads to another place; nothing was used")
    return f"{ours.scheme}://{ours.netloc}{theirs.path}?{theirs.query}"


def _host(netloc: str) -> str:
    return netloc.lower().removesuffix(":80").removesuffix(":443")
