"""The words of the field, in US spelling: words that nobody searches for do not come back."""

import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
SOURCES = [p for folder in ("keras_plm", "recipes", "export") for p in (ROOT / folder).rglob("*.py")]
WORDS = {
    r"\bpieces?\b": "token",
    r"\btoken table|table of tokens": "embedding matrix",
    r"\blow-rank update|updates? of low rank": "LoRA",
    r"\broundings\b": "fake quantization; of a weight: rounding, rounding errors",
    r"\bfew values\b": "weight clustering",
    r"\bparts? in eight bits\b": "mixed precision",
    r"\bcoach": "distillation",
    r"(?<!standard )\bdeviations?\b": "standard deviation",
    r"\bdrawn (weights|head)": "random",
    r"\b(goes|go|went) on\b": "resumes, continues",
    r"\bmend(s|ed|ing)?\b": "fixed",
    r"\bhalf-written\b": "atomic",
    r"answers as the model": "matches the Keras model",
    r"\bof like (length|direction|meaning)\b": "similar",
    r"\bby heart\b": "memorized",
    r"artefact|learnt|labelled|neighbour|licence|behaviour|colour|favour|centre|spelt\b": "US spelling",
    r"(normal|token|quant|optim|general|summar|serial|initial|recogn|organ)is(e|ed|es|ing|ation)\b": "US spelling",
}
ALLOWED = {
    "text/sentence_piece.py": r"\bpieces?\b",  # SentencePiece's own word, in its files
}


def prose(path):
    """(line, text) of comments and of strings with spaces in them; of a page all lines, without code."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        inside = False
        for number, line in enumerate(text.splitlines(), 1):
            inside ^= line.startswith("```")
            if not inside:
                yield number, re.sub(r"`[^`]*`", "", line)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or token.type == tokenize.STRING and " " in token.string:
            for number, line in enumerate(token.string.splitlines()):
                yield token.start[0] + number, re.sub(r"`[^`]*`|\{[^{}]*\}|^\s+pieces:", "", line)


def test_the_words_of_the_field():
    found = []
    for path in (*PAGES, *SOURCES):
        allowed = [pattern for name, pattern in ALLOWED.items() if str(path).endswith(name)]
        for number, line in prose(path):
            for pattern, better in WORDS.items():
                match = re.search(pattern, line, re.IGNORECASE)
                if match and not any(re.search(one, match[0]) for one in allowed):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {match[0]!r} → {better}: {line.strip()}")
    assert not found, "\n".join(found)
