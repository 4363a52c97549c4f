"""Client for a server started with `identity.serve`.

    from identity.client import Client

    likeness = Client("http://127.0.0.1:8000")
    for answer in likeness.identify(["photo.jpg", "another.heic"]):
        print(answer["photo"], [face["name"] for face in answer["faces"]])

Methods return the server's JSON answers, which its `/openapi.json` describes. When the server is busy, the client waits
as long as the server asks for and then repeats the request.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from augmentor.errors import InputError, LikenessError
from augmentor.photos.images import write_whole

_PORTION = 20  # photos per request
_BUSY = frozenset([429, 503])


class ServerError(LikenessError):
    """The server refused a request or did not answer.

    Args:
        status: HTTP status; 0 if the server did not answer.
        kind: kind of the problem, one of those in `identity.server.problems`; `no-answer` if the server did not
            answer, `unknown` if its answer was not understood.
        detail: explanation of the problem for people to read.
    """

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.kind = status, kind


class Client:
    """A connection to one server; use it as a context manager to close it at the end.

    Args:
        url: base URL of the server, for instance `http://127.0.0.1:8000`.
        key: API key, if the server requires one.
        patience: seconds during which requests to a busy server are repeated.
        timeout: seconds to wait for an answer before giving up.
    """

    def __init__(self, url: str, key: str | None = None, patience: float = 60, timeout: float = 600) -> None:
        self.url, self._patience, self._timeout = url.rstrip("/"), patience, timeout
        self._session = requests.Session()
        self._session.trust_env = False  # photos go to this server, not through a proxy of the environment
        if key is not None:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_error: object) -> None:
        self._session.close()

    def identify(self, photos: Iterable[Path | str], fpir: float | None = None) -> Iterator[dict[str, Any]]:
        """Name the people in photos.

        Args:
            photos: files; a zip stands for all photos in it.
            fpir: share of strangers who may be given a name; the server's default if None.

        Yields:
            One answer per photo, in order.

        Raises:
            InputError: A file cannot be read.
            ServerError: The server refused or did not answer.
        """
        paths = [Path(photo) for photo in photos]
        query = {} if fpir is None else {"fpir": fpir}
        for start in range(0, len(paths), _PORTION):
            part = [("files", path) for path in paths[start : start + _PORTION]]
            yield from self._ask("POST", "/v1/identify", part, query).json()["results"]

    def verify(self, a: Path | str, b: Path | str, fmr: float = 0.001) -> dict[str, Any]:
        """Compare two photos and say whether they show the same person.

        Args:
            a: first photo.
            b: second photo.
            fmr: share of pairs of different people that may be accepted.

        Raises:
            InputError: A file cannot be read.
            ServerError: The server refused or did not answer.
        """
        files = [("a", Path(a)), ("b", Path(b))]
        answer: dict[str, Any] = self._ask("POST", "/v1/verify", files, {"fmr": fmr}).json()
        return answer

    def organise(self, photos: Iterable[Path | str], out: Path | str, every: float = 1.0) -> dict[str, Any]:
        """Sort photos into albums by person and download the albums; the server keeps nothing.

        Args:
            photos: files, or zips of them.
            out: the zip to write the albums to.
            every: seconds between two requests for the job's status.

        Returns:
            The contents of the albums, like `albums.json` of `identity.organise`.

        Raises:
            InputError: No photo is given, or a file cannot be read or written.
            ServerError: The server refused or did not answer, or the job failed.
        """
        paths = [Path(photo) for photo in photos]
        if not paths:
            raise InputError("no photo to organise")
        job: dict[str, Any] | None = None
        try:
            for start in range(0, len(paths), _PORTION):
                part = [("files", path) for path in paths[start : start + _PORTION]]
                more = start + _PORTION < len(paths)
                where = f"/v1/organise/{job['job']}/photos" if job else "/v1/organise"
                job = self._ask("POST", where, part, {"more": str(more).lower()}).json()
            assert job is not None
            while job["status"] == "running":
                time.sleep(every)
                job = self._ask("GET", f"/v1/organise/{job['job']}").json()
            if job["status"] != "done":
                raise ServerError(200, "failed", job["detail"])
            write_whole(Path(out), self._ask("GET", f"/v1/organise/{job['job']}/albums.zip").content)
        finally:
            if job is not None:
                self._ask("DELETE", f"/v1/organise/{job['job']}")
        albums: dict[str, Any] = job["albums"]
        return albums

    def people(self) -> dict[str, int]:
        """Return the number of photos of each enrolled person, by name.

        Raises:
            ServerError: The server refused or did not answer.
        """
        people = self._ask("GET", "/v1/people").json()["people"]
        return {person["name"]: person["photos"] for person in people}

    def enrol(self, name: str, photos: Iterable[Path | str]) -> dict[str, Any]:
        """Enrol a person from a few photos.

        Args:
            name: name of the person; must not be enrolled yet.
            photos: files.

        Raises:
            InputError: A file cannot be read.
            ServerError: The server refused or did not answer; the name is already enrolled; or no photo has a face.
        """
        files = [("files", Path(photo)) for photo in photos]
        answer: dict[str, Any] = self._ask("POST", "/v1/people", files, fields={"name": name}).json()
        return answer

    def forget(self, name: str) -> dict[str, Any]:
        """Forget a person.

        Raises:
            ServerError: Nobody of this name is enrolled, or the server refused or did not answer.
        """
        answer: dict[str, Any] = self._ask("DELETE", f"/v1/people/{quote(name, safe='')}").json()
        return answer

    def _ask(
        self,
        method: str,
        path: str,
        files: list[tuple[str, Path]] | None = None,
        query: dict[str, Any] | None = None,
        fields: dict[str, str] | None = None,
    ) -> requests.Response:
        until = time.monotonic() + self._patience
        while True:
            answer = self._once(method, path, files or [], query, fields)
            if answer.status_code in _BUSY and time.monotonic() < until:
                time.sleep(float(answer.headers.get("Retry-After", 1)))
            elif answer.ok:
                return answer
            else:
                raise _refusal(answer)

    def _once(
        self,
        method: str,
        path: str,
        files: list[tuple[str, Path]],
        query: dict[str, Any] | None,
        fields: dict[str, str] | None,
    ) -> requests.Response:
        with ExitStack() as stack:
            try:
                opened = [(name, (file.name, stack.enter_context(file.open("rb")))) for name, file in files]
            except OSError as error:
                raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
            try:
                return self._session.request(
                    method,
                    self.url + path,
                    params=query,
                    data=fields,
                    files=opened or None,
                    timeout=self._timeout,
                )
            except requests.RequestException as error:
                raise ServerError(0, "no-answer", f"{self.url}: no answer ({error})") from error


def _refusal(answer: requests.Response) -> ServerError:
    try:
        problem = answer.json()
        kind = str(problem["type"]).rpartition(":")[2]
        return ServerError(answer.status_code, kind, str(problem["detail"]))
    except (ValueError, KeyError, TypeError):
        return ServerError(
            answer.status_code, "unknown", f"{answer.url}: {answer.status_code} {answer.reason}"
        )
