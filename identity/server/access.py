"""Who may ask: the right peer, host and origin, a key where keys are set, and not too often.

Without keys only this machine is answered. The connection itself must come from it, because whoever connects writes
the headers. A proxy on this machine would pass on requests of others, so what proxies add to a request is refused. A
web page opened in the user's browser can still send requests here, so a request must name this machine as its host,
and one that a browser sends for another site is refused; another port of this machine is another site.

`open` says that something in front decides who may ask. Then only what a browser sends for another site is refused.
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
# What proxies add, each with `_` for `-` as well.
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
    ]
)
_FORWARDED_PREFIXES = (
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
    """ASGI middleware. The number of the key that was sent is left as `caller` in the scope's state.

    Args:
        app: what is guarded.
        keys: none: no key is asked for, but the request must be from this machine, unless `open`.
        rate: requests a minute for each key.
        clock: seconds, ever growing.
        open: anybody may ask without a key.
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
        """Refuse, or let through."""
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
                429, "too-often", f"at most {self._buckets.rate} requests a minute for a key", after
            )

    def _caller(self, headers: Headers) -> int | None:
        """Which key was sent; all are compared, each in constant time."""
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        given = _digest(sent.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", ""))
        found = None
        for number, key in enumerate(self._keys):
            if hmac.compare_digest(given, key):
                found = number
        return found


class Buckets:
    """Token buckets: each caller may make `rate` requests at once, and gets them back within a minute."""

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self.rate = rate
        self._clock = clock
        self._left: OrderedDict[int, tuple[float, float]] = OrderedDict()

    def take(self, caller: int) -> float:
        """0 and a token less, or how many seconds until there is one."""
        now = self._clock()
        left, then = self._left.pop(caller, (float(self.rate), now))
        left = min(float(self.rate), left + (now - then) * self.rate / 60)
        taken = left >= 1
        self._left[caller] = (left - taken, now)
        if len(self._left) > _MOST_CALLERS:
            self._left.popitem(last=False)
        return 0.0 if taken else (1 - left) * 60 / self.rate


def _refuse_other_machines(scope: Scope, headers: Headers) -> None:
    """Without keys only this machine may ask."""
    if not _is_loopback(scope.get("client")):
        raise Problem(
            403, "foreign-peer", "without keys this server answers connections from its own machine only"
        )
    if scope.get("http_version") == "1.0":  # as proxies ask that were given no other setting
        raise Problem(
            403, "forwarded", "HTTP/1.0: a proxy may have passed this on; behind one this server needs keys"
        )
    plain = [name.replace("_", "-") for name in headers]
    added = [name for name in plain if name in _FORWARDED or name.startswith(_FORWARDED_PREFIXES)]
    if added:
        raise Problem(
            403, "forwarded", f"{added[0]}: a proxy passed this on; behind one this server needs keys"
        )
    hosts = headers.getlist("host")
    if len(hosts) != 1 or "@" in hosts[0] or _host_of(f"//{hosts[0]}") not in LOOPBACK:
        raise Problem(
            403, "foreign-host", "this server answers to the name of this machine only, or asks for a key"
        )


def _refuse_other_sites(scope: Scope, headers: Headers, behind_proxy: bool) -> None:
    """A browser says for which site it sends: by the origin, or by `Sec-Fetch-Site` where there is none."""
    scheme, host = scope.get("scheme", "http"), headers.get("host", "")
    origin = headers.get("origin")
    foreign = headers.get("sec-fetch-site", "none") not in _OWN_SITE
    if origin is not None:
        site = _site(origin)
        if behind_proxy and site is not None:
            scheme = site[0]  # a proxy that speaks TLS asks this server over plain HTTP
        foreign = foreign or site is None or site != _site(f"{scheme}://{host}")
    if foreign:
        raise Problem(403, "foreign-origin", "sent on behalf of another site")


def _is_loopback(client: tuple[str, int] | None) -> bool:
    """Whether a connection comes from this machine; one whose other end is unknown does not."""
    try:
        address = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _host_of(url: str) -> str:
    """The host in a URL, lower case; empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _site(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port of an origin such as `http://127.0.0.1:8000`; None for anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    plain = parts.hostname and not (parts.path or parts.query or parts.fragment or parts.username)
    return (parts.scheme, parts.hostname or "", port) if plain else None
