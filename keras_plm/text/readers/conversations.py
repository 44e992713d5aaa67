import json
from dataclasses import dataclass
from typing import Any, Self

from . import cells
from .bad_rows import BadRowError, OnBadRow
from .examples import Examples
from .tables import first_value, name_of, read_columns

_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True)
class Conversations(Examples):
    """Conversations, each a list of messages.

    Attributes:
        conversations: for each row its messages: dicts of `role` and `content`, with at least one reply of the
            assistant.
    """

    conversations: list[list[dict[str, str]]]

    @classmethod
    def read(cls, source: Any, column: str, limit: int | None = None, on_bad_row: OnBadRow = "error") -> Self:
        """Read a column of a table; see `read_columns` for the kinds of tables and errors.

        A value is a list of messages, or a list of texts, in which user and assistant take turns; or one of them in
        JSON.

        Args:
            source: paths, globs, or a table in memory.
            column: column of the conversations.
            limit: read at most this number of rows, 1 or more.
            on_bad_row: "error", or "skip" to leave bad rows out.
        """
        table, skipped = read_columns(source, {column: _conversation}, limit, on_bad_row)
        return cls(name_of(source), table[column], skipped=skipped)

    @staticmethod
    def has(source: Any, column: str) -> bool:
        """Whether a column has conversations: its first value is a list, or a list of texts or messages in JSON."""
        value = first_value(source, column)
        if isinstance(value, str) and value.lstrip().startswith("["):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return False
            return bool(value) and all(isinstance(part, str | dict) for part in value)
        return isinstance(value, list)

    def texts(self) -> list:
        """Each conversation as JSON."""
        return [json.dumps(messages) for messages in self.conversations]

    @property
    def last_replies(self) -> list[str]:
        """The last reply of each conversation."""
        return [messages[last_reply(messages)]["content"] for messages in self.conversations]


def last_reply(messages: list[dict[str, str]]) -> int:
    """The index of the last message of the assistant."""
    return max(number for number, message in enumerate(messages) if message["role"] == "assistant")


def _conversation(value: Any) -> list[dict[str, str]]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadRowError("is a text that is no JSON list; give a list of messages") from None
    if not isinstance(value, list) or not value:
        raise BadRowError("is not a list of messages")
    if isinstance(value[0], str):
        value = [{"role": _ROLES[1 + turn % 2], "content": part} for turn, part in enumerate(value)]
    messages = [_message(number, message) for number, message in enumerate(value)]
    if not any(message["role"] == "assistant" for message in messages):
        raise BadRowError("has no reply of the assistant, so there is nothing to learn")
    return messages


def _message(number: int, message: Any) -> dict[str, str]:
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise BadRowError(f"has the message {number}: {str(message)[:40]!r}; a message has a role and a content")
    if message["role"] not in _ROLES:
        raise BadRowError(f"has the role {message['role']!r:.40}; choose one of {', '.join(_ROLES)}")
    return {"role": message["role"], "content": cells.text(message["content"])}
