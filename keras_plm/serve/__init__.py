"""A server of models and artifacts over HTTP, with the endpoints of OpenAI's API (extra `serve`)."""

from .app import create_app
from .limits import Limits
from .run_server import run_server

__all__ = ["Limits", "create_app", "run_server"]
