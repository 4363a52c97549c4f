"""Serve a run over HTTP, with a web page: `python -m identity.serve --model RUN [--host 127.0.0.1 --port 8000]`.

The page is at `/`, the OpenAPI document at `/openapi.json`; see `identity.server`. Without keys the server listens on
this machine only, and answers neither other machines nor proxies. With `--keys FILE` (one a line) it may listen
elsewhere, behind something that speaks TLS. With `--open` it asks for no key and answers everybody who can reach it:
only for a server that something else guards, a proxy that asks for passwords or a network of its own.

`serve run identity.serve:app` scales the same application out with Ray Serve; `LIKENESS_MODEL`, `LIKENESS_KEYS` (or
`LIKENESS_OPEN=1`) and `LIKENESS_FPIR` take the options' place, `LIKENESS_REPLICAS` says how many.

Exit code 0: ended by SIGTERM or Ctrl-C, what was taken on was answered; 2: wrong call or no usable run.
"""

import argparse
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from augmentor.errors import InputError, LikenessError
from augmentor.photos.private_files import private_files
from identity.chips.many_photos import available_cores
from identity.networks.tensorflow_loading import load_tensorflow


@private_files()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        # imported here: processes that look for faces import this module and need none of it
        from identity.server.access import LOOPBACK
        from identity.server.settings import MEGABYTE, SERVED_PIXELS, Settings, read_keys

        keys = read_keys(options.keys) if options.keys else frozenset()
        if not keys and not options.open and options.host not in LOOPBACK:
            raise InputError(
                f"--host {options.host}: other machines could ask who is on photos; give --keys FILE, one key a line"
            )
        settings = Settings(
            options.model,
            options.host,
            options.port,
            options.fpir,
            keys,
            options.open,
            options.workers or available_cores(),
            options.threads or max(1, available_cores() // 4),
            max_body=options.max_body * MEGABYTE,
            max_bodies=2 * options.max_body * MEGABYTE,
            max_files=options.max_files,
            max_pixels=options.max_pixels or SERVED_PIXELS,
            photo_memory=options.photo_memory * MEGABYTE if options.photo_memory else None,
            photo_seconds=options.photo_seconds,
            max_requests=options.max_requests,
            max_requests_of_a_key=options.max_requests_of_a_key,
            rate=options.rate,
        )
        load_tensorflow(settings.threads)
        from identity.runs.bundle import Bundle

        Bundle.load(settings.model).decision.threshold(
            settings.fpir
        )  # what is wrong is said before it is served
        return _serve(settings)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2


def _serve(settings: Any) -> int:
    import uvicorn

    from identity.server.app import make_app
    from identity.server.observed import log_to_stderr

    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise InputError(
            f"--host {settings.host} --port {settings.port}: cannot listen there ({error.strerror or error})"
        ) from error
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # each large upload is a nameless file
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    log_to_stderr()
    sys.setswitchinterval(0.001)  # threads that unpack uploads give way to the one that answers
    # its access log would have the names of people in paths
    config = uvicorn.Config(
        make_app(settings),
        access_log=False,
        log_level="critical",
        timeout_keep_alive=15,
        server_header=False,
        proxy_headers=False,  # they would let whoever connects say where the connection comes from
    )
    print(f"http://{settings.host}:{listening.getsockname()[1]}/  (Ctrl-C ends it)", file=sys.stderr)
    server = uvicorn.Server(config)
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # uvicorn raises them once more when it has answered everybody
        signal.signal(number, lambda _number, _frame: None)
    server.run(sockets=[listening])
    return 0 if server.started else 2


def _ray_app() -> Any:
    """The application as a Ray Serve deployment."""
    os.environ.setdefault(
        "RAY_USAGE_STATS_ENABLED", "0"
    )  # Ray tells its makers how it is used, unless told not to
    from ray import serve

    from identity.server.settings import Settings

    settings = Settings.from_environment()
    load_tensorflow(settings.threads)
    from identity.server.app import make_app

    @serve.deployment(
        num_replicas=int(os.environ.get("LIKENESS_REPLICAS", "1")),
        max_ongoing_requests=settings.max_requests,
        logging_config={"enable_access_log": False},  # its lines have paths, and those names of people
    )
    @serve.ingress(make_app(settings))
    class Likeness:
        """Each replica has its own processes and networks; all serve the run on disk as it is."""

    return Likeness.bind()  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    """`app` is made when Ray Serve asks for it: importing this module loads nothing."""
    if name == "app":
        return _ray_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m identity.serve", description="Serve a run over HTTP.")
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    add("--host", default="127.0.0.1", help="address to listen on; others than this machine's need --keys")
    add("--port", type=int, default=8000)
    add("--fpir", type=float, default=0.01, help="share of strangers who may be given a name (0.01)")
    add("--keys", type=Path, metavar="FILE", help="keys of those who may ask, one a line")
    add(
        "--open",
        action="store_true",
        help="ask for no key and answer everybody who can reach this server; only where something in front of it "
        "decides who may ask",
    )
    add("--workers", type=int, help="processes that look for faces (all cores)")
    add("--threads", type=int, help="of the networks (a quarter of the cores)")
    add("--max-body", type=int, default=512, metavar="MB", help="of a request (512)")
    add("--max-files", type=int, default=5000, metavar="N", help="photos of a request (5000)")
    add(
        "--max-pixels",
        type=int,
        metavar="N",
        help="of a photo; 200-megapixel phones need 250000000 and 2 GB more (120 million)",
    )
    add(
        "--photo-memory",
        type=int,
        metavar="MB",
        help="that reading a photo may add to its process (what --max-pixels take: 1264); only Linux keeps to it",
    )
    add(
        "--photo-seconds", type=float, default=30.0, metavar="S", help="for a photo, then it is given up (30)"
    )
    add("--max-requests", type=int, default=64, metavar="N", help="at once, more get 503 (64)")
    add("--max-requests-of-a-key", type=int, metavar="N", help="at once with one key (half of all)")
    add("--rate", type=int, default=600, metavar="N", help="requests a minute for each key (600)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
