import ipaddress
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import uvicorn

from .app import create_app
from .limits import Limits

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def run_server(
    models: Mapping[str, Any],
    host: str,
    port: int,
    limits: Limits = Limits(),  # noqa: B008
    api_keys: Sequence[str] = (),
) -> None:
    """Serve models over HTTP until the process is stopped. Texts that are running are finished first.

    Args:
        models: as in `create_app`.
        host: the address to listen on.
        port: the port to listen on.
        limits: as in `create_app`.
        api_keys: as in `create_app`.

    Raises:
        ValueError: an address that other machines can reach, without an API key.
    """
    if not _is_loopback(host) and not api_keys:
        raise ValueError(f"host={host}: other machines could use the server; set KERAS_PLM_API_KEYS, or use 127.0.0.1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    app = create_app(models, limits, api_keys, () if api_keys else _LOOPBACK, warm_up=True)
    uvicorn.run(app, host=host, port=port, access_log=False, log_level="warning", timeout_graceful_shutdown=30)


def _is_loopback(host: str) -> bool:
    if host in _LOOPBACK:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
