"""`/v1/chat/completions`: the reply to a conversation."""

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool

from keras_plm.generation import GenerationSettings
from keras_plm.generation.continuous_batching import Token

from .answers import event_stream, new_id, now, token_text, usage
from .errors import APIError
from .generating import Run, Written, settings_of
from .limits import Limits
from .requests import ChatBody, ResponseFormat, body_of, documented
from .served_models import ServedModel, ServedModels

_UNSUPPORTED = ("tools", "tool_choice", "functions")


def chat_routes(models: ServedModels, limits: Limits) -> APIRouter:
    """The route of chat completions."""
    router = APIRouter()

    @router.post("/v1/chat/completions", openapi_extra=documented(ChatBody), tags=["text"])
    async def chat(request: Request, body: ChatBody = Depends(body_of(ChatBody))) -> Any:  # noqa: B008
        """Reply to a conversation."""
        served = models[body.model]
        prompt = await run_in_threadpool(_prompt, served, body)
        settings = _settings(served, body, prompt, limits)
        top = (body.top_logprobs or 0) if body.logprobs else None
        run = await Run.begin(served, [prompt], settings, top, limits.timeout)
        kind = "chat.completion.chunk" if body.stream else "chat.completion"
        head = {"id": new_id("chatcmpl"), "object": kind, "created": now(), "model": served.name}
        if body.stream:
            return event_stream(run, _chunks(request, run, served, prompt, body, head))
        texts = await run.finish(request)
        choices = [_choice(served, i, text, body) for i, text in enumerate(texts)]
        return head | {"choices": choices, "usage": usage([prompt], texts)}

    return router


def _prompt(served: ServedModel, body: ChatBody) -> list[int]:
    served.generator  # noqa: B018  an error unless the model generates
    for name in _UNSUPPORTED:
        if getattr(body, name) is not None:
            raise APIError(f"{name} is not supported: the models write text only", name, "unsupported_parameter")
    if body.top_logprobs is not None and not body.logprobs:
        raise APIError("top_logprobs needs logprobs=true", "top_logprobs")
    roles = {"developer": "system"}
    if not all(message.content or message.role == "assistant" for message in body.messages):
        raise APIError("a message has no content", "messages")
    messages = [{"role": roles.get(m.role, m.role), "content": m.text} for m in body.messages]
    model = served.for_task("chat_prompt")
    try:
        (prompt,) = model.texts_to_ids([model.chat_prompt(messages)])
    except (ValueError, ImportError) as error:  # no template, messages that it refuses, or no Jinja
        raise APIError(str(error), "messages") from None
    return prompt


def _settings(served: ServedModel, body: ChatBody, prompt: list[int], limits: Limits) -> GenerationSettings:
    if (body.n or 1) > limits.max_texts:
        raise APIError(f"a request has at most {limits.max_texts} texts", "n")
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise APIError("max_tokens and max_completion_tokens exclude each other", "max_tokens")
    room = max(served.model.longest_row - len(prompt), 1)
    wanted = body.max_completion_tokens or body.max_tokens or room
    more = {} if body.response_format is None else {"json_schema": _schema(body.response_format)}
    return settings_of(body, min(wanted, room), body.n or 1, **more)


def _schema(form: ResponseFormat) -> str | None:
    if form.type == "text":
        return None
    if form.type == "json_object":
        return '{"type": "object"}'
    if form.json_schema is None:
        raise APIError("response_format of type json_schema needs json_schema", "response_format.json_schema")
    return json.dumps(form.json_schema.content)


def _choice(served: ServedModel, index: int, text: Written, body: ChatBody) -> dict[str, Any]:
    found = {"content": _log_probabilities(served, text.tokens, body)} if body.logprobs else None
    message = {"role": "assistant", "content": text.text, "refusal": None}
    return {"index": index, "message": message, "logprobs": found, "finish_reason": text.finish_reason}


def _log_probabilities(served: ServedModel, tokens: list[Token], body: ChatBody) -> list[dict[str, Any]]:
    def one(token_id: int, value: float) -> dict[str, Any]:
        content = served.pieces[token_id] if token_id < len(served.pieces) else b""
        return {"token": token_text(served, token_id), "logprob": value, "bytes": list(content)}

    return [
        one(token.token_id, token.log_probability)
        | {"top_logprobs": [one(*pair) for pair in token.top[: body.top_logprobs or 0]]}
        for token in tokens
        if token.token_id is not None
    ]


async def _chunks(
    request: Request, run: Run, served: ServedModel, prompt: list[int], body: ChatBody, head: dict[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    def chunk(index: int, delta: dict[str, Any], tokens: list[Token], reason: str | None) -> dict[str, Any]:
        found = {"content": _log_probabilities(served, tokens, body)} if body.logprobs else None
        return head | {"choices": [{"index": index, "delta": delta, "logprobs": found, "finish_reason": reason}]}

    for i in range(len(run.texts)):
        yield chunk(i, {"role": "assistant", "content": ""}, [], None)
    async for i, event in run.events(request):
        if isinstance(event, Token):
            yield chunk(i, {"content": event.text}, [event], None)
        else:
            yield chunk(i, {}, [], run.texts[i].finish_reason)
    if body.stream_options is not None and body.stream_options.include_usage:
        yield head | {"choices": [], "usage": usage([prompt], run.texts)}
