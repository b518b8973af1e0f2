#!/usr/bin/env bash
# One would guess: `readline` that meets a line longer than its limit (64 KiB) raises ValueError, and whoever catches that and reads on gets the
#   next line: the long one is skipped.
# What happens: it depends on how the bytes came in. If the whole line is there, it is skipped. If its end is still on the way, asyncio throws away
#   what it has (its docstring says so, the manual does not), and the end of the long line comes back as a line of its own. `async for line in
#   reader` does the same, and the output of a subprocess too. What a sender puts behind 64 KiB of its text is then read as a message of its own.
# Version: asyncio of Python 3.11.7, 3.12.1 and 3.13.0, with a limit of 1 KiB here. "one", a line of 1,500 bytes that ends in "delete two", "three":
#   Seen: at once: one, ValueError, three; in two pieces: one, ValueError, delete two, three; readuntil, and the rest skipped: one, too long, three
# Who meets it: line by line JSON and text protocols over sockets and pipes that "skip what is too long and go on". A test that feeds all at once
#   passes; over a network, long lines come in pieces. Close the connection at ValueError, or use `readuntil`, whose error leaves the buffer
#   as it is, and read on to the end of the line oneself.
set -euo pipefail
seen=$(python3 - <<'PY'
import asyncio

LIMIT = 1024
LONG = b"x" * 1500

async def readline(reader):
    return await reader.readline()

async def readuntil(reader):
    """The next line; one that is too long is read to its end and skipped."""
    too_long = False
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            return end.partial
        except asyncio.LimitOverrunError as error:
            await reader.readexactly(error.consumed)
            too_long = True
        else:
            return b"too long\n" if too_long else line

async def lines(read, in_pieces):
    refused = asyncio.Event()

    async def serve(_, writer):
        begin, end = b"one\n" + LONG, b"delete two\nthree\n"
        if in_pieces:
            writer.write(begin)
            await refused.wait()
        writer.write(end if in_pieces else begin + end)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=LIMIT)
    found = []
    while not found or found[-1]:
        try:
            found.append((await read(reader)).decode().strip())
        except ValueError as error:
            found.append(type(error).__name__)
            refused.set()
        if read is readuntil:
            refused.set()
    writer.close()
    server.close()
    return ", ".join(found[:-1])

async def main():
    print(f"at once: {await lines(readline, False)}; in two pieces: {await lines(readline, True)}", end="; ")
    print(f"readuntil, and the rest skipped: {await lines(readuntil, True)}")

asyncio.run(main())
PY
)
echo "$seen"
expected='at once: one, ValueError, three; in two pieces: one, ValueError, delete two, three; readuntil, and the rest skipped: one, too long, three'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a line that is too long is skipped whole, however it comes."; exit 1; }
