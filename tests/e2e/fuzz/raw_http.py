"""What no HTTP library would send: written to a socket by hand."""

from __future__ import annotations

import asyncio
from random import Random
from urllib.parse import urlsplit

from tests.e2e.fuzz.bodies import Case

NONSENSE = (
    b"\0" * 100,
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the beginning of TLS
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /v1/classify HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"GET /v1/classify HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc",
    b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    b"POST /v1/%zz%00 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT 169.254.169.254:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://169.254.169.254/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
)


async def send(url: str, data: bytes, patience: float) -> bytes:
    """Send bytes, say that no more come, and read what comes back until the server closes or the patience ends."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(patience):
            return await reader.read(4096)
    except (ConnectionError, BrokenPipeError):
        return b""
    finally:
        writer.transport.abort()


async def leave_early(url: str, case: Case, rng: Random) -> None:
    """Send part of a request, with a length that may be wrong, and hang up."""
    address = urlsplit(url)
    headers = "".join(f"{name}: {value}\r\n" for name, value in case.headers.items())
    length = len(case.body) + rng.choice((0, 0, 1, 1000))
    head = f"{case.method} {case.path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n".encode()
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(head + case.body[: rng.randrange(len(case.body) + 1)])
    await asyncio.sleep(rng.random() / 50)
    writer.transport.abort()
