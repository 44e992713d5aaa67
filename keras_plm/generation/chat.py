"""Chat templates: a conversation → the text that a model was trained on."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

_LONGEST_TEMPLATE = 100_000  # characters
_MOST_STEPS = 100_000  # of all `range` loops of a template together
_LONGEST_TEXT = 1_000_000  # characters of a rendered conversation
_ROLES = ("system", "user", "assistant", "tool")

Message = Mapping[str, str]

# for models that were not trained for conversations
PLAIN_TEMPLATE = """
{%- for message in messages -%}
{{ message.role }}: {{ message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}

{% endfor -%}
{%- if add_generation_prompt %}assistant: {% endif -%}
"""


def render_chat(
    template: str, messages: Sequence[Message], special_tokens: Mapping[str, str], add_generation_prompt: bool = True
) -> str:
    """Render a conversation with a chat template of Transformers, in Jinja's sandbox.

    A template comes with a model, and is not trusted. It is text with placeholders, loops and conditions. In the
    sandbox, it cannot access files, modules or the attributes of Python objects, and it cannot change its arguments.
    Its loops and its text have limits.

    Args:
        template: the template.
        messages: dicts of `role` ("system", "user", "assistant" or "tool") and `content`, the oldest first.
        special_tokens: tokens by name, such as `bos_token`.
        add_generation_prompt: end with the beginning of a reply.

    Raises:
        ImportError: the extra `chat` is not installed.
        ValueError: a message has no role or content, the template is damaged, it tries something that the sandbox
            forbids, or it refuses the messages.

    Example:
        >>> template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        >>> render_chat(template, [{"role": "user", "content": "Hello"}], {})
        '<user>Hello'
    """
    try:
        from jinja2 import TemplateError
    except ImportError:
        raise ImportError('jinja2 is not installed: pip install "keras-plm[chat]"') from None
    _check(messages)
    if len(template) > _LONGEST_TEMPLATE:
        raise ValueError(f"the chat template has {len(template):,} characters; at most {_LONGEST_TEMPLATE:,} are read")
    arguments = {"messages": [dict(message) for message in messages], "add_generation_prompt": add_generation_prompt}
    try:
        return _limited(_sandbox().from_string(template).generate(**special_tokens, **arguments))
    except (
        TemplateError,
        TypeError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        MemoryError,
    ) as error:
        raise ValueError(f"the chat template cannot render these messages: {error}") from None


def _sandbox() -> Any:
    """Jinja's sandbox with the functions of Transformers, and with limits for loops and for texts."""
    from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"*", "**", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            numbers = all(isinstance(side, int | float) and abs(side) < _LONGEST_TEXT for side in (left, right))
            if not numbers or (operator == "**" and abs(right) > 9):
                raise SecurityError(f"{operator} is for small numbers only")
            return super().call_binop(context, operator, left, right)

    environment = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    steps = itertools.count()

    def limited_range(*limits: int) -> Iterator[int]:
        for number in range(*limits):
            if next(steps) > _MOST_STEPS:
                raise ValueError(f"the chat template has loops of more than {_MOST_STEPS:,} steps")
            yield number

    environment.globals |= {"range": limited_range, "raise_exception": _refuse, "strftime_now": _now}
    environment.filters["tojson"] = _to_json
    for unlimited in ("center", "format", "indent", "wordwrap"):
        del environment.filters[unlimited]
    del environment.globals["lipsum"]
    return environment


def _limited(parts: Iterable[str]) -> str:
    text = ""
    for part in parts:
        text += part
        if len(text) > _LONGEST_TEXT:
            raise ValueError(f"the chat template makes a text of more than {_LONGEST_TEXT:,} characters")
    return text


def _to_json(value: Any, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _check(messages: Sequence[Message]) -> None:
    if isinstance(messages, Mapping | str) or not len(messages):
        raise ValueError('give a list of messages, such as [{"role": "user", "content": "Hello"}]')
    for number, message in enumerate(messages):
        if not isinstance(message, Mapping) or not {"role", "content"} <= set(message):
            raise ValueError(f"message {number} is {message!r:.60}; a message has a role and a content")
        if message["role"] not in _ROLES:
            raise ValueError(
                f"message {number} has the role {message['role']!r:.60}; choose one of {', '.join(_ROLES)}"
            )
        if not isinstance(message["content"], str):
            raise ValueError(f"the content of message {number} is {message['content']!r:.60}; give a text")


def _refuse(message: Any) -> None:
    raise ValueError(f"the chat template refuses these messages: {message!s:.200}")


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
