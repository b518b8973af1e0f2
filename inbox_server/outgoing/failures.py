"""Why a host could not be asked, in words: for people who run a command or a client. The server tells nobody."""

import errno
import socket
import ssl
from typing import Final

import aiohttp

from inbox_server.outgoing.dialling import Refusal
from inbox_server.outgoing.guard import NotAllowed

_ROUTES: Final = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL}


def why(error: BaseException) -> str:
    """What happened; the text follows the host's name."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, Refusal):
        return "leads to an address or a port that is not the public web's, which the guard refuses"
    if isinstance(error, NotAllowed):
        return str(error)
    if isinstance(error, aiohttp.ClientSSLError):
        return _tls(error)
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(cause, socket.gaierror):
        return "has no address: the name does not resolve"
    if isinstance(error, (aiohttp.ConnectionTimeoutError, TimeoutError, aiohttp.ServerTimeoutError)):
        connecting = isinstance(error, aiohttp.ConnectionTimeoutError)
        return "could not be connected to in time" if connecting else "took the connection, but did not answer in time"
    if isinstance(cause, ConnectionRefusedError) or getattr(cause, "errno", None) == errno.ECONNREFUSED:
        return "refuses connections: nothing listens at that port, or a firewall says so"
    if getattr(cause, "errno", None) in _ROUTES:
        return "cannot be reached from this network"
    if isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionError, aiohttp.ClientOSError)):
        return "closed the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "cut its answer off"
    if isinstance(error, aiohttp.ClientResponseError):
        return "answers with what is not HTTP"
    return f"could not be asked ({type(error).__name__})"


def _tls(error: aiohttp.ClientSSLError) -> str:
    certificate = getattr(error, "certificate_error", None)
    if isinstance(certificate, ssl.SSLCertVerificationError):
        return f"has a certificate that browsers will not take: {certificate.verify_message}"
    if isinstance(certificate, Exception):
        return "has a certificate that browsers will not take"
    return "speaks no TLS that this machine understands; perhaps it is plain HTTP at that port"
