"""A file of a job as an answer, whole or a part of it."""

import re

from starlette.datastructures import Headers
from starlette.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from identity.server.problems import Problem

_ONE_PART = re.compile(r"bytes=(\d{1,18}-\d{0,18}|-\d{1,18})")


class ZipResponse(FileResponse):
    """As Starlette's, but what is no request for one part gets the whole, and every error is a problem document."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
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
            await Problem(404, "no-such-job", "no such job; its time may be over").response()(
                scope, receive, send
            )
        elif refused:
            problem = Problem(416, "no-such-part", "the file has no such part; fetch it whole")
            await problem.response()(scope, receive, send)
