"""Parts that the answers of several endpoints share."""

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi.responses import StreamingResponse

from .errors import of_exception
from .generating import Run, Written
from .served_models import ServedModel


def new_id(kind: str) -> str:
    """A new id of an answer, such as "cmpl-…"."""
    return f"{kind}-{uuid.uuid4().hex}"


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def usage(prompts: Sequence[list[int]], texts: Sequence[Written]) -> dict[str, int]:
    """The numbers of tokens that were read and written."""
    read, written = sum(map(len, prompts)), sum(len(text.continuation.token_ids) for text in texts)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def token_text(served: ServedModel, token_id: int) -> str:
    """The text of a token; a part of a character is written as `bytes:` and its bytes, as in OpenAI's API."""
    tokenizer = served.model.needs_tokenizer()
    if token_id >= len(tokenizer):
        return ""
    if token_id in tokenizer.left_out_ids:
        return tokenizer.vocabulary[token_id]
    content = served.pieces[token_id]
    try:
        return content.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in content)


def event_stream(run: Run, chunks: AsyncIterator[dict[str, Any]]) -> StreamingResponse:
    """A stream of server-sent events. An error is an event, too, because the status was sent before."""

    async def lines() -> AsyncIterator[str]:
        try:
            async for chunk in chunks:
                yield f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
            yield "data: [DONE]\n\n"
        except Exception as error:
            yield f"data: {json.dumps(of_exception(error).body, ensure_ascii=False)}\n\n"
        finally:
            run.cancel()

    return StreamingResponse(lines(), media_type="text/event-stream")
