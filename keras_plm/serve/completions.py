"""`/v1/completions`: texts that continue prompts."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool

from keras_plm.generation import TextStream
from keras_plm.generation.continuous_batching import Token, best_tokens
from keras_plm.generation.sampling import log_softmax

from .answers import event_stream, new_id, now, token_text, usage
from .errors import APIError
from .generating import Run, Written, settings_of
from .limits import Limits
from .requests import CompletionBody, body_of, documented
from .served_models import ServedModel, ServedModels

_MOST_LOGITS = 2**26  # numbers, a quarter of a gigabyte


def completion_routes(models: ServedModels, limits: Limits) -> APIRouter:
    """The route of completions."""
    router = APIRouter()

    @router.post("/v1/completions", openapi_extra=documented(CompletionBody), tags=["text"])
    async def completions(request: Request, body: CompletionBody = Depends(body_of(CompletionBody))) -> Any:  # noqa: B008
        """Continue prompts."""
        served = models[body.model]
        prompts = await run_in_threadpool(_checked, served, body, limits)
        copies, limit = body.best_of or body.n or 1, _limit(body)
        head = {"id": new_id("cmpl"), "object": "text_completion", "created": now(), "model": served.name}
        if not limit:
            read = await _read_all(served, prompts, body)
            choices = [_choice(served, i, None, part, body) for i, part in enumerate(read)]
            return head | {"choices": choices, "usage": usage(prompts, [])}
        settings = settings_of(body, limit, copies)
        read = await _read_all(served, prompts, body) if body.echo else [("", [])] * len(prompts)
        top = 0 if body.logprobs is None and copies > (body.n or 1) else body.logprobs  # best_of compares texts
        run = await Run.begin(served, prompts, settings, top, limits.timeout)
        if body.stream:
            return event_stream(run, _chunks(request, run, served, prompts, read, body, head))
        texts = _best(await run.finish(request), copies, body.n or 1)
        choices = [_choice(served, i, text, read[text.prompt], body) for i, text in enumerate(texts)]
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
    if not _limit(body) and (not body.echo or body.stream or (body.n or 1) > 1 or (body.best_of or 1) > 1):
        raise APIError("max_tokens=0 needs echo=true, and no stream, n or best_of", "max_tokens")
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


def _limit(body: CompletionBody) -> int:
    return 16 if body.max_tokens is None else body.max_tokens


def _choice(
    served: ServedModel, index: int, text: Written | None, read: tuple[str, list[Token]], body: CompletionBody
) -> dict[str, Any]:
    before, tokens = read
    return {
        "index": index,
        "text": before + ("" if text is None else text.text),
        "logprobs": _log_probabilities(served, tokens + ([] if text is None else text.tokens), body),
        "finish_reason": "length" if text is None else text.finish_reason,
    }


async def _read_all(
    served: ServedModel, prompts: list[list[int]], body: CompletionBody
) -> list[tuple[str, list[Token]]]:
    """The text of each prompt, and its tokens with their log-probabilities, for `echo`."""
    if not served.model.continues_prompts:
        raise APIError("echo is for models that continue their prompt", "echo")
    # the logits of all tokens are in memory together
    most = max(min(served.model.longest_row, _MOST_LOGITS // len(served.pieces)), 1)
    for ids in prompts:
        if not ids:
            raise APIError("a prompt is empty, so there is nothing to echo", "prompt")
        if body.logprobs is not None and len(ids) > most:
            message = f"echo with logprobs reads at most {most:,} tokens, not {len(ids):,}"
            raise APIError(message, "prompt", "context_length_exceeded")
    return [await served.run(partial(_read, served, ids, body.logprobs)) for ids in prompts]


def _read(served: ServedModel, prompt: list[int], top: int | None) -> tuple[str, list[Token]]:
    """The text of a prompt, and its tokens with their log-probabilities; NaN for the first one."""
    model = served.model
    decode = model.needs_tokenizer().decode
    if top is None:
        return decode(prompt), []
    stream = TextStream(decode)
    logits = np.asarray(model.predict_on_batch(model.row_inputs(prompt))[0], "float32")
    tokens = [Token(prompt[0], stream.push(prompt[0]), float("nan"), [])]
    for token, row in zip(prompt[1:], logits[:-1], strict=True):
        scores = log_softmax(row.astype("float64"))
        tokens.append(Token(token, stream.push(token), float(scores[token]), best_tokens(scores, top, token)))
    return decode(prompt), tokens


def _log_probabilities(
    served: ServedModel, tokens: list[Token], body: CompletionBody, start: int = 0
) -> dict[str, Any] | None:
    """OpenAI's lists of tokens. The offsets count from `start`, the length of the text before."""
    if body.logprobs is None:
        return None
    offsets = np.cumsum([start, *(len(token.text) for token in tokens)]).tolist()
    # text that was held back has no token of its own
    named = [(token, offset) for token, offset in zip(tokens, offsets, strict=False) if token.token_id is not None]
    known = [token.log_probability if np.isfinite(token.log_probability) else None for token, _ in named]
    tops = [{token_text(served, i): value for i, value in token.top} for token, _ in named]
    return {
        "tokens": [token_text(served, token.token_id or 0) for token, _ in named],
        "token_logprobs": known,
        "top_logprobs": [top if value is not None else None for top, value in zip(tops, known, strict=True)],
        "text_offset": [offset for _, offset in named],
    }


async def _chunks(
    request: Request,
    run: Run,
    served: ServedModel,
    prompts: list[list[int]],
    read: list[tuple[str, list[Token]]],
    body: CompletionBody,
    head: dict[str, Any],
) -> AsyncIterator[dict[str, Any]]:
    lengths = [0] * len(run.texts)

    def chunk(index: int, text: str, tokens: list[Token], reason: str | None) -> dict[str, Any]:
        found = _log_probabilities(served, tokens, body, lengths[index])
        lengths[index] += len(text)
        return head | {"choices": [{"index": index, "text": text, "logprobs": found, "finish_reason": reason}]}

    if body.echo:
        for i, text in enumerate(run.texts):
            yield chunk(i, *read[text.prompt], None)
    async for i, event in run.events(request):
        if isinstance(event, Token):
            yield chunk(i, event.text, [event], None)
        else:
            yield chunk(i, "", [], run.texts[i].finish_reason)
    if body.stream_options is not None and body.stream_options.include_usage:
        yield head | {"choices": [], "usage": usage(prompts, run.texts)}
