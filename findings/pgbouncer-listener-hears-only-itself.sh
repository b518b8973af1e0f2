#!/usr/bin/env bash
# One would guess: a client that LISTENs, sends itself a NOTIFY and hears it has shown that notifications arrive; where a pooler
#   breaks LISTEN, it would hear nothing.
# What happens: through PgBouncer in transaction mode it hears itself, since the notification comes with the answer to its own
#   transaction. What anybody else sends, through the pooler or directly, never arrives, and no error tells.
# Version: pgbouncer 1.18.0 and PostgreSQL 15 from Debian (pgbouncer 1.18.0-1+deb12u1, postgresql-15); asyncpg 0.32.0 from PyPI.
#   Seen: direct: itself True, another True; through pgbouncer: itself True, another False
# Who meets it: those who test at the start whether notifications work, and poll less often if they do. Test with a second connection.
set -euo pipefail
programs=${PG_BIN:-/usr/lib/postgresql/15/bin}
[ -x "$programs/initdb" ] || { echo "Install PostgreSQL 15 (Debian: postgresql-15), or name its bin folder in PG_BIN."; exit 2; }
folder=$(mktemp -d)
user=() && [ "$(id -u)" != 0 ] || user=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
trap 'kill "${pooler:-}" 2>/dev/null || true; "${user[@]}" "$programs/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
cd "$folder"
if ! bouncer=$(command -v pgbouncer || ls /usr/sbin/pgbouncer 2>/dev/null); then  # unpacked, not installed
    apt-get download -qq pgbouncer=1.18.0-1+deb12u1 libc-ares2 2>/dev/null || { echo "There is no pgbouncer (Debian: pgbouncer)."; exit 2; }
    for package in ./*.deb; do dpkg -x "$package" unpacked; done
    bouncer=$folder/unpacked/usr/sbin/pgbouncer
    LD_LIBRARY_PATH=$(dirname "$(find "$folder/unpacked" -name 'libcares.so.2')")
    export LD_LIBRARY_PATH
fi
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check asyncpg==0.32.0 2>/dev/null
free_port() { python3 -c 'import socket; print(socket.create_server(("127.0.0.1", 0)).getsockname()[1])'; }
port=$(free_port) pooled=$(free_port)
printf '%s\n' '[databases]' "postgres = host=127.0.0.1 port=$port" '[pgbouncer]' 'listen_addr = 127.0.0.1' "listen_port = $pooled" \
    'auth_type = trust' "auth_file = $folder/users" 'pool_mode = transaction' 'unix_socket_dir =' >pgbouncer.ini
echo '"user" ""' >users
[ "$(id -u)" != 0 ] || chown -R nobody "$folder"
"${user[@]}" "$programs/initdb" -D "$folder/data" -A trust -U user --no-sync >/dev/null
"${user[@]}" "$programs/pg_ctl" -D "$folder/data" -o "-k $folder -h 127.0.0.1 -p $port -c fsync=off" -l "$folder/data/log" -w start >/dev/null
"${user[@]}" "$bouncer" -q pgbouncer.ini >/dev/null 2>&1 &
pooler=$!
seen=$(venv/bin/python - "$port" "$pooled" <<'PY'
import asyncio, sys, asyncpg

async def connected(port):
    for _ in range(50):
        try:
            return await asyncpg.connect(host="127.0.0.1", port=port, user="user", database="postgres", ssl=False, statement_cache_size=0)
        except OSError:
            await asyncio.sleep(0.1)
    raise SystemExit("nothing listens")

async def hears(listener, sender, heard):
    heard.clear()
    await sender.execute("NOTIFY news")
    try:
        await asyncio.wait_for(heard.wait(), 2)
    except TimeoutError:
        return False
    return True

async def tried(port, direct):
    listener, heard = await connected(port), asyncio.Event()
    await listener.add_listener("news", lambda *_: heard.set())
    itself = await hears(listener, listener, heard)
    return f"itself {itself}, another {await hears(listener, await connected(direct), heard)}"

async def main(port, pooled):
    print(f"direct: {await tried(port, port)}; through pgbouncer: {await tried(pooled, port)}")

asyncio.run(main(*map(int, sys.argv[1:])))
PY
)
echo "$seen"
expected='direct: itself True, another True; through pgbouncer: itself True, another False'
[ "$seen" = "${EXPECTED-$expected}" ] || { echo "Changed: through pgbouncer a listener hears others too, or not even itself."; exit 1; }
