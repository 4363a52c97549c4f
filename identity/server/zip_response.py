"""Answer a request with a zip of a job, or with a part of it."""

import re

from starlette.datastructures import Headers
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from identity.server.problems import Problem

_ONE_PART = re.compile(r"bytes=(\d{1,18}-\d{0,18}|-\d{1,18})")


class ZipResponse(FileResponse):
    """A file response like Starlette's, with two differences.

    A request that does not ask for exactly one part gets the whole file, and every error is a problem document.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file or the requested part."""
        wanted = Headers(scope=scope).get("range", "")
        if not _ONE_PART.fullmatch(wanted.replace(" ", "")):
            scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
        refused: list[int] = []

        async def passed(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                refused.append(message["status"])
            if not refused:
                await send(message)

        try:
            await super().__call__(scope, receive, passed)
        except (RuntimeError, FileNotFoundError) as error:
            if "does not exist" not in str(error) and not isinstance(error, FileNotFoundError):
                raise
            refused.append(404)
        if refused == [404]:
            problem = Problem(404, "no-such-job", "this job does not exist; its time may be over")
            await problem.response()(scope, receive, send)
        elif refused:
            problem = Problem(416, "no-such-part", "the file has no such part; download all of it")
            await problem.response()(scope, receive, send)
