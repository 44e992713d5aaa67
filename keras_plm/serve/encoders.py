"""Endpoints of models that read: embeddings, classifications, tags and answers to questions."""

import base64
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends

from .errors import APIError
from .limits import Limits
from .requests import AnswerBody, ClassificationBody, EmbeddingBody, body_of, documented
from .served_models import ServedModel, ServedModels

_LOG = logging.getLogger("keras_plm.serve")


def encoder_routes(models: ServedModels, limits: Limits) -> APIRouter:
    """The routes of embeddings, classifications, tags and answers."""
    router = APIRouter(tags=["vectors and labels"])

    @router.post("/v1/embeddings", openapi_extra=documented(EmbeddingBody))
    async def embeddings(body: EmbeddingBody = Depends(body_of(EmbeddingBody))) -> Any:  # noqa: B008
        """Vectors of texts."""
        served = models[body.model]
        model = served.for_task("embed")
        texts, count = await _asked(served, lambda: _texts(served, body.input, limits))
        vectors = await _asked(served, lambda: model.embed(texts))
        if body.dimensions is not None:
            if body.dimensions > vectors.shape[1]:
                raise APIError(f"the model has vectors of {vectors.shape[1]} numbers", "dimensions")
            vectors = vectors[:, : body.dimensions]
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        rows = map(_base64, vectors) if body.encoding_format == "base64" else vectors.tolist()
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
        read = {"prompt_tokens": count, "total_tokens": count}
        return {"object": "list", "data": data, "model": served.name, "usage": read}

    @router.post("/v1/classifications", openapi_extra=documented(ClassificationBody))
    async def classifications(body: ClassificationBody = Depends(body_of(ClassificationBody))) -> Any:  # noqa: B008
        """The probability of each label."""
        served = models[body.model]
        model = served.for_task("predict_probabilities")
        texts, _ = await _asked(served, lambda: _texts(served, body.input, limits))
        found = await _asked(served, lambda: model.predict_probabilities(texts))
        results = []
        for row in found:
            best = model.labels[int(row.argmax())]
            label = [name for name, p in zip(model.labels, row, strict=True) if p >= 0.5] if model.multi_label else best
            results.append({"label": label, "scores": dict(zip(model.labels, map(float, row), strict=True))})
        return {"object": "list", "data": results, "model": served.name}

    @router.post("/v1/tags", openapi_extra=documented(ClassificationBody))
    async def tags(body: ClassificationBody = Depends(body_of(ClassificationBody))) -> Any:  # noqa: B008
        """The tagged spans of each text, such as named entities."""
        served = models[body.model]
        model = served.for_task("tag")
        texts, _ = await _asked(served, lambda: _texts(served, body.input, limits))
        found = await _asked(served, lambda: model.tag(texts))
        return {"object": "list", "data": [[vars(span) for span in row] for row in found], "model": served.name}

    @router.post("/v1/answers", openapi_extra=documented(AnswerBody))
    async def answers(body: AnswerBody = Depends(body_of(AnswerBody))) -> Any:  # noqa: B008
        """The part of a text that answers a question."""
        served = models[body.model]
        model = served.for_task("answer")
        found = await _asked(served, lambda: model.answer(body.question, body.context))
        return {"object": "answer", **vars(found), "model": served.name}

    return router


def _texts(served: ServedModel, given: Any, limits: Limits) -> tuple[list[str], int]:
    """The texts of a request, and their number of tokens."""
    tokenizer = served.model.needs_tokenizer()
    rows = [given] if isinstance(given, str) or given and isinstance(given[0], int) else given
    if not rows or not all(len(row) for row in rows):
        raise APIError("input has no text, or an empty one", "input")
    if len(rows) > limits.max_texts:
        raise APIError(f"a request has at most {limits.max_texts} texts", "input")
    if not isinstance(rows[0], str):
        if max(map(max, rows)) >= len(tokenizer):
            raise APIError(f"input has an id outside the {len(tokenizer):,} tokens of the model", "input")
        rows = [tokenizer.decode(ids) for ids in rows]
    return rows, sum(map(len, tokenizer(rows).to_list()))


async def _asked(served: ServedModel, compute: Callable[[], Any]) -> Any:
    try:
        return await served.run(compute)
    except ValueError as error:  # the methods of models explain what is wrong with a text
        _LOG.warning("a request was refused", exc_info=error)
        raise APIError(str(error), "input") from None


def _base64(vector: np.ndarray) -> str:
    return base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
