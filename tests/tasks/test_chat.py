"""Conversations: the prompt that a chat template makes, and templates that attack."""

import json

import pytest

import keras_plm as plm
from keras_plm import export
from keras_plm.generation import render_chat
from keras_plm.text import SpecialTokens, Template
from keras_plm.text.byte_pair import BYTE_CHARACTERS, BytePairTokenizer

from .test_text_generation import make

CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}{{ bos_token }}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ system }}{{ m.content }} [/INST]{% else %} {{ m.content }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)
HELLO = [{"role": "user", "content": "Hello {{ 7 * 7 }}"}]


def test_the_usual_templates():
    found = render_chat(CHATML, [{"role": "system", "content": "Be brief."}, *HELLO], {})
    assert found == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello {{ 7 * 7 }}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert render_chat(CHATML, HELLO, {}, add_generation_prompt=False).endswith("<|im_end|>\n")
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    talk = [*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Bye"}]
    assert render_chat(LLAMA, talk, tokens) == "<s>[INST] Hello {{ 7 * 7 }} [/INST] Hi</s>[INST] Bye [/INST]"
    quoted = [{"role": "user", "content": "it's <b> & é"}]
    assert render_chat("{{ messages[0].content | tojson }}", quoted, {}) == '"it\'s <b> & é"'
    with pytest.raises(ValueError, match="refuses these messages: roles must alternate"):
        render_chat(LLAMA, HELLO * 2, tokens)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.__init__.__globals__ }}",
        "{{ raise_exception.__globals__['sys'] }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ (''|attr('__class__')) ~ ''.__class__ }}{{ x.__class__.y }}",
        "{{ messages.append({'role': 'user'}) }}",
        "{{ messages[0].update({'content': 'changed'}) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{{ 'x' * messages }}",
        "{{ 'a' * 4000000000 }}",
        "{{ '%4000000000s' % 'a' }}",
        "{{ 'a' | center(4000000000) }}",
        "{{ 3 ** 3000000 }}",
        "{% for i in range(400) %}{% for j in range(400) %}{% endfor %}{% endfor %}",
        "{% for i in range(90000) %}{{ 'xxxxxxxxxxxxxxxxxxxx' }}{% endfor %}",
        "{{ 1 / 0 }}",
        "{{ undefined_name.field }}",
        "{% for m in messages %}",
        "{{ '%s' | format(messages.__class__.__base__.__subclasses__()) }}",
        "x" * 100_001,
    ],
)
def test_attacks_and_damaged_templates(template):
    messages = [{"role": "user", "content": "Hello"}]
    with pytest.raises(ValueError, match="chat template"):
        render_chat(template, messages, {})
    assert messages == [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "give a list of messages"),
        ({"role": "user", "content": "x"}, "give a list of messages"),
        (["Hello"], "message 0 is 'Hello'"),
        ([{"role": "user"}], "has a role and a content"),
        ([{"role": "god", "content": "x"}], "choose one of system, user"),
        ([{"role": "user", "content": 3}], "the content of message 0 is 3"),
    ],
)
def test_messages_are_checked(messages, message):
    with pytest.raises(ValueError, match=message):
        render_chat(CHATML, messages, {})


def chatting(tmp_path):
    special = SpecialTokens(pad=None, unk=None, cls=None, sep=None, mask=None, bos="<s>", eos="</s>")
    tokenizer = BytePairTokenizer([*BYTE_CHARACTERS, "<s>", "</s>"], [], special, template=Template("bos A", None))
    base = make("llama")
    config = plm.DecoderConfig.from_dict(base.config.to_dict() | {"vocabulary_size": len(tokenizer)})
    return plm.TextGenerator(config, tokenizer, chat_template=LLAMA)


def test_a_model_that_chats(tmp_path):
    """Saved, as a Hugging Face folder, and on a phone; the first token is there once."""
    model = chatting(tmp_path)
    assert model.chat_prompt(HELLO) == "[INST] Hello {{ 7 * 7 }} [/INST]"
    reply = model.chat(HELLO, max_new_tokens=9)
    assert reply == model.generate(["[INST] Hello {{ 7 * 7 }} [/INST]"], max_new_tokens=9)[0]
    plm.save(model, tmp_path / "saved")
    plm.checkpoints.to_hugging_face(model, tmp_path / "theirs")
    assert (tmp_path / "theirs" / "chat_template.jinja").read_text() == LLAMA
    path = export.to_tflite(model, tmp_path / "phone", max_length=64)
    for again in (plm.load(tmp_path / "saved"), plm.load(f"hf:{tmp_path / 'theirs'}"), export.load_artifact(path)):
        assert again.chat_template == LLAMA
        assert again.chat(HELLO, max_new_tokens=9) == reply
    with pytest.raises(ValueError, match="has no chat template"):
        make("gpt2").chat(HELLO)


def test_templates_in_other_files(tmp_path):
    plm.checkpoints.to_hugging_face(chatting(tmp_path), tmp_path / "theirs")
    (tmp_path / "theirs" / "chat_template.jinja").unlink()
    path = tmp_path / "theirs" / "tokenizer_config.json"
    settings = json.loads(path.read_text())
    several = [{"name": "tools", "template": "x"}, {"name": "default", "template": CHATML}]
    for given, wanted in ((CHATML, CHATML), (several, CHATML), (None, None)):
        path.write_text(json.dumps(settings | {"chat_template": given}))
        assert plm.load(f"hf:{tmp_path / 'theirs'}").chat_template == wanted
    path.write_text(json.dumps(settings | {"chat_template": 3}))
    with pytest.raises(ValueError, match="chat_template is a int; a text is needed"):
        plm.load(f"hf:{tmp_path / 'theirs'}")
