"""A hostile client: python -m tests.serving.attacks PORT CONNECTIONS PAUSE

Each connection sends a request without a key, then a byte of its body after every pause. When it
is closed, the next one follows.
"""

import asyncio
import random
import sys
from contextlib import suppress

HEAD = (
    b"POST /predict/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1000\r\n\r\n"
)


async def drip(port: int, pause: float) -> None:
    """Hold one connection after the other, for as long as the server lets it."""
    while True:
        await asyncio.sleep(random.uniform(0, pause))
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD)
            while not reader.at_eof():
                await asyncio.sleep(pause)
                writer.write(b"x")
                await writer.drain()
            writer.close()


async def attack(port: int, connections: int, pause: float) -> None:
    """Attack until the process ends."""
    await asyncio.gather(*(drip(port, pause) for _ in range(connections)))


if __name__ == "__main__":
    asyncio.run(attack(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
