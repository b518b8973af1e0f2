#!/usr/bin/env bash
# One would guess: beanstalkd with a log on disk loses at most 50 ms to a power cut, as its manual says: it syncs every 50 ms by default (-f 50),
#   so a job that was acknowledged as INSERTED a second ago is on disk.
# What happens: it has no timer for that. It looks at the clock when it writes, and syncs only if the last sync is 50 ms back. So the first job of a
#   burst is synced, before its answer, and those that come right behind it are not: neither then nor later, until another job is put, deleted or
#   released. After the last burst of the day that is the next morning; before that, the kernel may have written it by itself.
# Version: beanstalkd 1.12 from Debian 12 (beanstalkd 1.12-2+b1), strace 6.1. Three jobs one after the other, 3 s of rest, and one more.
#   Seen: default: 1 synced, 2 and 3 acknowledged without, 0 syncs in 3 s, then 1 with job 4; -f 0: 1 synced, 2 synced, 3 synced
# Who meets it: senders that delete their copy at INSERTED, and count on 50 ms. A busy queue hides it, since each next job syncs those before it; a
#   kill -9 of beanstalkd does too, as what is written survives that. `-f 0` syncs each job before its answer.
set -euo pipefail
command -v strace >/dev/null || { echo "Install strace (Debian: strace)."; exit 2; }
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cd "$folder"
if ! beanstalkd=$(command -v beanstalkd); then  # unpacked, not installed
    apt-get download -qq beanstalkd=1.12-2+b1 2>/dev/null || { echo "There is no beanstalkd (Debian: beanstalkd)."; exit 2; }
    dpkg -x ./*.deb unpacked
    beanstalkd=$folder/unpacked/usr/bin/beanstalkd
fi
cat > run.py <<'PY'
import socket, subprocess, sys, time

REST = 3

def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]

def connected(port):
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            time.sleep(0.1)
    raise SystemExit("beanstalkd does not start")

def put(connection, text):
    connection.sendall(b"put 0 0 60 %d\r\n%s\r\n" % (len(text), text))
    assert connection.recv(100).startswith(b"INSERTED")

def traced(name, *options):
    """The syncs and answers that the server makes, in their order, and the seconds at which it makes them."""
    port = free_port()
    subprocess.run(["mkdir", name], check=True)
    command = [sys.argv[1], "-l", "127.0.0.1", "-p", str(port), "-b", name, *options]
    strace = ["strace", "-I", "2", "-ttt", "-o", f"{name}.trace", "-e", "trace=write,fsync,fdatasync"]
    server = subprocess.Popen([*strace, *command])
    try:
        with connected(port) as connection:
            for text in (b"one", b"two", b"three"):
                put(connection, text)
            time.sleep(REST)
            put(connection, b"four")
    finally:
        server.terminate()
        server.wait()
    for line in open(f"{name}.trace"):
        if "sync(" in line:
            yield float(line.split()[0]), "sync"
        elif "INSERTED" in line:
            yield float(line.split()[0]), "answer"

def before_answers(events):
    """For each job: the syncs before its answer and after that of the one before."""
    counts = [0]
    for _, event in events:
        if event == "sync":
            counts[-1] += 1
        else:
            counts.append(0)
    return counts[:-1]

events = list(traced("default"))
first, second, third, fourth = before_answers(events)
answers = [at for at, event in events if event == "answer"]
resting = sum(answers[2] < at < answers[2] + REST - 0.5 for at, event in events if event == "sync")
always = "; ".join(f"{job} synced" if syncs else f"{job} not" for job, syncs in enumerate(before_answers(traced("always", "-f", "0"))[:3], 1))
without = "2 and 3 acknowledged without" if second == third == 0 else "2 or 3 synced"
print(f"default: {'1 synced' if first else '1 not'}, {without}, {resting} syncs in {REST} s, then {fourth} with job 4; -f 0: {always.replace(';', ',')}")
PY
seen=$(python3 run.py "$beanstalkd")
echo "$seen"
expected='default: 1 synced, 2 and 3 acknowledged without, 0 syncs in 3 s, then 1 with job 4; -f 0: 1 synced, 2 synced, 3 synced'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: what was acknowledged is synced, at once or soon after."; exit 1; }
