"""The parameters of the node `console`, and what they must be together."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Mapping
from functools import partial
from typing import Any

from uniref_model.errors import UniRefError
from uniref_model.limits import quoted
from uniref_ros.parameter_rules import Option

LEAST_TOKEN = 16
"""Characters of a token: too many to be guessed."""

_option = partial(Option, when="start")

OPTIONS = (
    _option("host", "127.0.0.1", "Address to serve the page at; one that others can reach needs a token."),
    _option("port", 8642, "Port to serve it at; 0: any free one, which the log names.", (0, 65535)),
    _option(
        "token",
        "",
        f"What a browser must give, of {LEAST_TOKEN} characters or more; empty: nothing, which is allowed on "
        "a loopback address alone.",
    ),
    _option(
        "origins",
        [""],
        "Other origins whose pages may connect, such as https://robot.example behind a proxy. Empty: the "
        "console's own page alone.",
    ),
    _option("certificate", "", "PEM file with a certificate, to serve https: without it a browser lends its "
            "microphone to pages of its own machine only. Needs key."),
    _option("key", "", "PEM file with the certificate's key."),
    _option("tracker", "tracker", "Name of the tracker node, in the console's namespace unless absolute."),
    _option("voice", "voice_command", "Name of the voice node, likewise."),
    _option("max_browsers", 32, "Browsers at once; one more is refused.", (1, 1000)),
    _option("max_rate", 30.0, "Pictures a second for each browser and camera at most.", (0.1, 1000.0)),
)  # fmt: skip


class ConsoleError(UniRefError):
    """The page cannot be served as the parameters ask."""


def check(settings: Mapping[str, Any]) -> None:
    """Raise ConsoleError for parameters that do not go together."""
    host, token = settings["host"], settings["token"]
    if token and (len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise ConsoleError(
            f"token has {len(token)} characters, expected {LEAST_TOKEN} or more: printable ASCII, no spaces"
        )
    if not token and not is_loopback(host):
        raise ConsoleError(
            f"host {quoted(host)} can be reached from other machines, so a token is needed: "
            f"token:=… of {LEAST_TOKEN} characters or more"
        )
    if bool(settings["certificate"]) != bool(settings["key"]):
        raise ConsoleError("certificate and key go together, found one of them")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address. A name that is not localhost counts as one that
    others can reach."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def open_socket(host: str, port: int, stalled_after: float) -> socket.socket:
    """A listening socket. stalled_after: seconds after which the system gives up a connection whose other end
    takes nothing. Raises ConsoleError."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        server = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConsoleError(
            f"cannot serve at host {quoted(host)}, port {port}: {error.strerror or error}"
        ) from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # inherited by its connections
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * stalled_after))
    return server


def check_certificate(certificate: str, key: str) -> None:
    """Raise ConsoleError unless these files are a certificate and its key."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConsoleError(
            f"certificate {quoted(certificate)} with key {quoted(key)}: {error.strerror or error}"
        ) from error
