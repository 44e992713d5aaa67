"""Call a server with OpenAI's Python client and with the classes of LangChain and llama-index. Prints JSON.

It runs in its own environment: python tests/serve/openai_client.py BASE_URL
"""

import json
import sys

import openai
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai_like import OpenAILike

URL, KEY = sys.argv[1], "one"
MESSAGES = [{"role": "user", "content": "Hi"}]


def official():
    client = openai.OpenAI(base_url=URL, api_key=KEY, max_retries=0)
    found = {"models": [model.id for model in client.models.list()]}
    plain = {"model": "writer", "max_tokens": 7, "temperature": 0}
    found["completion"] = client.completions.create(prompt="the", logprobs=1, **plain).choices[0].text
    stream = client.completions.create(prompt="the", stream=True, **plain)
    found["stream"] = "".join(chunk.choices[0].text for chunk in stream)
    chat = client.chat.completions.create(messages=MESSAGES, logprobs=True, top_logprobs=1, **plain)
    found["chat"] = chat.choices[0].message.content
    chunks = client.chat.completions.create(messages=MESSAGES, stream=True, **plain)
    found["chat_stream"] = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    vectors = client.embeddings.create(model="vectors", input=["a quiet film"]).data  # asks for base64
    found["embedding"] = vectors[0].embedding
    try:
        client.chat.completions.create(messages=MESSAGES, tools=[], **plain)
    except openai.BadRequestError as error:
        found["refused"] = error.param
    try:
        openai.OpenAI(base_url=URL, api_key="wrong", max_retries=0).models.list()
    except openai.AuthenticationError as error:
        found["wrong_key"] = error.code
    return found


def langchain():
    options = {"base_url": URL, "api_key": KEY, "model": "writer", "max_tokens": 7, "temperature": 0}
    embeddings = OpenAIEmbeddings(base_url=URL, api_key=KEY, model="vectors", check_embedding_ctx_length=False)
    return {
        "completion": OpenAI(**options).invoke("the"),
        "chat": ChatOpenAI(**options).invoke([("user", "Hi")]).content,
        "chat_stream": "".join(chunk.content for chunk in ChatOpenAI(**options).stream([("user", "Hi")])),
        "embedding": embeddings.embed_query("a quiet film"),
    }


def llama_index():
    options = {"api_base": URL, "api_key": KEY, "model": "writer", "max_tokens": 7, "temperature": 0}
    vectors = OpenAIEmbedding(api_base=URL, api_key=KEY, model_name="vectors")
    return {
        "completion": OpenAILike(**options, is_chat_model=False).complete("the").text,
        "chat": OpenAILike(**options, is_chat_model=True)
        .chat([ChatMessage(role="user", content="Hi")])
        .message.content,
        "embedding": vectors.get_text_embedding("a quiet film"),
    }


print(json.dumps({"official": official(), "langchain": langchain(), "llama_index": llama_index()}))
