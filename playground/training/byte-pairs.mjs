/** Byte-level byte-pair encoding (Sennrich et al., 2016; GPT-2), learned from a text and stored as Hugging Face does. */

/** GPT-2's words: a letter, number or other run with the space before it, and what is written together with an apostrophe. */
const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/**
 * @param {string} text
 * @param {number} vocabulary at least 256: a token for each byte, then one for each merge
 * @returns {object} the contents of a tokenizer.json
 */
export function learnPairs(text, vocabulary) {
  const letters = byteLetters();
  const counts = new Map();
  for (const [word] of text.matchAll(WORDS)) counts.set(word, (counts.get(word) ?? 0) + 1);
  const words = Array.from(counts, ([word, count]) => {
    return { pieces: Array.from(new TextEncoder().encode(word), (byte) => letters[byte]), count };
  });
  const pieces = [...letters];
  const merges = [];
  while (pieces.length < vocabulary) {
    const best = commonestPair(words);
    if (!best) break;
    const [left, right] = best;
    merges.push([left, right]);
    pieces.push(left + right);
    for (const word of words) word.pieces = merge(word.pieces, left, right);
  }
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    added_tokens: [],
    normalizer: null,
    pre_tokenizer: bytes,
    post_processor: null,
    decoder: bytes,
    model: { type: 'BPE', vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])), merges },
  };
}

function commonestPair(words) {
  const counts = new Map();
  for (const { pieces, count } of words) {
    for (let i = 1; i < pieces.length; i++) {
      const pair = `${pieces[i - 1]} ${pieces[i]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best;
  for (const entry of counts) if (entry[1] > (best?.[1] ?? 1)) best = entry;
  return best?.[0].split(' ');
}

function merge(pieces, left, right) {
  const merged = [];
  for (let i = 0; i < pieces.length; i++) {
    const isPair = pieces[i] === left && pieces[i + 1] === right;
    merged.push(isPair ? left + right : pieces[i]);
    if (isPair) i++;
  }
  return merged;
}

/** GPT-2's letter for each byte: itself if it can be seen, else one from U+0100 on. */
function byteLetters() {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const isSeen = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    return String.fromCodePoint(isSeen ? byte : next++);
  });
}
