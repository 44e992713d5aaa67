// examples/web/generator.js in Node: writer.mjs EXAMPLE_FOLDER MODEL.tflite NEW_TOKENS < {"texts": […], "prompts": […]}
// prints the token ids of the texts and the greedy texts of the prompts. node_modules must be in or above EXAMPLE_FOLDER.
// LiteRT.js expects a page or a worker, so `self`, `importScripts`, `require`, `__dirname` and `fetch` are supplied.
import fs from 'node:fs';
import {createRequire} from 'node:module';
import path from 'node:path';
import {pathToFileURL} from 'node:url';
import vm from 'node:vm';

const [folder, model, count] = process.argv.slice(2);
globalThis.self = globalThis;
globalThis.require = createRequire(import.meta.url);
globalThis.importScripts = (...addresses) => {
  for (const address of addresses) {
    const file = String(address).replace(/^file:\/\//, '');
    globalThis.__dirname = path.dirname(file);
    vm.runInThisContext(fs.readFileSync(file, 'utf8'), {filename: file});
  }
};
globalThis.__dirname = process.cwd();
globalThis.__filename = path.join(process.cwd(), 'writer.js');
globalThis.fetch = async (address) => new Response(fs.readFileSync(String(address).replace(/^file:\/\//, '')));

const {texts, prompts} = JSON.parse(fs.readFileSync(0, 'utf8'));
const modules = path.join(folder, 'node_modules');
const litert = await import(pathToFileURL(path.join(modules, '@litertjs/core/dist/index.js')));
await litert.loadLiteRt(path.join(modules, '@litertjs/core/wasm/'));
const {openGenerator} = await import(pathToFileURL(path.join(folder, 'generator.js')));
const generator = await openGenerator(model);
const written = [];
for (const prompt of prompts) {
  let text = '';
  for await (const part of generator.write(prompt, {maxNewTokens: Number(count), temperature: 0})) text += part;
  written.push(text);
}
let drawn = '';
const half = () => 0.5;
for await (const part of generator.write(prompts[0], {maxNewTokens: Number(count), random: half})) drawn += part;
console.log(JSON.stringify({ids: texts.map((text) => generator.tokenizer.encode(text)), written, drawn}));
process.exit(0);
