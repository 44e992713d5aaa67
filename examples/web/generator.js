// A text generator of keras_plm (model.tflite, its .json, .vocab.json and .merges.txt) in LiteRT.js.
import {loadAndCompile, Tensor} from '@litertjs/core';
import {BytePairs} from './bytepair.js';

const HIDDEN = -1e9; // the mask of a key that a query does not see

async function read(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status} ${response.statusText}`);
  return response.text();
}

export async function openGenerator(address) {
  const [facts, vocabulary, merges] = await Promise.all(
    ['json', 'vocab.json', 'merges.txt'].map((name) => read(`${address}.${name}`)),
  );
  const settings = JSON.parse(facts);
  if (settings.task !== 'text_generation') throw new Error(`${address} is for ${settings.task}, not for text generation`);
  const pairs = merges.split('\n').filter((line) => line && !line.startsWith('#version'));
  const tokenizer = new BytePairs(JSON.parse(vocabulary), pairs, settings.tokenizer);
  return new Generator(await loadAndCompile(address, {accelerator: 'wasm'}), settings, tokenizer);
}

class Generator {
  constructor(model, facts, tokenizer) {
    Object.assign(this, {model, facts, tokenizer});
    this.length = facts.length; // of a prompt with its continuation, in tokens
    const names = Object.keys(model.signatures).filter((name) => name.startsWith('prefill_'));
    this.prefill = names.map((name) => Number(name.slice('prefill_'.length))).sort((a, b) => a - b);
    const {special} = facts.tokenizer;
    this.ends = new Set([special.eos, ...facts.settings.end_tokens].filter(Boolean).map((piece) => tokenizer.ids[piece]));
    this.begin = facts.tokenizer.template.single.startsWith('bos ') ? [tokenizer.ids[special.bos]] : [];
  }

  /** The parts of the text that continues a prompt. A temperature of 0 always takes the most probable token. */
  async *write(prompt, {maxNewTokens = 60, temperature = 0.7, topP = 0.9, random = Math.random} = {}) {
    let ids = [...this.begin, ...this.tokenizer.encode(prompt)];
    if (!ids.length) ids = [this.tokenizer.ids[this.facts.tokenizer.special.bos ?? this.facts.tokenizer.special.eos]];
    if (ids.length >= this.length) throw new Error(`the prompt has ${ids.length} tokens; at most ${this.length - 1} fit`);
    const decoder = new TextDecoder(); // keeps the bytes of a character that has not ended
    let caches = await this.read(ids.slice(0, -1), this.empty()), token = ids.at(-1), position = ids.length - 1;
    try {
      for (let made = 0; made < maxNewTokens && position < this.length - 1; made++) {
        let logits;
        ({caches, logits} = await this.run('decode', [token], position, caches));
        // ids behind the vocabulary have no text: the embedding matrix may be padded
        token = choose(logits.subarray(0, this.tokenizer.pieces.length), temperature, topP, random);
        if (this.ends.has(token)) break;
        position += 1;
        const text = decoder.decode(this.tokenizer.bytes(token), {stream: true});
        if (text) yield text;
      }
      const rest = decoder.decode();
      if (rest) yield rest;
    } finally {
      for (const tensor of Object.values(caches)) tensor.delete();
    }
  }

  /** The caches behind a prompt, which is read in parts. */
  async read(ids, caches) {
    let done = 0;
    while (done < ids.length) {
      const fitting = this.prefill.filter((count) => count <= this.length - done);
      const name = fitting.find((count) => count >= ids.length - done) ?? fitting.at(-1);
      const part = ids.slice(done, done + (name ?? 1));
      ({caches} = await this.run(name ? `prefill_${name}` : 'decode', part, done, caches, name ?? 1));
      done += part.length;
    }
    return caches;
  }

  async run(signature, ids, first, caches, count = 1) {
    const mask = new Float32Array(count * this.length).fill(HIDDEN);
    for (let i = 0; i < count; i++) mask.fill(0, i * this.length, i * this.length + Math.min(first + i + 1, this.length));
    const tokens = new Int32Array(count);
    tokens.set(ids);
    const feed = {
      tokens: new Tensor(tokens, [1, count]),
      input_pos: new Tensor(Int32Array.from({length: count}, (_, i) => first + i), [count]),
      mask: new Tensor(mask, [1, 1, count, this.length]),
      ...caches,
    };
    const {logits, ...after} = await this.model.run(signature, feed);
    for (const tensor of Object.values(feed)) tensor.delete();
    const values = logits && Float32Array.from(logits.toTypedArray());
    logits?.delete();
    return {caches: after, logits: values};
  }

  empty() {
    const details = this.model.signatures.decode.getInputDetails().filter(({name}) => name.startsWith('kv_cache_'));
    return Object.fromEntries(details.map(({name, shape}) => {
      const sizes = Array.from(shape);
      return [name, new Tensor(new Float32Array(sizes.reduce((a, b) => a * b)), sizes)];
    }));
  }
}

/** The most probable token, or one drawn from the most probable ones whose probabilities add up to topP. */
function choose(logits, temperature, topP, random) {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  if (!temperature) return best;
  const order = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]);
  const weights = order.map((i) => Math.exp((logits[i] - logits[best]) / temperature));
  const total = weights.reduce((a, b) => a + b);
  let kept = 0, sum = 0;
  while (kept < weights.length && sum < topP * total) sum += weights[kept++];
  let drawn = random() * sum;
  for (let i = 0; i < kept; i++) {
    drawn -= weights[i];
    if (drawn <= 0) return order[i];
  }
  return order[Math.max(kept - 1, 0)];
}
