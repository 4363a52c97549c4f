"""Read multipart forms with this server's limits: more files than Starlette allows, but few other fields."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from identity.server.problems import storage_problem
from identity.server.uploads import too_many

_MOST_FIELDS = 8
_MOST_OF_A_FIELD = 4_000  # bytes; a name has at most 200 characters
_IN_MEMORY = 64_000  # bytes of a file; larger ones are nameless temporary files


def upload_route(max_files: int) -> type[APIRoute]:
    """Return a class of routes whose requests may contain many files.

    Args:
        max_files: most files in a request.
    """
    MultiPartParser.spool_max_size = (
        _IN_MEMORY  # with Starlette's megabyte per file, a request could take 5 GB
    )

    class Form(Request):
        """A request whose form is read with these limits."""

        def form(self, **_usual: Any) -> Any:
            return super().form(max_files=max_files, max_fields=_MOST_FIELDS, max_part_size=_MOST_OF_A_FIELD)

    class UploadRoute(APIRoute):
        """A route that reads forms with these limits."""

        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            usual = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    return await usual(Form(request.scope, request.receive))
                except HTTPException as error:
                    if error.status_code == 400 and str(error.detail).startswith("Too many files"):
                        raise too_many(max_files) from error
                    if error.status_code == 400 and (problem := storage_problem(error.__cause__)):
                        raise problem from error
                    raise

            return handle

    return UploadRoute
