// llama.cpp in Node: greedy decoding behind a prompt, and the first token behind a long one; prints seconds as JSON.
import {getLlama, LlamaCompletion} from "node-llama-cpp";

const [file, prompt, count, long] = process.argv.slice(2);
const llama = await getLlama({gpu: false, build: "never", maxThreads: 2, logLevel: "error"});
const model = await llama.loadModel({modelPath: file});

async function seconds(tokens, maxTokens, contextSize) {
  let best = Infinity;
  for (let round = 0; round < 4; round++) {
    const context = await model.createContext({contextSize, threads: 2});
    const completion = new LlamaCompletion({contextSequence: context.getSequence()});
    const start = performance.now();
    let made = 0;
    await completion.generateCompletion(tokens, {maxTokens, temperature: 0, onToken: (part) => { made += part.length; }});
    best = Math.min(best, (performance.now() - start) / 1000 * (maxTokens / Math.max(made, 1)));
    await context.dispose();
  }
  return best;
}

const words = model.tokenize(prompt);
const many = Array.from({length: Number(long)}, (_, i) => words[i % words.length]);
const found = {"1": await seconds(words, Number(count), 256), first_token: await seconds(many, 1, 1024)};
console.log(JSON.stringify(found));
process.exit(0);
