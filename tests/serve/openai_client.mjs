// Call a server with OpenAI's client for Node. Prints JSON.
// node openai_client.mjs BASE_URL, with the package openai in node_modules
import OpenAI from "openai";

const client = new OpenAI({baseURL: process.argv[2], apiKey: "one", maxRetries: 0});
const plain = {model: "writer", max_tokens: 7, temperature: 0};
const messages = [{role: "user", content: "Hi"}];
const found = {};
found.completion = (await client.completions.create({prompt: "the", ...plain})).choices[0].text;
found.stream = "";
for await (const chunk of await client.completions.create({prompt: "the", stream: true, ...plain})) {
  found.stream += chunk.choices[0].text;
}
found.chat = (await client.chat.completions.create({messages, ...plain})).choices[0].message.content;
found.chat_stream = "";
for await (const chunk of await client.chat.completions.create({messages, stream: true, ...plain})) {
  found.chat_stream += chunk.choices[0]?.delta?.content ?? "";
}
found.embedding = (await client.embeddings.create({model: "vectors", input: "a quiet film"})).data[0].embedding;
try {
  await client.chat.completions.create({messages, tools: [], ...plain});
} catch (error) {
  found.refused = error.param;
}
console.log(JSON.stringify(found));
