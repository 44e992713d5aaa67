// BERT's tokenizer, as WordPieceTokenizer of keras_plm has it. Checked against golden vectors, which
// `keras-plm export tokenizer-vectors MODEL vectors.json` writes.

const LONGEST_WORD = 300; // bytes

const isDirt = (c) => /[\ufffd\u0080-\u009f\p{Cf}]/u.test(c);
const isSpace = (c) => /[\s\p{Zs}\p{Cc}]/u.test(c); // other control characters end a word too
const isMark = (c) => /[!-/:-@[-`{-~]/.test(c) || /\p{P}/u.test(c);
const isIdeograph = (c) => {
  const p = c.codePointAt(0);
  return [[0x4e00, 0x9fff], [0x3400, 0x4dbf], [0x20000, 0x2a6df], [0x2a700, 0x2b73f], [0x2b740, 0x2b81f],
    [0x2b820, 0x2ceaf], [0xf900, 0xfaff], [0x2f800, 0x2fa1f]].some(([first, last]) => p >= first && p <= last);
};

export class WordPiece {
  /** @param {string[]} vocabulary the lines of vocab.txt  @param {object} settings `tokenizer` of the artifact's facts */
  constructor(vocabulary, settings) {
    if (settings.class !== 'WordPieceTokenizer') throw new Error(`this is WordPiece, not a ${settings.class}`);
    this.ids = new Map(vocabulary.map((piece, id) => [piece, id]));
    this.settings = settings;
    const missing = Object.values(settings.special).filter((token) => !this.ids.has(token));
    if (missing.length) throw new Error(`the vocabulary has no ${missing.join(', ')}`);
    const spelling = Object.values(settings.special).map((token) => token.replace(/[^\p{L}\p{N}]/gu, '\\$&')).join('|');
    this.special = new RegExp(`(${spelling})`);
  }

  /** The number of a special token: pad, unk, cls, sep or mask. */
  idOf(name) {
    return this.ids.get(this.settings.special[name]);
  }

  /** Pieces with where they come from: [{id, start, end}], start and end being indices of the string. */
  encode(text) {
    const tokens = [];
    let place = 0;
    for (const part of text.split(this.special)) {
      if (Object.values(this.settings.special).includes(part)) tokens.push({id: this.ids.get(part), start: place, end: place + part.length});
      else for (const word of this.words(part, place)) tokens.push(...this.pieces(word));
      place += part.length;
    }
    return tokens;
  }

  /** Words as lists of normalized characters with their places. */
  * words(text, place) {
    let word = [];
    for (const character of text) {
      const start = place;
      place += character.length;
      if (isDirt(character)) continue;
      for (const c of this.normalized(character)) {
        if (isSpace(c) || isMark(c) || isIdeograph(c)) {
          if (word.length) yield word;
          word = [];
          if (!isSpace(c)) yield [{c, start, end: place}];
        } else {
          word.push({c, start, end: place});
        }
      }
    }
    if (word.length) yield word;
  }

  normalized(character) {
    let c = character;
    if (this.settings.strip_accents) c = c.normalize('NFD').replace(/\p{Mn}/gu, '');
    return this.settings.lowercase ? c.toLowerCase() : c;
  }

  /** The longest piece first, again and again; a word that cannot be spelled is one unknown piece. */
  pieces(word) {
    const start = word[0].start, end = word.at(-1).end;
    const unknown = [{id: this.idOf('unk'), start, end}];
    if (new TextEncoder().encode(word.map(({c}) => c).join('')).length > LONGEST_WORD) return unknown;
    const found = [];
    for (let from = 0; from < word.length;) {
      let to = word.length, id;
      for (; to > from; to--) {
        id = this.ids.get((from ? '##' : '') + word.slice(from, to).map(({c}) => c).join(''));
        if (id !== undefined) break;
      }
      if (to === from) return unknown;
      found.push({id, start: word[from].start, end: word[to - 1].end});
      from = to;
    }
    return found;
  }

  /** [CLS] first [SEP], or [CLS] first [SEP] second [SEP], as the model's three inputs of that length. */
  pack(length, first, second = null) {
    const room = length - (second ? 3 : 2);
    const kept = second ? Math.min(second.length, Math.max(room - first.length, Math.floor(room / 2))) : 0;
    const one = first.slice(0, room - kept), two = (second ?? []).slice(0, kept);
    const [cls, sep] = [this.idOf('cls'), this.idOf('sep')];
    const ids = [cls, ...one.map(({id}) => id), sep, ...(second ? [...two.map(({id}) => id), sep] : [])];
    const padded = (values, filler) => Int32Array.from({length}, (_, i) => values[i] ?? filler);
    return {
      token_ids: padded(ids, this.idOf('pad')),
      segment_ids: padded(ids.map((_, i) => Number(i > one.length + 1)), 0),
      padding_mask: padded(ids.map(() => 1), 0),
      second_starts: one.length + 2,
      second_length: two.length,
    };
  }
}
