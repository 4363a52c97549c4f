"""Measure a server of `identity.serve` under load, and compare it with a plain loop over the recogniser.

    python -m benchmarks.serve --model RUN --photos DIR [--clients 1 8 32] [--seconds 20] [--json]

Protocol: the loop names the photos below DIR in this process, one after the other (`Recogniser.files`, one worker).
Then a server of the same run is started on loopback. Each client, a thread with one connection, sends one photo
(`identify`) or two (`verify`) after the other for `--seconds`, starting at another place in the list; the first `WARM`
seconds do not count. Latencies are those of whole requests. `faces/s` of `identify` is compared with the loop's.
Overload: a server that answers `OVERLOADED` requests at once gets four times as many clients; every request that it
does not answer must get a 503 with Retry-After. Clients run on the same cores as the server.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import requests
from tqdm import tqdm

from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import list_photos
from identity.networks.tensorflow_loading import load_tensorflow

WARM = 3.0
OVERLOADED = 16
_START_SECONDS = 120


def plain_loop(model: Path, paths: Sequence[Path]) -> dict[str, float]:
    """Return the photos and faces a second of the recogniser alone."""
    load_tensorflow()
    from identity.runs.bundle import Bundle
    from identity.runs.recogniser import Recogniser

    recogniser = Recogniser(Bundle.load(model))
    list(recogniser.files(paths[:3]))  # loads networks and models
    started = time.perf_counter()
    faces = sum(len(answer.faces) for answer in tqdm(recogniser.files(paths), "plain loop", len(paths)))
    seconds = time.perf_counter() - started
    return {"photos_per_second": len(paths) / seconds, "faces_per_second": faces / seconds}


@contextmanager
def server(model: Path, *options: str) -> Iterator[str]:
    """Run a server in its own process, and yield its address."""
    words = [sys.executable, "-m", "identity.serve", "--model", str(model), "--port", "0", *options]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    url = process.stderr.readline().split()[0].rstrip("/")
    threading.Thread(
        target=lambda: [None for _ in process.stderr or ()], daemon=True
    ).start()  # reads its log
    try:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            try:
                if requests.get(f"{url}/readyz", timeout=_START_SECONDS).ok:
                    break
            except requests.RequestException:
                time.sleep(0.2)
        else:
            raise InputError(f"{model}: the server did not start within {_START_SECONDS} s")
        yield url
    finally:
        process.terminate()
        process.wait(60)


def load(url: str, what: str, photos: Sequence[bytes], clients: int, seconds: float) -> dict[str, Any]:
    """Send requests from several clients, and return rates, latencies and status codes."""
    begin = time.perf_counter() + WARM
    end = begin + seconds
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    faces = 0
    lock = threading.Lock()

    def client(number: int) -> None:
        nonlocal faces
        session = requests.Session()
        session.trust_env = False
        turn = number * len(photos) // clients
        while (now := time.perf_counter()) < end:
            one, other = photos[turn % len(photos)], photos[(turn + 1) % len(photos)]
            turn += 1
            sent = {"a": one, "b": other} if what == "verify" else {"files": one}
            answer = session.post(f"{url}/v1/{what}", files=sent, timeout=300)
            done = time.perf_counter()
            status = str(answer.status_code)
            if answer.status_code == 503 and "Retry-After" in answer.headers:
                status = "503 with Retry-After"
            if begin <= now and done <= end:
                with lock:
                    statuses[status] += 1
                    if answer.ok:
                        latencies.append(done - now)
                        if what == "identify":
                            faces += sum(len(result["faces"]) for result in answer.json()["results"])
            if not answer.ok:
                time.sleep(0.05)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    p50, p95, p99 = np.quantile(latencies, [0.5, 0.95, 0.99]) if latencies else [float("nan")] * 3
    return {
        "what": what,
        "clients": clients,
        "requests_per_second": len(latencies) / seconds,
        "faces_per_second": faces / seconds if what == "identify" else None,
        "p50_ms": 1000 * float(p50),
        "p95_ms": 1000 * float(p95),
        "p99_ms": 1000 * float(p99),
        "statuses": dict(statuses),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    paths = list_photos(options.photos)[: options.count]
    if not paths:
        raise InputError(f"{options.photos}: no photo in it; name a folder of photos")
    photos = [path.read_bytes() for path in paths]
    result: dict[str, Any] = {"loop": plain_loop(options.model, paths), "loads": []}
    with server(options.model) as url:
        for what in ("identify", "verify"):
            for clients in options.clients:
                result["loads"].append(load(url, what, photos, clients, options.seconds))
                tqdm.write(f"{what}, {clients} clients: done", file=sys.stderr)
    with server(options.model, "--max-requests", str(OVERLOADED)) as url:
        result["overload"] = load(url, "identify", photos, 4 * OVERLOADED, options.seconds)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serve", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--model", type=Path, required=True, metavar="RUN", help="a trained run")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos to send")
    parser.add_argument("--count", type=int, default=300, help="largest number of photos (%(default)s)")
    parser.add_argument(
        "--clients", type=int, nargs="+", default=[1, 8, 32], help="numbers of clients (1 8 32)"
    )
    parser.add_argument("--seconds", type=float, default=20, help="duration of each load (%(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    options = parser.parse_args(arguments)
    try:
        result = measure(options)
    except LikenessError as error:
        print(error, file=sys.stderr)
        return 2
    loop = result["loop"]
    print(
        f"plain loop: {loop['photos_per_second']:.1f} photos/s, {loop['faces_per_second']:.1f} faces/s\n\n"
        "| | clients | requests/s | faces/s | of the loop's | p50 ms | p95 ms | p99 ms | other answers |"
    )
    print("|---" * 9 + "|")
    for row in [*result["loads"], result["overload"] | {"what": "identify, overloaded"}]:
        faces = row["faces_per_second"]
        of_loop = [f"{faces:.1f}", f"{faces / loop['faces_per_second']:.0%}"] if faces else ["", ""]
        others = ", ".join(f"{n} times {status}" for status, n in row["statuses"].items() if status != "200")
        print(
            f"| {row['what']} | {row['clients']} | {row['requests_per_second']:.1f} | {' | '.join(of_loop)} "
            f"| {row['p50_ms']:.0f} | {row['p95_ms']:.0f} | {row['p99_ms']:.0f} | {others or 'none'} |"
        )
    if options.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
