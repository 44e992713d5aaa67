// An artifact of keras_plm (model.tflite, its .json and its .vocab.txt) in LiteRT.js.
import {loadAndCompile, Tensor} from '@litertjs/core';
import {WordPiece} from './wordpiece.js';

const LONGEST_ANSWER = 30; // pieces

async function read(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address}: ${response.status} ${response.statusText}`);
  return response.text();
}

export async function openModel(address) {
  const [facts, vocabulary] = await Promise.all([
    read(`${address}.json`).then(JSON.parse),
    read(`${address}.vocab.txt`),
  ]);
  const model = await loadAndCompile(address, {accelerator: 'wasm'});
  return new TextModel(model, facts, new WordPiece(vocabulary.replace(/\n$/, '').split('\n'), facts.tokenizer));
}

class TextModel {
  constructor(model, facts, tokenizer) {
    Object.assign(this, {model, facts, tokenizer});
  }

  /** {output name: Float32Array} */
  async run(packed) {
    const feed = {};
    for (const {name} of this.model.getInputDetails()) {
      const key = ['token_ids', 'segment_ids', 'padding_mask'].find((one) => name.includes(one));
      feed[name] = new Tensor(packed[key], [1, this.facts.length]);
    }
    const found = await this.model.run(feed);
    const names = this.model.getOutputDetails().map(({name}) => name);
    const tensors = Array.isArray(found) ? found : names.map((name) => found[name]);
    const values = Object.fromEntries(tensors.map((tensor, i) => [names[i], Float32Array.from(tensor.toTypedArray())]));
    for (const tensor of [...Object.values(feed), ...tensors]) tensor.delete();
    return values;
  }

  /** [{label, probability}], the likeliest first. */
  async classify(text) {
    const packed = this.tokenizer.pack(this.facts.length, this.tokenizer.encode(text));
    const [probabilities] = Object.values(await this.run(packed));
    return this.facts.settings.labels
      .map((label, i) => ({label, probability: probabilities[i]}))
      .sort((a, b) => b.probability - a.probability);
  }

  /**
   * {text, start, end, score}: the best span of the context; a context that is too long loses its end. Without start and
   * end where the model was trained on questions without answer, and finds none.
   */
  async answer(question, context) {
    const pieces = this.tokenizer.encode(context);
    // a question has as much room as in keras_plm.text.AnswerWindows
    const asked = this.tokenizer.encode(question).slice(0, Math.min(64, this.facts.length >> 1));
    const packed = this.tokenizer.pack(this.facts.length, asked, pieces);
    const outputs = await this.run(packed);
    const [start, end] = ['start', 'end'].map((side) => outputs[Object.keys(outputs).find((name) => name.includes(side))]);
    let best = {score: -Infinity};
    for (let i = 0; i < packed.second_length; i++) {
      for (let j = i; j < Math.min(i + LONGEST_ANSWER, packed.second_length); j++) {
        const score = start[packed.second_starts + i] + end[packed.second_starts + j];
        if (score > best.score) best = {score, start: pieces[i].start, end: pieces[j].end};
      }
    }
    const none = start[0] + end[0], threshold = this.facts.settings.null_threshold;
    if (best.start === undefined || (threshold !== null && none - best.score > threshold)) return {text: '', score: none};
    return {...best, text: context.slice(best.start, best.end)};
  }
}
