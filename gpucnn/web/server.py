"""The page's server: on this computer only, for one model."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ..errors import GpucnnError
from .answers import Answers

PAGE = Path(__file__).parent / "page"
HOST = "127.0.0.1"
# On Windows SO_REUSEADDR would give two servers the same port, and this keeps it for one.
ALONE = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
LARGEST = 8 << 20  # bytes of a picture file
WAIT = 5.0  # seconds for a picture to arrive, from this computer; Ctrl-C waits for it, too
NAMES = (HOST, "localhost")
KINDS = {  # by the ending, which on Windows other programs may have given another meaning
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
MISSING = "starlette and uvicorn, which serve the page, are not installed; run `pip install starlette uvicorn`"


def application(answers: Answers) -> Any:
    """The ASGI application. Raises GpucnnError where Starlette is not installed."""
    try:
        from starlette.applications import Starlette
        from starlette.concurrency import run_in_threadpool
        from starlette.middleware import Middleware
        from starlette.requests import ClientDisconnect
        from starlette.responses import FileResponse, JSONResponse
        from starlette.routing import Route
    except ImportError:
        raise GpucnnError(MISSING) from None

    async def about(request: Any) -> Any:
        return JSONResponse(answers.about())

    async def look(request: Any) -> Any:
        content = bytearray()
        try:
            async with asyncio.timeout(WAIT):
                async for part in request.stream():
                    content += part
                    if len(content) > LARGEST:
                        return JSONResponse({"error": f"the picture is larger than {LARGEST >> 20} MB"}, 413)
        except (ClientDisconnect, TimeoutError):
            return JSONResponse({"error": "the picture did not arrive whole"}, 408)
        try:
            return JSONResponse(await run_in_threadpool(answers.look, bytes(content)))
        except GpucnnError as error:
            return JSONResponse({"error": str(error)}, 422)

    def file(name: str) -> Any:
        async def send(request: Any) -> Any:
            return FileResponse(PAGE / name, media_type=KINDS[Path(name).suffix])

        return send

    routes = [
        Route("/", file("index.html")),
        *(Route(f"/{name}", file(name)) for name in ("page.js", "page.css", "icon.svg")),
        Route("/about", about),
        Route("/look", look, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guarded)])


class Guarded:
    """Refuses requests that are meant for another host, or come from another site's page; adds security headers.

    A page elsewhere that gets a name to point to this computer says that name as the host.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host, origin = given.get("host", ""), given.get("origin")
        is_own = host.rpartition(":")[0] in NAMES or host in NAMES
        if not is_own or (origin is not None and origin != f"http://{host}"):
            await _refuse(send, 403, "this page is for this computer only; open the address that gpucnn serve printed")
            return
        length = given.get("content-length", "0")
        if not length.isdigit() or int(length) > LARGEST:
            await _refuse(send, 413, f"the picture is larger than {LARGEST >> 20} MB")
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *more]}
            await send(message)

        await self.app(scope, receive, guarded)


async def _refuse(send: Any, status: int, text: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


def listening(port: int) -> socket.socket:
    """A socket that listens on this computer. port 0: one that is free. Raises GpucnnError where that is taken."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, ALONE, 1)
    try:
        found.bind((HOST, port))
        found.listen()  # two that begin at once may both bind
    except OSError as error:
        found.close()
        raise GpucnnError(
            f"--port {port}: cannot be listened on ({error.strerror}); choose another, or 0 for one that is free"
        ) from None
    return found


def serve(answers: Answers, listener: socket.socket) -> None:
    """Answer until Ctrl-C, and what is asked by then."""
    app = application(answers)
    try:
        import uvicorn
    except ImportError:
        raise GpucnnError(MISSING) from None
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")).run(sockets=[listener])
