"""Health, Prometheus metrics and one structured log line for each request. No text of a request is logged."""

import json
import logging
import time
import uuid
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .errors import APIError
from .served_models import ServedModels

LOG = logging.getLogger("keras_plm.serve")
_UNKNOWN = "other"  # paths that do not exist share one name, so that clients cannot make new time series


class Metrics:
    """The metrics of one server.

    Args:
        models: the models, whose batchers are counted.

    Attributes:
        paths: the paths of the server; all other paths are counted together.
    """

    def __init__(self, models: ServedModels) -> None:
        self.models, self.registry, self.paths = models, CollectorRegistry(), set[str]()
        self.requests = Counter(
            "keras_plm_requests", "Requests that were answered", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram("keras_plm_seconds", "Seconds of an answer", ["path"], registry=self.registry)
        for state in ("running", "waiting"):
            gauge = Gauge(f"keras_plm_texts_{state}", f"Texts that are {state}", ["model"], registry=self.registry)
            for name, served in models.by_name.items():
                if served.batcher is not None:
                    count = lambda b=served.batcher, s=state: float(getattr(b, f"num_{s}"))  # noqa: E731
                    gauge.labels(name).set_function(count)

    def routes(self) -> APIRouter:
        """`/healthz`, `/readyz` and `/metrics`."""
        router = APIRouter(tags=["monitoring"])

        @router.get("/healthz")
        async def healthy() -> dict[str, str]:
            """The server runs."""
            return {"status": "ok"}

        @router.get("/readyz")
        async def ready() -> dict[str, str]:
            """The models are loaded and compiled; 503 until then."""
            if not self.models.is_ready:
                raise APIError("the models are being compiled", status=503)
            return {"status": "ok"}

        @router.get("/metrics")
        async def metrics() -> Response:
            """Metrics for Prometheus."""
            return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

        return router


class Monitor:
    """ASGI middleware that counts and logs requests.

    Args:
        app: the app behind it.
        metrics: the metrics.
    """

    def __init__(self, app: Any, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status, request_id = time.perf_counter(), 500, uuid.uuid4().hex

        async def seen(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", request_id.encode())]}
            await send(message)

        try:
            await self.app(scope, receive, seen)
        finally:
            seconds = time.perf_counter() - start
            path = scope["path"] if scope["path"] in self.metrics.paths else _UNKNOWN
            self.metrics.requests.labels(path, str(status)).inc()
            self.metrics.seconds.labels(path).observe(seconds)
            line = {"request": request_id, "method": scope["method"], "path": path, "status": status}
            LOG.info(json.dumps(line | {"seconds": round(seconds, 4)}))
