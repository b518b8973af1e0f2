"""nginx and Caddy with the files that `init` writes for them, but for certificates and places of this machine."""

import os
import subprocess
from pathlib import Path

from inbox_server.commands.proxy_files import PROXIES


def own_nginx(folder: Path, port: int, server: str) -> list[str]:
    """As written, but for the certificate (`cert`, for localhost) and the log's place."""
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    key = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject)
    subprocess.run(["openssl", *key, "-keyout", folder / "key", "-out", folder / "cert"], check=True)
    site = PROXIES["nginx"].render(f"https://localhost:{port}", server)
    for theirs, ours in (
        ("/etc/letsencrypt/live/localhost/fullchain.pem", folder / "cert"),
        ("/etc/letsencrypt/live/localhost/privkey.pem", folder / "key"),
        ("/var/log/nginx/error.log", folder / "error.log"),
    ):
        assert theirs in site
        site = site.replace(theirs, str(ours))
    as_root = "user root;" if os.geteuid() == 0 else ""  # else large bodies cannot go into this folder
    places = "".join(f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; {as_root}pid {folder}/pid; error_log stderr crit; events {{}}"
        f"http {{ client_body_temp_path {folder}/body; {places} {site} }}"
    )
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


def own_caddy(folder: Path, port: int, server: str) -> list[str]:
    """As written, but with a certificate of Caddy's own making."""
    site = PROXIES["caddy"].render(f"https://localhost:{port}", server)
    own = "{\n    admin off\n    local_certs\n    skip_install_trust\n    auto_https disable_redirects\n"
    (folder / "Caddyfile").write_text(site.replace("{\n", own, 1))
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
