"""The bodies of requests. A field that is not listed here is refused, never ignored."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import APIError, invalid

_SECONDS = 30  # for the body of a request to arrive
TokenIds = list[Annotated[int, Field(ge=0)]]


class Body(BaseModel):
    """The fields of all requests."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    user: str | None = None  # accepted as in OpenAI's API; it has no effect


class StreamOptions(BaseModel):
    """Options of a stream."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool = False
    include_obfuscation: bool = False  # accepted; nothing is padded


class GenerationBody(Body):
    """The fields that completions and chat completions share."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 1.0
    n: Annotated[int, Field(ge=1, le=128)] | None = 1
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = 0.0
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(given)


class CompletionBody(GenerationBody):
    """`/v1/completions`."""

    prompt: str | list[str] | TokenIds | list[TokenIds] = ""
    suffix: str | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = 16
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: bool | None = False
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """A message of a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None
    name: str | None = None  # accepted; the templates of models do not use it
    # a client sends an earlier answer back with these fields, which are empty here
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None
    annotations: None | Annotated[list[Any], Field(max_length=0)] = None

    @property
    def text(self) -> str:
        """The text of all parts."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content or [])


class JSONSchema(BaseModel):
    """A JSON schema with its name."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    name: str
    description: str | None = None
    content: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """The form of an answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchema | None = None


class ChatBody(GenerationBody):
    """`/v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: list[Any] | None = None
    tool_choice: Any = None
    functions: list[Any] | None = None


class EmbeddingBody(Body):
    """`/v1/embeddings`."""

    input: str | list[str] | TokenIds | list[TokenIds]
    dimensions: Annotated[int, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = "float"


class ClassificationBody(Body):
    """`/v1/classifications`, and `/v1/tags`."""

    input: str | list[str]


class AnswerBody(Body):
    """`/v1/answers`."""

    question: str
    context: str


def body_of(kind: type[Body]) -> Any:
    """A dependency that parses the body of a request as this kind."""

    async def parse(request: Request) -> Any:
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            # a web page can send other types without asking the server first
            raise APIError("the body is not application/json", status=415)
        try:
            content = await asyncio.wait_for(request.body(), _SECONDS)
            return kind.model_validate_json(content)
        except ValidationError as error:
            raise invalid(error) from None
        except TimeoutError:
            raise APIError(f"the body did not arrive within {_SECONDS} seconds", status=408) from None
        except RecursionError:
            raise APIError("the body is nested too deeply") from None

    return parse


def documented(kind: type[Body]) -> dict[str, Any]:
    """The schema of the body on the OpenAPI page."""
    schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
