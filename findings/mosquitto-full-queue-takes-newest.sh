#!/usr/bin/env bash
# One would guess: QoS 1 is "at least once", so if the broker keeps no more messages for a subscriber that is away, it says so in its
#   acknowledgement, for which MQTT 5 has a code (0x97, quota exceeded); or else it drops the oldest to make room.
# What happens: Mosquitto answers Success and drops the new message. When the subscriber comes back, it is given the oldest ones, and nothing of
#   what was published since the queue was full. By default it is full at 1,000 messages.
# Version: mosquitto 2.0.11 from Debian 12 (mosquitto 2.0.11-1.2+deb12u2), paho-mqtt 2.1.0 from PyPI.
#   Seen with max_queued_messages 10: published 1 to 15: 15 Success; the subscriber was given 1 to 10
# Who meets it: telemetry and alerts over MQTT, after a long weekend: the dashboard shows how Friday evening began. Each publisher was told that all is
#   well; the broker's log has one line. `max_queued_messages 0` lifts the limit.
set -euo pipefail
broker=$(command -v mosquitto || ls /usr/sbin/mosquitto 2>/dev/null) || { echo "Install Mosquitto (Debian 12: mosquitto)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check paho-mqtt==2.1.0 2>/dev/null
cd "$folder"
seen=$(venv/bin/python - "$broker" <<'PY'
import queue, socket, subprocess, sys, time
import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
with open("mosquitto.conf", "w") as file:
    file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 10\n")

def connected(name):
    """A client whose session outlives its connection, and what happens to it."""
    events = queue.Queue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
    client.on_connect = lambda *_: events.put("connected")
    client.on_subscribe = lambda *_: events.put("subscribed")
    client.on_publish = lambda client, data, number, reason, properties: events.put(str(reason))
    client.on_message = lambda client, data, message: events.put(message.payload.decode())
    lasting = Properties(PacketTypes.CONNECT)
    lasting.SessionExpiryInterval = 3600
    for _ in range(100):
        try:
            client.connect("127.0.0.1", port, clean_start=False, properties=lasting)
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    client.loop_start()
    assert events.get(timeout=10) == "connected"
    return client, events

def left(client):
    client.disconnect()
    client.loop_stop()

server = subprocess.Popen([sys.argv[1], "-c", "mosquitto.conf"], stderr=subprocess.DEVNULL)
try:
    reader, events = connected("reader")
    reader.subscribe("news", qos=1)
    assert events.get(timeout=10) == "subscribed"
    left(reader)
    writer, told = connected("writer")
    for number in range(1, 16):
        writer.publish("news", str(number), qos=1)
    answers = [told.get(timeout=10) for _ in range(15)]
    reader, events = connected("reader")
    given = [events.get(timeout=10) for _ in range(10)]
    writer.publish("news", "last", qos=1)
    while given[-1] != "last":
        given.append(events.get(timeout=10))
    left(reader)
    left(writer)
finally:
    server.terminate()
    server.wait()
given.pop()
print(f"published 1 to 15: {answers.count('Success')} Success; the subscriber was given "
      + (f"1 to {len(given)}" if given == [str(n + 1) for n in range(len(given))] else ", ".join(given)))
PY
)
echo "$seen"
expected='published 1 to 15: 15 Success; the subscriber was given 1 to 10'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: the newest are kept, or the publisher is told."; exit 1; }
