"""`/v1/completions`: texts that continue prompts."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool

from keras_plm.generation.continuous_batching import Token
from keras_plm.generation.sampling import log_softmax

from .answers import event_stream, new_id, now, token_text, usage
from .errors import APIError
from .generating import Run, Written, settings_of
from .limits import Limits
from .requests import CompletionBody, body_of, documented
from .served_models import ServedModel, ServedModels


def completion_routes(models: ServedModels, limits: Limits) -> APIRouter:
    """The route of completions."""
    router = APIRouter()

    @router.post("/v1/completions", openapi_extra=documented(CompletionBody), tags=["text"])
    async def completions(request: Request, body: CompletionBody = Depends(body_of(CompletionBody))) -> Any:  # noqa: B008
        """Continue prompts."""
        served = models[body.model]
        prompts = await run_in_threadpool(_checked, served, body, limits)
        copies = body.best_of or body.n or 1
        if not body.max_tokens and not body.echo:
            raise APIError("max_tokens=0 needs echo: otherwise there is nothing to answer", "max_tokens")
        settings = settings_of(body, body.max_tokens or 1, copies if body.max_tokens else 1)
        arguments = (served, prompts, settings, body.logprobs or 0, limits.timeout)
        head = {"id": new_id("cmpl"), "object": "text_completion", "created": now(), "model": served.name}
        if not body.max_tokens:
            choices = [await served.run(partial(_echoed, served, i, ids, body)) for i, ids in enumerate(prompts)]
            return head | {"choices": choices, "usage": usage(prompts, [])}
        run = Run(*arguments)
        if body.stream:
            return event_stream(run, _chunks(request, run, served, prompts, body, head))
        texts = _best(await run.finish(request), copies, body.n or 1)
        choices = [
            await served.run(partial(_choice, served, i, text, prompts[text.prompt], body))
            for i, text in enumerate(texts)
        ]
        return head | {"choices": choices, "usage": usage(prompts, run.texts)}

    return router


def _checked(served: ServedModel, body: CompletionBody, limits: Limits) -> list[list[int]]:
    served.generator  # noqa: B018  an error unless the model generates
    if body.suffix is not None:
        raise APIError("suffix is not supported: the models write only behind a prompt", "suffix")
    if body.best_of is not None and body.best_of < (body.n or 1):
        raise APIError(f"best_of={body.best_of} is below n={body.n}", "best_of")
    if body.best_of is not None and body.best_of > 1 and body.stream:
        raise APIError("best_of cannot be streamed: the best text is known at the end", "best_of")
    prompts = prompt_ids(served, body.prompt)
    if len(prompts) * (body.best_of or body.n or 1) > limits.max_texts:
        raise APIError(f"a request has at most {limits.max_texts} texts", "n")
    return prompts


def prompt_ids(served: ServedModel, prompt: Any) -> list[list[int]]:
    """The token ids of all prompts of a request: texts, or token ids."""
    model = served.model
    if isinstance(prompt, str):
        prompt = [prompt]
    if prompt and isinstance(prompt[0], int):
        prompt = [prompt]
    if not prompt:
        raise APIError("prompt has no text", "prompt")
    if isinstance(prompt[0], str):
        return model.source_ids(prompt) if not model.continues_prompts else model.texts_to_ids(prompt)
    size = len(model.needs_tokenizer())
    if not all(ids and max(ids) < size for ids in prompt):
        raise APIError(f"a prompt of token ids is empty, or has an id outside the {size:,} tokens", "prompt")
    return prompt


def _best(texts: list[Written], made: int, kept: int) -> list[Written]:
    """For each prompt, the texts with the highest mean log-probability."""
    groups = [texts[i : i + made] for i in range(0, len(texts), made)]
    if kept == made:
        return texts
    return [text for group in groups for text in sorted(group, key=lambda t: -t.log_probability)[:kept]]


def _choice(served: ServedModel, index: int, text: Written, prompt: list[int], body: CompletionBody) -> dict[str, Any]:
    tokens, before = list(text.tokens), ""
    if body.echo:
        before, read = _read(served, prompt, body.logprobs)
        tokens = read + tokens
    return {
        "index": index,
        "text": before + text.text,
        "logprobs": None if body.logprobs is None else _log_probabilities(served, tokens),
        "finish_reason": text.finish_reason,
    }


def _echoed(served: ServedModel, index: int, prompt: list[int], body: CompletionBody) -> dict[str, Any]:
    text, tokens = _read(served, prompt, body.logprobs)
    found = None if body.logprobs is None else _log_probabilities(served, tokens)
    return {"index": index, "text": text, "logprobs": found, "finish_reason": "length"}


def _read(served: ServedModel, prompt: list[int], top: int | None) -> tuple[str, list[Token]]:
    """The text of a prompt, and its tokens with their log-probabilities; NaN for the first one."""
    model = served.model
    if not model.continues_prompts:
        raise APIError("echo is for models that continue their prompt", "echo")
    text = model.needs_tokenizer().decode(prompt)
    if top is None:
        return text, []
    logits = np.asarray(model.predict_on_batch(model.row_inputs(prompt))[0], "float64")
    tokens = [Token(prompt[0], "", float("nan"), [])]
    for token, row in zip(prompt[1:], log_softmax(logits[:-1]), strict=True):
        best = np.argsort(-row, kind="stable")[:top]
        tokens.append(Token(token, "", float(row[token]), [(int(i), float(row[i])) for i in best]))
    return text, tokens


def _log_probabilities(served: ServedModel, tokens: list[Token]) -> dict[str, Any]:
    names = [token_text(served, token.token_id) for token in tokens]
    ends = np.cumsum([0, *map(len, names)]).tolist()
    known = [token.log_probability if np.isfinite(token.log_probability) else None for token in tokens]
    tops = [{token_text(served, i): value for i, value in token.top} for token in tokens]
    return {
        "tokens": names,
        "token_logprobs": known,
        "top_logprobs": [top if value is not None else None for top, value in zip(tops, known, strict=True)],
        "text_offset": ends[:-1],
    }


async def _chunks(
    request: Request,
    run: Run,
    served: ServedModel,
    prompts: list[list[int]],
    body: CompletionBody,
    head: dict[str, Any],
) -> AsyncIterator[dict[str, Any]]:
    def chunk(index: int, text: str, tokens: list[Token], reason: str | None) -> dict[str, Any]:
        found = None if body.logprobs is None else _log_probabilities(served, tokens)
        return head | {"choices": [{"index": index, "text": text, "logprobs": found, "finish_reason": reason}]}

    if body.echo:
        for i, text in enumerate(run.texts):
            before, tokens = await served.run(partial(_read, served, prompts[text.prompt], body.logprobs))
            yield chunk(i, before, tokens, None)
    async for i, event in run.events(request):
        if isinstance(event, Token):
            yield chunk(i, event.text, [event], None)
        else:
            yield chunk(i, "", [], run.texts[i].finish_reason)
    if body.stream_options is not None and body.stream_options.include_usage:
        yield head | {"choices": [], "usage": usage(prompts, run.texts)}
