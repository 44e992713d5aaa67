// Byte-level byte pairs, as GPT-2 has them: the tokenizer of keras_plm's BytePairTokenizer with its rules gpt2 and smollm.

const WORDS = {
  gpt2: /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu,
  smollm: /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+(?=\p{N})|\s+/gu,
};

/** The character that stands for each byte: bytes without a printable character are moved behind 255. */
function byteCharacters() {
  const printable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let moved = 256;
  return Array.from({length: 256}, (_, byte) => String.fromCodePoint(printable(byte) ? byte : moved++));
}

export class BytePairs {
  constructor(vocabulary, merges, settings) {
    if (!(settings.words in WORDS) || settings.nfc || settings.add_prefix_space || settings.ignore_merges) {
      throw new Error(`a tokenizer with the rule ${settings.words} and these settings is not supported`);
    }
    this.ids = vocabulary;
    this.pieces = Object.entries(vocabulary).reduce((found, [piece, id]) => { found[id] = piece; return found; }, []);
    this.ranks = new Map(merges.map((pair, rank) => [pair, rank]));
    this.words = WORDS[settings.words];
    const added = settings.added ?? [];
    if (added.some((token) => token.strips_left || token.strips_right || token.ignore_case)) {
      throw new Error('added tokens that take white space with them, or that ignore case, are not supported');
    }
    const roles = Object.entries(settings.special).filter(([, piece]) => piece);
    this.literals = [...new Set([...roles.map(([, piece]) => piece), ...added.map(({text}) => text)])]
      .sort((a, b) => b.length - a.length);
    // as `decode` of keras_plm: the unknown token and the mask are shown
    this.hidden = new Set(roles.filter(([role]) => role !== 'unk' && role !== 'mask').map(([, piece]) => piece));
    for (const {text, special} of added) if (special) this.hidden.add(text);
    this.characters = byteCharacters();
    this.byteOf = new Map(this.characters.map((character, byte) => [character, byte]));
    this.known = new Map(); // word → ids
  }

  /** The ids of a text; special tokens that are written out in it are recognized. */
  encode(text) {
    const escaped = this.literals.map((literal) => literal.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    const parts = escaped.length ? text.split(new RegExp(`(${escaped.join('|')})`)) : [text];
    return parts.flatMap((part) => {
      if (this.literals.includes(part)) return [this.ids[part]];
      return (part.match(this.words) ?? []).flatMap((word) => this.wordIds(word));
    });
  }

  wordIds(word) {
    if (!this.known.has(word)) {
      let pieces = [...new TextEncoder().encode(word)].map((byte) => this.characters[byte]);
      for (;;) { // merge the pair with the lowest rank
        let best = Infinity, at = -1;
        for (let i = 0; i + 1 < pieces.length; i++) {
          const rank = this.ranks.get(`${pieces[i]} ${pieces[i + 1]}`);
          if (rank < best) [best, at] = [rank, i];
        }
        if (at < 0) break;
        pieces.splice(at, 2, pieces[at] + pieces[at + 1]);
      }
      this.known.set(word, pieces.map((piece) => this.ids[piece]).filter((id) => id !== undefined));
    }
    return this.known.get(word);
  }

  /** The bytes of a token; none for a hidden token. */
  bytes(id) {
    const piece = this.pieces[id];
    if (this.hidden.has(piece)) return new Uint8Array();
    if (this.literals.includes(piece)) return new TextEncoder().encode(piece);
    return Uint8Array.from([...piece], (character) => this.byteOf.get(character));
  }
}
