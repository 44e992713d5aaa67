from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"  # what bytes that are no whole character decode to
_LONGEST_CHARACTER = 4  # bytes of UTF-8, and so tokens


class TextStream:
    """Token ids become text while they come: whole characters only, and nothing of a stop string.

    Args:
        decode: token ids → text.
        stop_strings: the text ends before the first of these.

    Attributes:
        stopped: a stop string has been found; no more text comes.

    Example:
        >>> stream = TextStream(lambda ids: "".join(map(chr, ids)), stop_strings=["end"])
        >>> [stream.push(ord(character)) for character in "tender"]
        ['t', '', '', '', '', '']
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop_strings: Sequence[str] = ()) -> None:
        self.decode = decode
        self.stop_strings = list(stop_strings)
        self.stopped = False
        self._ids: list[int] = []
        # the text of a token may depend on the one before it (SentencePiece's first space): decoded from there
        self._context = self._told = 0
        self._held = ""

    def push(self, token_id: int) -> str:
        """The text that is certain now and has not been told."""
        self._ids.append(token_id)
        before = self.decode(self._ids[self._context : self._told])
        text = self.decode(self._ids[self._context :])
        if text.endswith(_UNFINISHED) and len(self._ids) - self._told < _LONGEST_CHARACTER:
            return ""
        self._context, self._told = self._told, len(self._ids)
        return self._until_stop(text[len(before) :])

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        if self.stopped:
            return ""
        before = self.decode(self._ids[self._context : self._told])
        rest = self._until_stop(self.decode(self._ids[self._context :])[len(before) :])
        return rest if self.stopped else rest + self._held

    def _until_stop(self, new: str) -> str:
        if self.stopped:
            return ""
        text = self._held + new
        places = [text.find(stop) for stop in self.stop_strings if stop in text]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        # the longest end that a stop string may begin with
        held = max((_begun(text, stop) for stop in self.stop_strings), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of the stop string."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
