"""Chat templates: a conversation → the text that a model was trained on."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

_LONGEST_TEMPLATE = 100_000  # characters
_LONGEST_LOOP = 10_000  # of a `range` in a template
_ROLES = ("system", "user", "assistant", "tool")

Message = Mapping[str, str]


def render_chat(
    template: str, messages: Sequence[Message], special_tokens: Mapping[str, str], add_generation_prompt: bool = True
) -> str:
    """Render a conversation with a chat template of Transformers, in Jinja's sandbox.

    A template comes with a model, and is not trusted. It is text with placeholders, loops and conditions. In the
    sandbox, it cannot access files, modules or the attributes of Python objects, and it cannot change its arguments.

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
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise ImportError('jinja2 is not installed: pip install "keras-plm[chat]"') from None
    _check(messages)
    if len(template) > _LONGEST_TEMPLATE:
        raise ValueError(f"the chat template has {len(template):,} characters; at most {_LONGEST_TEMPLATE:,} are read")
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals |= {"range": _range, "raise_exception": _refuse, "strftime_now": _now}
    arguments = {"messages": [dict(message) for message in messages], "add_generation_prompt": add_generation_prompt}
    try:
        return environment.from_string(template).render(**special_tokens, **arguments)
    except (TemplateError, TypeError, ArithmeticError, AttributeError, LookupError, RecursionError) as error:
        raise ValueError(f"the chat template cannot render these messages: {error}") from None


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


def _range(*limits: int) -> range:
    found = range(*limits)
    if len(found) > _LONGEST_LOOP:
        raise ValueError(f"the chat template has a loop of {len(found):,} steps")
    return found


def _refuse(message: Any) -> None:
    raise ValueError(f"the chat template refuses these messages: {message!s:.200}")


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
