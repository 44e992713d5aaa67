"""The FastAPI app: its routes, middleware and life."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from threading import Thread
from typing import Any

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from .chats import chat_routes
from .completions import completion_routes
from .encoders import encoder_routes
from .errors import add_error_handlers
from .limits import Guard, Limits
from .monitoring import Metrics, Monitor
from .served_models import ServedModels

_GRACE = 30.0  # seconds that running texts have when the server stops


def create_app(
    models: Mapping[str, Any],
    limits: Limits = Limits(),  # noqa: B008
    api_keys: Sequence[str] = (),
    hosts: Sequence[str] = (),
    warm_up: bool = False,
) -> FastAPI:
    """An ASGI app that serves models or artifacts.

    Args:
        models: the models, or what `load_artifact` opened, by the names that requests use.
        limits: limits of requests.
        api_keys: keys of which each request needs one (`Authorization: Bearer KEY`); empty means that none is needed.
        hosts: host names that requests may name; empty means all.
        warm_up: whether generation is compiled at the start, in the background; `/readyz` is 503 until then.

    Raises:
        ValueError: there is no model, or a key is empty.
        TypeError: an artifact has no functions for generation.

    Example:
        >>> app = create_app({"writer": plm.load("saved_models/writer")})  # doctest: +SKIP
        >>> uvicorn.run(app)  # doctest: +SKIP
    """
    if isinstance(api_keys, str) or not all(key.strip() for key in api_keys):
        raise ValueError("api_keys is a list of keys, none of them empty")
    served = ServedModels(models, limits)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        if warm_up:
            served.is_ready = False  # before the first request can ask
            Thread(target=served.warm_up, name="warm-up", daemon=True).start()
        yield
        await run_in_threadpool(served.close, _GRACE)

    app = FastAPI(title="keras_plm", version=version("keras-plm"), lifespan=life, redoc_url=None)
    add_error_handlers(app)
    for routes in (completion_routes, chat_routes, encoder_routes):
        app.include_router(routes(served, limits))

    @app.get("/v1/models", tags=["models"])
    async def list_models() -> dict[str, Any]:
        """All models."""
        return {"object": "list", "data": [model.describe() for model in served.by_name.values()]}

    @app.get("/v1/models/{name:path}", tags=["models"])
    async def one_model(name: str) -> dict[str, Any]:
        """One model."""
        return served[name].describe()

    @app.get("/chat", response_class=HTMLResponse, include_in_schema=False)
    async def chat_page() -> str:
        return files(__package__).joinpath("chat.html").read_text("utf-8")

    metrics = Metrics(served)
    app.include_router(metrics.routes())
    app.add_middleware(Guard, keys=tuple(api_keys), max_bytes=limits.max_bytes, hosts=tuple(hosts))
    app.add_middleware(Monitor, metrics=metrics)
    _document(app)
    metrics.paths = {*app.openapi()["paths"], "/chat", "/docs"}
    return app


def _document(app: FastAPI) -> None:
    """Add the schemas of the bodies to the OpenAPI page."""
    from . import requests

    build = app.openapi

    def openapi() -> dict[str, Any]:
        page = build()
        schemas = page.setdefault("components", {}).setdefault("schemas", {})
        for body in (requests.CompletionBody, requests.ChatBody, requests.EmbeddingBody):
            schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.get("$defs", {}))
        return page

    app.openapi = openapi  # type: ignore[method-assign]
