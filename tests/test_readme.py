"""The Python of README and docs runs, on a small corpus and with small numbers in place of their own."""

import functools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import keras_plm as plm
from keras_plm import export, recipes
from keras_plm.preparation import Prepare

ROOT = Path(__file__).parent.parent
PAGES = {
    path.name: path.read_text("utf-8")
    for path in (
        ROOT / "README.md",
        *(
            ROOT / "docs" / f"{name}.md"
            for name in ("fine-tuning", "checkpoints", "generation", "export", "scale", "server", "tutorials/serve")
        ),
    )
}


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", PAGES[page], re.DOTALL)


def test_the_readme_is_short():
    assert len(PAGES["README.md"].split()) <= 900


def test_the_story(config, tokenizer, corpus_file, review_files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plm.save(plm.Encoder(config, tokenizer), tmp_path / "encoder")
    story = python_blocks("README.md")[0] + python_blocks("checkpoints.md")[1]
    for theirs, ours in {
        '"hf:path/to/folder"': '"encoder"',
        '"books/*.txt"': repr(corpus_file),
        'train="train.tsv"': f"train={review_files['train']!r}, epochs=1, verbose=0",
        "max_length=64": "max_length=16",
        '"test.tsv"': repr(review_files["test"]),
        "plm.MINI": "plm.TINY",
        "vocabulary_size=8_000": "vocabulary_size=89, verbose=0",
        "steps=20_000": "steps=2, checkpoint_every=2, max_length=32",
    }.items():
        assert theirs in story, theirs
        story = story.replace(theirs, ours)
    names: dict = {}
    exec(compile(story, "README.md", "exec"), names)
    assert names["reviews"].predict_labels(["the cat"])[0] in ("cat", "dog")
    assert (tmp_path / "saved_models" / "phone" / "model.tflite").exists()
    budget = python_blocks("export.md")[0]
    for theirs, ours in {
        '"train.tsv"': repr(review_files["train"]),
        '"dev.tsv"': repr(review_files["test"]),
        "max_loss=2": 'max_loss=90, schemes=["float16"]',
    }.items():
        assert theirs in budget, theirs
        budget = budget.replace(theirs, ours)
    exec(compile(budget, "README.md", "exec"), names)
    assert (tmp_path / "saved_models" / "small_phone" / "model.tflite.budget.json").exists()


@pytest.mark.slow
def test_every_task(config, tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plm.save(plm.Encoder(replace(config, max_sequence_length=128), tokenizer), tmp_path / "saved_models" / "mini")
    (tmp_path / "train.conll").write_text("the O\ncat B-PER\n\ndog B-LOC\nsees O\n")
    (tmp_path / "dev.conll").write_text("the O\ncat B-PER\n")
    answer = {"text": "cat", "answer_start": 4}
    row = {"question": "who ?", "context": "the cat sees", "answers": [answer]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    (tmp_path / "pairs.tsv").write_text("sentence1\tsentence2\tscore\nthe cat\tcat\t5\ndog\tthe\t0\n")
    story = python_blocks("fine-tuning.md")[0]
    for theirs, ours in {
        "load_best=True,": "load_best=True, epochs=1, verbose=0, max_length=16,",
        'train="train.json", max_length=128,': 'train="train.jsonl", max_length=128, epochs=1, verbose=0,',
        'train="pairs.tsv",': 'train="pairs.tsv", epochs=1, verbose=0, max_length=16,',
    }.items():
        assert theirs in story, theirs
        story = story.replace(theirs, ours)
    names: dict = {"plm": plm, "recipes": recipes, "export": export}
    exec(compile(story, "README.md", "exec"), names)
    assert names["tagger"].predict_tags([["the", "cat"]]) == names["entities"].predict_tags([["the", "cat"]])


def test_the_published_checkpoint(config, review_files, tmp_path, monkeypatch):
    from checkpoints.small_folders import word_piece, write_folder

    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "bert", "BertModel")
    tokenizer = word_piece()
    sizes = replace(config, vocabulary_size=len(tokenizer))
    plm.checkpoints.to_hugging_face(plm.Embedder(sizes, tokenizer), tmp_path / "sentences")
    story = python_blocks("checkpoints.md")[0]
    for theirs, ours in {
        "path/to/folder": "bert",
        "path/to/sentence_transformer": "sentences",
        '"train.tsv"': f"{review_files['train']!r}, epochs=1, max_length=16, verbose=0",
    }.items():
        assert theirs in story, theirs
        story = story.replace(theirs, ours)
    names: dict = {"plm": plm, "recipes": recipes}
    exec(compile(story, "README.md", "exec"), names)
    assert names["vectors"].shape == (2, sizes.hidden_dim)
    assert plm.load("hf:out/reviews").labels == ["cat", "dog"]


def test_the_generator(corpus_file, tmp_path, monkeypatch, capsys):
    from tests.tasks.test_text_generation import make

    monkeypatch.chdir(tmp_path)
    writer = make("llama", max_sequence_length=300)
    writer.chat_template = "{{ messages[0].content }}"
    plm.save(writer, tmp_path / "writer")
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 97}
    config = plm.EncoderDecoderConfig(vocabulary_size=len(writer.tokenizer), **sizes)
    plm.save(plm.Seq2Seq(config, writer.tokenizer), tmp_path / "translator")
    pairs = [{"prompt": f"{i}", "completion": "b"} for i in range(20)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (tmp_path / "train.tsv").write_text("text\n" + "the house\n" * 9)
    story = "".join(python_blocks("generation.md"))
    for theirs, ours in {
        '"SmolLM2-135M-Instruct.Q4_1.gguf"': '"writer"',
        '"hf:path/to/flan-t5-small"': '"translator"',
        "max_new_tokens=40": "max_new_tokens=4",
        "seed=1)": "seed=1, max_new_tokens=4)",
        "num_beams=4, length": "max_new_tokens=4, num_beams=4, length",
        "num_beams=4)": "max_new_tokens=4, num_beams=4)",
        "max_length=256": "max_length=64",
        '"int4_block32+int8:embedding"': '"int4"',
        '"saved_models/writer",\n    train': '"writer", epochs=1, max_length=16, verbose=0, train',
        "num_layers=6": "num_layers=2, vocabulary_size=11",
        '"books/*.txt", validation="dev/*.txt"': f"{corpus_file!r}, fast_dev_run=True, verbose=0",
        "config=plm.GPT_MINI": "config=replace(plm.GPT_MINI, num_layers=1, num_heads=2, hidden_dim=16)",
    }.items():
        assert theirs in story, theirs
        story = story.replace(theirs, ours)
    names: dict = {"plm": plm, "recipes": recipes, "export": export, "replace": replace}
    exec(compile(story, "generation.md", "exec"), names)
    assert len(names["scores"]) == 2 and names["model"].output_shape == (None, None, 11)
    assert capsys.readouterr().out.endswith("174604259328\n")


def test_the_parts():
    names: dict = {"plm": plm}
    exec(compile(python_blocks("checkpoints.md")[2], "checkpoints.md", "exec"), names)
    assert names["hidden"].shape == (2, 5, 512)
    assert isinstance(names["model"], plm.Pretrainer)


@pytest.mark.parametrize(
    "command", [line for page in PAGES.values() for line in re.findall(r"^keras-plm .*$", page, re.MULTILINE)]
)
def test_the_commands_parse(command, monkeypatch, tmp_path):
    """Every command and flag that they name exists: all but the work is done."""
    import shlex

    from keras_plm import __main__ as command_line

    called = []
    for name in recipes.__all__:
        if hasattr(getattr(recipes, name), "run"):
            monkeypatch.setattr(getattr(recipes, name), "run", lambda self: called.append(self))
    monkeypatch.setattr(Prepare, "run", lambda self: called.append(self))
    for groups in (command_line.COMMANDS, command_line.EXPORTS):
        for entry in (entry for group in groups.values() for entry in group.values()):
            module, _, name = entry.target.partition(":")
            if module == "keras_plm.commands":
                monkeypatch.setattr(f"{module}.{name}", recorded(entry.load(), called), raising=False)
    monkeypatch.chdir(tmp_path)
    command_line.main(shlex.split(command)[1:])
    assert len(called) == 1
    with pytest.raises(SystemExit):
        command_line.main([*shlex.split(command)[1:], "--no-such-flag", "3"])


def recorded(function, called):
    """The same signature without the work."""

    @functools.wraps(function)
    def record(*arguments, **options):
        called.append(function)

    return record


@pytest.mark.slow
def test_it_is_served(classifier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plm.save(classifier, "saved_models/reviews")
    names: dict = {}
    exec(compile("".join(python_blocks("serve.md")), "serve.md", "exec"), names)
    assert names["served"].signatures.keys() == {"serving_default", "token_ids"}


def test_links_exist():
    folders = {"README.md": ROOT, "serve.md": ROOT / "docs" / "tutorials"}
    for name, page in PAGES.items():
        folder = folders.get(name, ROOT / "docs")
        prose = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
        for target in re.findall(r"\]\((?!http)([^)#]+)", prose):
            assert (folder / target).exists(), (name, target)
