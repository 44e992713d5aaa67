"""Limits of the server: who may ask, how large a request may be, and how long it may take."""

import secrets
from dataclasses import dataclass
from typing import Any

from .errors import APIError

_OPEN = ("/healthz", "/readyz", "/metrics", "/", "/docs", "/openapi.json", "/chat")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a server.

    Raises:
        ValueError: a limit is not above 0.
    """

    max_rows: int = 8  # texts of a model that are generated at once
    max_waiting: int = 64  # texts of a model that wait; more requests get the status 429
    max_bytes: int = 2_000_000  # size of a request body
    max_texts: int = 128  # texts (prompts times n, or inputs) of one request
    timeout: float = 600.0  # seconds of an answer

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name}={value}; it must be above 0")


class Guard:
    """ASGI middleware that checks API keys and the size of a body before anything is parsed.

    Args:
        app: the app behind it.
        keys: the API keys that are accepted; empty means that no key is needed.
        max_bytes: see `Limits`.
        hosts: names in the header `Host` that are accepted; empty means all. Without this check, a web page could use a
            server on this machine by a name of its own (DNS rebinding).
    """

    def __init__(self, app: Any, keys: tuple[str, ...], max_bytes: int, hosts: tuple[str, ...] = ()) -> None:
        self.app = app
        self.keys, self.hosts = [key.encode() for key in keys], hosts
        self.max_bytes = max_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self.keys and scope["path"] not in _OPEN and not self._is_known(headers.get(b"authorization", b"")):
            error = APIError("the API key is missing or wrong", code="invalid_api_key", status=401)
            await error.response()(scope, receive, send)
            return
        host = headers.get(b"host", b"").decode("latin-1").rsplit(":", 1)[0] if self.hosts else ""
        if self.hosts and host not in self.hosts:
            await APIError("this host name is not served", status=403).response()(scope, receive, send)
            return
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.max_bytes:
            await self._too_large().response()(scope, receive, send)
            return
        read = 0

        async def limited() -> Any:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.max_bytes:
                raise self._too_large()
            return message

        await self.app(scope, limited, send)

    def _is_known(self, header: bytes) -> bool:
        scheme, _, given = header.partition(b" ")
        if scheme.lower() != b"bearer":
            return False
        # all keys are compared, so that the time tells nothing
        return any([secrets.compare_digest(given, key) for key in self.keys])

    def _too_large(self) -> APIError:
        return APIError(f"the request has more than {self.max_bytes:,} bytes", status=413)
