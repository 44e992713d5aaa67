// Does wordpiece.js cut texts as the model's tokenizer does? node check.mjs vectors.json vocab.txt
import fs from 'node:fs';
import {WordPiece} from './wordpiece.js';

const [vectors, vocabulary] = process.argv.slice(2).map((file) => fs.readFileSync(file, 'utf8'));
const {tokenizer, rows} = JSON.parse(vectors);
const wordPiece = new WordPiece(vocabulary.replace(/\n$/, '').split('\n'), tokenizer);
let wrong = 0;
for (const {text, token_ids, starts, ends} of rows) {
  const found = wordPiece.encode(text);
  const points = (index) => [...text.slice(0, index)].length; // JavaScript counts halves of characters
  const same = JSON.stringify(found.map(({id, start, end}) => [id, points(start), points(end)]))
    === JSON.stringify(token_ids.map((id, i) => [id, starts[i], ends[i]]));
  if (!same) {
    wrong += 1;
    console.error(JSON.stringify({text, token_ids, found}));
  }
}
console.log(`${rows.length - wrong} of ${rows.length} texts are cut as they should be`);
process.exit(wrong ? 1 : 0);
