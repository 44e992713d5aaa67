"""Errors with the bodies and the status codes of OpenAI's API."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from keras_plm.generation.logits_processors import SettingsError

_LOG = logging.getLogger("keras_plm.serve")
_SHOWN = 200  # characters of a message about a request


class APIError(Exception):
    """An error that the client gets.

    Args:
        message: what is wrong, and what to do.
        param: the field of the request that is wrong.
        code: OpenAI's code, such as "model_not_found".
        status: the HTTP status.
        headers: HTTP headers of the answer.
    """

    def __init__(
        self,
        message: str,
        param: str | None = None,
        code: str | None = None,
        status: int = 400,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.param, self.code, self.status, self.headers = param, code, status, headers

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's body of an error."""
        return {"error": {"message": str(self), "type": _kind(self.status), "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.body, self.status, self.headers)


def _kind(status: int) -> str:
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    return kinds.get(status, "invalid_request_error" if status < 500 else "server_error")


def invalid(error: ValidationError) -> APIError:
    """The error of a body that does not fit its schema. Values of the request are not repeated."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"])) or None
    if first["type"] == "extra_forbidden":
        return APIError(f"the parameter {place} is not supported"[:_SHOWN], place, "unsupported_parameter")
    message = f"{place}: {first['msg']}" if place else first["msg"]
    return APIError(message[:_SHOWN], place)


def of_exception(error: Exception) -> APIError:
    """The error for the client of an exception inside the server. Only mistakes of the request are explained."""
    if isinstance(error, APIError):
        return error
    if isinstance(error, SettingsError):
        return APIError(str(error))
    _LOG.error("an answer failed", exc_info=error)
    return APIError("the server failed; its log says why", status=500)


def add_error_handlers(app: FastAPI) -> None:
    """Answer all errors of an app with OpenAI's bodies."""

    @app.exception_handler(APIError)
    async def known(request: Request, error: APIError) -> JSONResponse:
        return error.response()

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        return APIError(str(error.detail), status=error.status_code).response()

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        return of_exception(error).response()
