"""Serve a run over HTTP, with a web page: `python -m identity.serve --model RUN [--host 127.0.0.1 --port 8000]`.

The page is at `/` and the OpenAPI document at `/openapi.json`; `identity.server` describes both. Without keys the
server listens on this machine only, and answers neither other machines nor proxies. With `--keys FILE` (one key per
line) it may listen on other addresses; put a proxy that provides TLS in front of it. With `--open` it requires no key
and answers everybody who can reach it. Use this only if something else guards the server: a proxy that asks for
passwords, or a network of its own.

`serve run identity.serve:app` runs the same application on Ray Serve. The environment variables `LIKENESS_MODEL`,
`LIKENESS_KEYS` (or `LIKENESS_OPEN=1`) and `LIKENESS_FPIR` then replace the options, and `LIKENESS_REPLICAS` is the
number of replicas.

Exit codes: 0, ended by SIGTERM or Ctrl-C after every accepted request was answered; 2, wrong call or unusable run.
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

from augmentor.command_line import CommandParser, called_as, require_extra
from augmentor.errors import InputError, LikenessError
from augmentor.photos.private_files import private_files
from identity.chips.many_photos import available_cores
from identity.networks.tensorflow_loading import load_tensorflow


@private_files()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    options = make_parser().parse_args(arguments)
    try:
        require_extra("server", ("fastapi", "starlette", "uvicorn", "python_multipart", "prometheus_client"))
        # imported here, because the processes that detect faces import this module and need none of these
        from identity.server.access import LOOPBACK
        from identity.server.settings import MEGABYTE, SERVED_PIXELS, Settings, read_keys

        keys = read_keys(options.keys) if options.keys else frozenset()
        if not keys and not options.open and options.host not in LOOPBACK:
            raise InputError(
                f"--host {options.host}: without keys, other machines could name the people in photos; "
                "give --keys FILE, with one key per line"
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

        # An unusable run or threshold is reported before the server starts.
        Bundle.load(settings.model).decision.threshold(settings.fpir)
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
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # every large upload is an open, nameless file
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    log_to_stderr()
    sys.setswitchinterval(0.001)  # threads that unpack uploads soon yield to the thread that answers
    config = uvicorn.Config(
        make_app(settings),
        access_log=False,  # paths contain the names of people
        log_level="critical",
        timeout_keep_alive=15,
        server_header=False,
        proxy_headers=False,  # with them, a client could claim to connect from another address
    )
    print(f"http://{settings.host}:{listening.getsockname()[1]}/  (Ctrl-C stops it)", file=sys.stderr)
    server = uvicorn.Server(config)
    # uvicorn raises these signals a second time after it has answered everybody.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    server.run(sockets=[listening])
    return 0 if server.started else 2


def _ray_app() -> Any:
    """Return the application as a Ray Serve deployment."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # by default Ray reports its usage to its makers
    from ray import serve

    from identity.server.settings import Settings

    settings = Settings.from_environment()
    load_tensorflow(settings.threads)
    from identity.server.app import make_app

    @serve.deployment(
        num_replicas=int(os.environ.get("LIKENESS_REPLICAS", "1")),
        max_ongoing_requests=settings.max_requests,
        logging_config={"enable_access_log": False},  # paths contain the names of people
    )
    @serve.ingress(make_app(settings))
    class Likeness:
        """A replica; each has its own processes and networks, and all serve the same run on disk."""

    return Likeness.bind()  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    """Make `app` when Ray Serve asks for it, so that importing this module loads nothing."""
    if name == "app":
        return _ray_app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = CommandParser(prog=called_as("python -m identity.serve"), description="Serve a run over HTTP.")
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on; addresses that other machines can reach need --keys (127.0.0.1)",
    )
    add("--port", type=int, default=8000, help="port to listen on (8000)")
    add("--fpir", type=float, default=0.01, help="share of strangers who may be given a name (0.01)")
    add("--keys", type=Path, metavar="FILE", help="file with the keys that requests may use, one per line")
    add(
        "--open",
        action="store_true",
        help="require no key and answer everybody who can reach this server; only for servers where something in "
        "front decides who may use them",
    )
    add("--workers", type=int, help="number of processes that detect faces (all cores)")
    add("--threads", type=int, help="threads of the networks (a quarter of the cores)")
    add("--max-body", type=int, default=512, metavar="MB", help="largest request, in megabytes (512)")
    add("--max-files", type=int, default=5000, metavar="N", help="most photos in a request (5000)")
    add(
        "--max-pixels",
        type=int,
        metavar="N",
        help="most pixels in a photo; 200-megapixel phones need 250000000, and 2 GB more memory (120 million)",
    )
    add(
        "--photo-memory",
        type=int,
        metavar="MB",
        help="memory that reading a photo may add to its process; enforced only on Linux (enough for --max-pixels, "
        "1264 by default)",
    )
    add(
        "--photo-seconds",
        type=float,
        default=30.0,
        metavar="S",
        help="seconds after which reading a photo is given up (30)",
    )
    add(
        "--max-requests",
        type=int,
        default=64,
        metavar="N",
        help="requests answered at the same time; further ones get 503 (64)",
    )
    add(
        "--max-requests-of-a-key",
        type=int,
        metavar="N",
        help="requests with one key answered at the same time (half of --max-requests)",
    )
    add("--rate", type=int, default=600, metavar="N", help="requests per minute and key (600)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
