"""The TLS proxy in front of the server: the files that `inbox-server init --proxy` writes.

Both keep requests out of their logs, set `X-Real-IP`, and pass event streams on as they come.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

HEADER: Final = "X-Real-IP"
_HTTPS_PORT: Final = 443


@dataclass(frozen=True, slots=True)
class ProxyFile:
    """`next_step` tells a person what to do with the file, whose path stands for `{file}`."""

    name: str
    render: Callable[[str, str], str]
    """The file's text, for an https origin and the host:port on which the server listens."""
    next_step: str


def _nginx(origin: str, server: str) -> str:
    parts = urlsplit(origin)
    port = parts.port or _HTTPS_PORT
    host = parts.netloc.removesuffix(f":{port}")
    passed = "$host" if port == _HTTPS_PORT else f"$host:{port}"
    return f"""server {{
    listen {port} ssl;
    listen [::]:{port} ssl;
    server_name {host};
    ssl_certificate /etc/letsencrypt/live/{host}/fullchain.pem;
    ssl_certificate_key /etc/letsencrypt/live/{host}/privkey.pem;
    access_log off;                       # who asked, and when, is nobody's business
    error_log /var/log/nginx/error.log crit;
    client_max_body_size 128k;            # the server refuses what is too large in words that apps can read
    location / {{
        proxy_pass http://{server};
        proxy_http_version 1.1;           # with 1.0 a killed stream looks like one that ended well
        proxy_set_header Connection "";
        proxy_set_header Host {passed};
        proxy_set_header {HEADER} $remote_addr;
    }}
}}
"""


def _caddy(origin: str, server: str) -> str:
    return f"""{{
    log {{
        exclude http.log.error            # while the server is down, it would log who asked
    }}
}}
{origin.removeprefix("https://")} {{
    reverse_proxy {server} {{
        header_up {HEADER} {{remote_host}}
    }}
}}
"""


PROXIES: Final[Mapping[str, ProxyFile]] = {
    "nginx": ProxyFile(
        "nginx-site.conf",
        _nginx,
        "put {file} among nginx's sites, set its two certificate lines, and reload nginx",
    ),
    "caddy": ProxyFile("Caddyfile", _caddy, "give {file} to Caddy, which gets the certificate by itself"),
}
