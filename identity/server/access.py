"""Decide who may send requests: by connection, host, origin, key and rate.

A server without keys answers only requests from its own machine. The connection itself must come from this machine,
because a client can write any headers. A proxy on this machine would pass on the requests of others, so requests with
headers that proxies add are refused. A web page in the user's browser could still send requests here. Therefore a
request must name this machine as its host, and requests that a browser sends on behalf of another site are refused;
another port of this machine counts as another site.

With `open`, something in front of the server decides who may send requests. Then only requests that a browser sends on
behalf of another site are refused.
"""

import hashlib
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from identity.server.problems import Problem

LOOPBACK = frozenset(["localhost", "127.0.0.1", "::1"])
OPEN = frozenset(["/", "/page.css", "/page.js", "/icon.svg", "/healthz", "/readyz", "/openapi.json"])
# Headers that proxies add; spellings with `_` instead of `-` count as well.
_FORWARDED = frozenset(
    [
        *("forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip", "cdn-loop"),
        *("fastly-client-ip", "x-cluster-client-ip", "x-original-host", "x-original-url", "x-rewrite-url"),
        *(
            "x-request-start",
            "x-proxyuser-ip",
            "wl-proxy-client-ip",
            "proxy-client-ip",
            "x-appengine-user-ip",
        ),
        *("fly-client-ip", "do-connecting-ip", "remote-user", "x-remote-user", "x-scheme", "front-end-https"),
        *("max-forwards",),
    ]
)
_FORWARDED_PREFIXES = (
    "cloudfront-",
    "x-nf-",
    "x-vercel-",
    "ngrok-",
    "x-auth-request-",
    "x-forwarded",
    "x-original-forwarded",
    "x-envoy-",
    "tailscale-",
    "x-amzn-",
    "x-azure-",
    "cf-",
)
_OWN_SITE = frozenset(["same-origin", "none"])
_PORTS = {"http": 80, "https": 443}
_MOST_CALLERS = 10_000


class Access:
    """ASGI middleware that refuses requests of clients without permission.

    It stores the number of the key that was sent as `caller` in the scope's state.

    Args:
        app: the application to guard.
        keys: accepted keys; if there are none, requests must come from this machine, unless `open`.
        rate: requests per minute and key.
        clock: monotonic clock, seconds.
        open: answer everybody without a key.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: frozenset[str],
        rate: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        open: bool = False,
    ) -> None:
        self._app, self._keys, self._open = app, [_digest(key) for key in sorted(keys)], open
        self._buckets = Buckets(rate, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if not self._keys:
            if not self._open:
                _refuse_other_machines(scope, headers)
            _refuse_other_sites(scope, headers, self._open)
            return
        if scope["path"] in OPEN:
            return
        caller = self._caller(headers)
        if caller is None:
            how = {"WWW-Authenticate": 'Bearer realm="likeness"'}
            raise Problem(401, "no-key", "send a key as `Authorization: Bearer KEY`", how)
        scope.setdefault("state", {})["caller"] = caller
        wait = self._buckets.take(caller)
        if wait > 0:
            after = {"Retry-After": str(int(wait) + 1)}
            raise Problem(
                429,
                "too-often",
                f"a key may send at most {self._buckets.rate} requests per minute; try again later",
                after,
            )

    def _caller(self, headers: Headers) -> int | None:
        """Return the number of the key that was sent, or None; compares with all keys, each in constant time."""
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        digest = _digest(sent.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", ""))
        caller = None
        for number, key in enumerate(self._keys):
            if hmac.compare_digest(digest, key):
                caller = number
        return caller


class Buckets:
    """Token buckets: each caller may send `rate` requests at once, and the bucket refills within a minute.

    Args:
        rate: requests per minute and caller.
        clock: monotonic clock, seconds.

    Example:
        >>> buckets = Buckets(2, lambda: 0.0)
        >>> [buckets.take(0), buckets.take(0), buckets.take(0)]
        [0.0, 0.0, 30.0]
    """

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self.rate = rate
        self._clock = clock
        self._left: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def take(self, caller: int) -> float:
        """Take a token and return 0; if there is none, return the number of seconds until there is one."""
        now = self._clock()
        left, then = self._left.pop(caller, (float(self.rate), now))
        left = min(float(self.rate), left + (now - then) * self.rate / 60)
        taken = left >= 1
        self._left[caller] = (left - taken, now)
        if len(self._left) > _MOST_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if taken else (1 - left) * 60 / self.rate


def _refuse_other_machines(scope: Scope, headers: Headers) -> None:
    """Refuse a request that does not come from this machine.

    Raises:
        Problem: It comes from another machine, through a proxy, or names another host.
    """
    if not _is_loopback(scope.get("client")):
        raise Problem(
            403,
            "foreign-peer",
            "this server has no keys, so it answers connections from its own machine only",
        )
    if scope.get("http_version") == "1.0":  # the default of some proxies
        raise Problem(
            403,
            "forwarded",
            "HTTP/1.0: the request may have come through a proxy, where this server needs keys",
        )
    plain = [name.replace("_", "-") for name in headers]
    added = [name for name in plain if name in _FORWARDED or name.startswith(_FORWARDED_PREFIXES)]
    if added:
        raise Problem(
            403, "forwarded", f"{added[0]}: the request came through a proxy, where this server needs keys"
        )
    hosts = headers.getlist("host")
    if len(hosts) != 1 or "@" in hosts[0] or _host_of(f"//{hosts[0]}") not in LOOPBACK:
        raise Problem(
            403,
            "foreign-host",
            "this server has no keys, so a request must name the local machine as its host",
        )


def _refuse_other_sites(scope: Scope, headers: Headers, behind_proxy: bool) -> None:
    """Refuse a request that a browser sends on behalf of another site.

    Browsers name the site in `Origin` or, where this is missing, describe it in `Sec-Fetch-Site`.

    Raises:
        Problem: The request was sent on behalf of another site.
    """
    scheme, host = scope.get("scheme", "http"), headers.get("host", "")
    origin = headers.get("origin")
    foreign = headers.get("sec-fetch-site", "none") not in _OWN_SITE
    if origin is not None:
        site = _site(origin)
        if behind_proxy and site is not None:
            scheme = site[0]  # a proxy that provides TLS talks to this server over plain HTTP
        foreign = foreign or site is None or site != _site(f"{scheme}://{host}")
    if foreign:
        raise Problem(403, "foreign-origin", "the request was sent on behalf of another site")


def _is_loopback(client: tuple[str, int] | None) -> bool:
    """Return whether a connection comes from this machine; one whose other end is unknown does not."""
    try:
        address = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _host_of(url: str) -> str:
    """Return the host in a URL in lower case; an empty string if there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _site(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port of an origin such as `http://127.0.0.1:8000`; None for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    plain = parts.hostname and not (parts.path or parts.query or parts.fragment or parts.username)
    return (parts.scheme, parts.hostname or "", port) if plain else None
