"""Ask a server of `identity.serve` from Python.

    from identity.client import Client

    likeness = Client("http://127.0.0.1:8000")
    for answer in likeness.identify(["photo.jpg", "another.heic"]):
        print(answer["photo"], [face["name"] for face in answer["faces"]])

Answers are the JSON that the server gives, see its `/openapi.json`. A server that is busy is asked again, as often as
it says.
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

_PORTION = 20  # photos of one request
_BUSY = frozenset([429, 503])


class ServerError(LikenessError):
    """The server refused.

    Args:
        status: of HTTP; 0 where there was no answer.
        kind: of the problem, see `identity.server.problems`.
        detail: what is wrong.
    """

    def __init__(self, status: int, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.status, self.kind = status, kind


class Client:
    """A server.

    Args:
        url: of the server.
        key: one of its keys, if it has any.
        patience: seconds that a busy server is asked again.
        timeout: seconds without an answer after which it is given up.
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
        """Who is on photos: one answer for each, in order; a zip gives one for each photo in it.

        Args:
            photos: files.
            fpir: share of strangers who may be given a name; the server's own if None.

        Raises:
            InputError: a file that cannot be read.
            ServerError: the server refused.
        """
        paths = [Path(photo) for photo in photos]
        query = {} if fpir is None else {"fpir": fpir}
        for start in range(0, len(paths), _PORTION):
            part = [("files", path) for path in paths[start : start + _PORTION]]
            yield from self._ask("POST", "/v1/identify", part, query).json()["results"]

    def verify(self, a: Path | str, b: Path | str, fmr: float = 0.001) -> dict[str, Any]:
        """Whether two photos show the same person.

        Args:
            a, b: files.
            fmr: share of pairs of different people that may be let through.

        Raises:
            InputError, ServerError: as `identify`.
        """
        files = [("a", Path(a)), ("b", Path(b))]
        answer: dict[str, Any] = self._ask("POST", "/v1/verify", files, {"fmr": fmr}).json()
        return answer

    def organise(self, photos: Iterable[Path | str], out: Path | str, every: float = 1.0) -> dict[str, Any]:
        """Sort photos into albums by person, and fetch them; the server keeps nothing.

        Args:
            photos: files, or zips of them.
            out: the zip with the albums.
            every: seconds between questions whether it is done.

        Returns:
            What is in the albums, as `albums.json` of `identity.organise`.

        Raises:
            InputError, ServerError: as `identify`; or the job failed.
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
        """Everybody who is enrolled, and the number of photos.

        Raises:
            ServerError: the server refused.
        """
        found = self._ask("GET", "/v1/people").json()["people"]
        return {person["name"]: person["photos"] for person in found}

    def enrol(self, name: str, photos: Iterable[Path | str]) -> dict[str, Any]:
        """Enrol somebody from a few photos.

        Raises:
            InputError, ServerError: as `identify`; or the name is taken, or no photo has a face.
        """
        files = [("files", Path(photo)) for photo in photos]
        answer: dict[str, Any] = self._ask("POST", "/v1/people", files, fields={"name": name}).json()
        return answer

    def forget(self, name: str) -> dict[str, Any]:
        """Forget somebody.

        Raises:
            ServerError: nobody is called so, or the server refused.
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
        told = answer.json()
        return ServerError(answer.status_code, str(told["type"]).rpartition(":")[2], str(told["detail"]))
    except (ValueError, KeyError, TypeError):
        return ServerError(
            answer.status_code, "unknown", f"{answer.url}: {answer.status_code} {answer.reason}"
        )
