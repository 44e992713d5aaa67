"""Sentences of words with tags, read from CoNLL, JSONL or memory."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

from keras_plm.text.tags import canonical_labels, odd_tags, repair_tags, spread_tag, tag_notation, tag_scheme
from keras_plm.text.words import split_each

from .bad_rows import BadRows, OnBadRow
from .conll import conll_sentences
from .examples import Examples
from .files import expand_files, file_suffix
from .memory import is_in_memory, rows_in_memory
from .spans import tagged_rows
from .tables import json_lines, name_of

# place, words, tags, and the number of spans that were moved to word boundaries
Sentence = tuple[str, list[str], list[str], int]


@dataclass(frozen=True)
class TaggedSentences(Examples):
    """Sentences of words, each word with a tag.

    Attributes:
        words: the words of each sentence.
        tags: the tag of each word, converted to IOB2, BIOES or plain tags.
        repaired: the number of changed tags or spans of each sentence, such as an I that became a B because it begins
            an entity.
        notation: the notation in the source: IOB1, IOB2, BIOES, BILOU, BMES, BEW or plain.
        comments: number of comment lines in CoNLL files.
        from_texts: whether most sentences were texts with spans; these are split at all punctuation.
    """

    words: list[list[str]]
    tags: list[list[str]]
    repaired: list[int]
    notation: str = field(default="", kw_only=True, compare=False)
    comments: int = field(default=0, kw_only=True)
    from_texts: bool = field(default=False, kw_only=True)
    facts: ClassVar[tuple[str, ...]] = ("source", "skipped", "notation", "comments", "from_texts")

    @classmethod
    def read(cls, source: Any, tag_column: int | str = -1, on_bad_row: OnBadRow = "error") -> Self:
        """Read CoNLL or JSONL files, or rows in memory.

        Formats:

        - CoNLL (any extension not listed below; also `.gz`): one word and its tags per line, separated by tabs or
          spaces, and a blank line between sentences. Comments (`# id 7`) and document marks (`-DOCSTART-`) are left
          out.
        - CoNLL-U (`.conllu`): the word is in column 1. The default tag is UPOS in column 3.
        - JSONL and memory, words: `words` or `tokens` with `tags` or `ner_tags`.
        - JSONL and memory, texts: `text` with `spans`, `slots`, `entities` or `label`. Each span is
          `{"start", "end", "label"}` or `[start, end, label]` in characters. The text is split by `split_words`. If a
          span begins or ends inside a word, it is extended to the whole word. If two spans share a word, the span with
          the larger part gets it. `repaired` counts these spans.

        Args:
            source: paths, globs, or a table in memory.
            tag_column: CoNLL: column of the tag, counted from 0; by default the last column. JSONL: key of the list.
            on_bad_row: "error", or "skip" to leave out sentences with a bad line.

        Raises:
            FileNotFoundError: a pattern matches no file.
            ValueError: a line has no tag, the numbers of words and tags differ, a span is outside the text, or a tag
                does not fit the others (such as 0 among O and B-PER). The message lists them, with file and line.
        """
        bad = BadRows(on_bad_row)
        found = Counter[str]()
        sentences = list(_sentences(source, tag_column, bad, found))
        odd = set(odd_tags(tag for _, _, tags, _ in sentences for tag in tags))
        counts = Counter(tag for _, _, tags, _ in sentences for tag in tags if tag in odd)
        kept = []
        for sentence in sentences:
            wrong = [tag for tag in sentence[2] if tag in odd]
            if wrong:
                hint = "; the letter O means outside" if wrong[0] in ("0", "o") else ""
                bad.add(
                    sentence[0],
                    f"the tag {wrong[0]!r} does not fit the other tags, which are O or begin with B- or similar "
                    f"({counts[wrong[0]]} such tags){hint}",
                )
            else:
                kept.append(sentence)
        problems = bad.done(name_of(source))
        if not kept:
            raise ValueError(f"no sentence in {name_of(source)}{f': all {len(problems)} are bad' if problems else ''}")
        notation = tag_notation(tags for _, _, tags, _ in kept)
        names = sorted({tag for _, _, tags, _ in kept for tag in tags})
        spelled = dict(zip(names, canonical_labels(names), strict=True))
        repaired = [repair_tags([spelled[tag] for tag in tags]) for _, _, tags, _ in kept]
        return cls(
            name_of(source),
            [words for _, words, _, _ in kept],
            [tags for tags, _ in repaired],
            [changed + moved for (_, changed), (*_, moved) in zip(repaired, kept, strict=True)],
            skipped=problems,
            notation=notation,
            comments=found["comments"],
            from_texts=2 * found["texts"] > len(sentences),
        )

    def split(self) -> Self:
        """The same sentences with their words split at all punctuation: "O'Neil" becomes three words with tags.

        Every other way to split a text into words is coarser, so after this split two ways can be compared.
        """
        parts = split_each(self.words)
        tags = [
            [tag for word, tag in zip(words, tags, strict=True) for tag in spread_tag(tag, len(word))]
            for words, tags in zip(parts, self.tags, strict=True)
        ]
        return replace(self, words=[[part for word in words for part in word] for words in parts], tags=tags)

    def texts(self) -> list[str]:
        """Each sentence with spaces between its words."""
        return [" ".join(words) for words in self.words]

    def counts(self) -> Counter[str]:
        """How often each label begins an entity; for plain tags, how often each tag occurs."""
        tags = [tag for tags in self.tags for tag in tags]
        if tag_scheme(set(tags)) == "plain":
            return Counter(tags)
        return Counter(tag[2:] for tag in tags if tag[:2] in ("B-", "S-"))

    def card(self) -> dict[str, Any]:
        """The notation of the tags, and the number of tags or spans that were changed to be legal."""
        return {
            "tag notation": self.notation,
            "train tags that were made legal": sum(self.repaired),
            "comment lines left out": self.comments,
        }

    def notes(self) -> list[str]:
        """The notation of the tags, and the number of changes."""
        read = "" if self.notation in ("IOB2", "BIOES", "plain") else ", read as BIOES"
        read = ", read as IOB2" if self.notation == "IOB1" else read
        comments = f"; {self.comments:,} comment lines left out" if self.comments else ""
        repaired = f"; {sum(self.repaired):,} tags or spans made legal" if sum(self.repaired) else ""
        return [f"tags: {self.notation}{read}{comments}{repaired}"]

    def known(self, labels: Sequence[str] | None) -> Self:
        """The sentences without unknown tags."""
        known = set(labels or ())
        unknown = [(row, next((tag for tag in tags if tag not in known), None)) for row, tags in enumerate(self.tags)]
        return self._only([(row, tag) for row, tag in unknown if tag is not None], "sentence")


def _sentences(source: Any, tag_column: int | str, bad: BadRows, found: Counter[str]) -> Iterator[Sentence]:
    key = None if isinstance(tag_column, int) else tag_column
    if is_in_memory(source):
        yield from tagged_rows(rows_in_memory(source), key, bad, found)
        return
    for path in expand_files(source):
        if file_suffix(path) == ".jsonl":
            yield from tagged_rows(json_lines(path, bad), key, bad, found)
        elif isinstance(tag_column, str):
            raise ValueError(f"tag_column={tag_column!r}; in CoNLL a column is a number, counted from 0")
        else:
            yield from conll_sentences(path, tag_column, bad, found)
