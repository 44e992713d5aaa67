from collections.abc import Callable, Sequence

_UNFINISHED = "\ufffd"  # incomplete characters decode to this


class TextStream:
    """Converts token ids to text step by step. It returns only complete characters, and no part of a stop string.

    Args:
        decode: converts token ids to text.
        stop_strings: the text ends before the first of these.

    Attributes:
        stopped: whether a stop string was found; then there is no more text.

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
        # The text of a token may depend on the one before it (SentencePiece's first space), so decoding starts at the
        # last token before a border of characters. `_told` counts the characters of this text that were returned.
        self._start = self._told = 0
        self._held = ""

    def push(self, token_id: int) -> str:
        """The text that is certain now and was not returned before."""
        self._ids.append(token_id)
        text = self.decode(self._ids[self._start :])
        certain = text.rstrip(_UNFINISHED)
        new, self._told = certain[self._told :], max(self._told, len(certain))
        if certain == text:
            self._start = len(self._ids) - 1
            self._told = len(self.decode(self._ids[self._start :]))
        return self._until_stop(new)

    def finish(self) -> str:
        """The text that was held back, if no more tokens come."""
        if self.stopped:
            return ""
        rest = self._until_stop(self.decode(self._ids[self._start :])[self._told :])
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
    """The length of the longest end of the text with which the stop string begins."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
