"""Fine-tuning on conversations: only replies count, in the form of the chat template."""

import json

import pytest

import keras_plm as plm
from keras_plm.commands.columns import columns_of
from keras_plm.generation.chat import PLAIN_TEMPLATE, render_chat
from keras_plm.recipes import Converse
from keras_plm.tasks import TEXT_GENERATION, evaluate
from keras_plm.text import Conversations
from tests.tasks.test_text_generation import END, make

CHATS = [
    [{"role": "user", "content": "red"}, {"role": "assistant", "content": "blue"}],
    [{"role": "system", "content": "x"}, {"role": "user", "content": "the"}, {"role": "assistant", "content": "end"},
     {"role": "user", "content": "red"}, {"role": "assistant", "content": "two"}],
]  # fmt: skip


@pytest.fixture
def settings(tmp_path):
    plm.save(make("llama", max_sequence_length=120), tmp_path / "start")
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in CHATS))
    return {
        "start_from": str(tmp_path / "start"), "train": str(path), "validation": str(path), "max_length": 97,
        "batch_size": 1, "learning_rate": 5e-3, "dropout": 0.0, "verbose": 0, "save_to": str(tmp_path / "model"),
    }  # fmt: skip


def test_it_learns_the_replies(settings, capsys):
    alone = [{"messages": [{"role": "assistant", "content": "blue"}]}]  # a reply without a question
    settings |= {"validation": None, "test": settings["train"], "verbose": 2}
    Converse(**settings | {"test": alone, "save_to": f"{settings['save_to']}_1"}, epochs=1).run()
    capsys.readouterr()
    model = Converse(**settings, epochs=40).run()
    said = capsys.readouterr().out
    assert "red\n  → blue\n  = blue\nred\n  → two\n  = two" in said and "distinct_1 1.0000" in said
    again = plm.load(settings["save_to"])
    for assistant in (model, again):
        assert assistant.chat_template == PLAIN_TEMPLATE
        assert assistant.chat(CHATS[0][:1], max_new_tokens=9) == "blue"
        assert [assistant.chat(CHATS[1][:n], max_new_tokens=9) for n in (2, 4)] == ["end", "two"]
    examples = TEXT_GENERATION.read(settings["train"], columns_of(settings["save_to"], again))
    found = evaluate(again, examples)
    assert isinstance(examples, Conversations) and found.scores["token_accuracy"] == 1.0
    assert [row["wanted"] for row in found.rows] == ["blue", "two"]


def test_only_replies_count():
    model = make("gpt2")
    model.chat_template = PLAIN_TEMPLATE
    ids, counted = model.conversation_ids(CHATS[1])
    whole = f"system: x\nuser: the\nassistant: end{END}\nuser: red\nassistant: two{END}\n"
    assert render_chat(PLAIN_TEMPLATE, CHATS[1], {"eos_token": END}, add_generation_prompt=False) == whole
    parts = [
        "".join(model.tokenizer.vocabulary[i] for i, c in zip(ids, counted, strict=True) if c == flag)
        for flag in (True, False)
    ]
    written = parts[0].replace("Ċ", "\n").replace("Ġ", " ")
    assert written == f"end{END}\ntwo{END}\n"
    assert len(ids) == len(counted) and model.chat_prompt(CHATS[1][:2]).endswith("assistant: ")


@pytest.mark.parametrize(
    "value,message",
    [
        ("[1", "no JSON list"),
        ([], "not a list of messages"),
        ([{"role": "user"}], "a role and a content"),
        ([{"role": "robot", "content": "a"}], "role 'robot'"),
        (["only the user"], "no reply"),
        ([{"role": "assistant", "content": " "}], "is empty"),
    ],
)
def test_bad_conversations(value, message):
    with pytest.raises(ValueError, match=message):
        Conversations.read([{"messages": value}], "messages")


def test_texts_in_turns():
    found = Conversations.read([{"turns": ["Hi", "Hello", "Bye"]}, {"turns": '["a", "b"]'}], "turns")
    assert [m["role"] for m in found.conversations[0]] == ["user", "assistant", "user"]
    assert found.last_replies == ["Hello", "b"] and Conversations.has([{"turns": ["a"]}], "turns")
    assert not Conversations.has([{"text": "a text"}], "text")


def test_a_template_that_changes_the_past_is_refused():
    model = make("gpt2")
    model.chat_template = "{% for m in messages %}{{ loop.length }}{{ m.content }}{% endfor %}"
    with pytest.raises(ValueError, match="renders the earlier part"):
        model.conversation_ids(CHATS[1])
