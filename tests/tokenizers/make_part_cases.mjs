// Makes part_cases.json: small tokenizer.json files, each for one part or option, and what Hugging Face's
// Rust library (npm package tokenizers 0.23) does with them. Run in bench/peers, which installs the package:
//   cd bench/peers && npm ci --ignore-scripts && node ../../tests/tokenizers/make_part_cases.mjs
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const { Tokenizer } = createRequire(join(process.cwd(), 'package.json'))('tokenizers');
const out = join(dirname(fileURLToPath(import.meta.url)), 'part_cases.json');

const TEXTS = ['', ' ', 'a', 'ab ab', '  two  spaces ', 'Hello, World! 123 4', "don't stop", 'naïve café É', 'e\u0301x\u0301 \u1100\u1161', '½ ﬁ ① ℃',
  'Привет, мир', '東京タワー ー カナ 漢字', 'a\tb\nc\r\nd\u00a0e\u3000f\u2028g\u200bh\ufeffi\u0085', '👨‍👩‍👧 🇷🇺 ❤️', 'x  <m> <m>y [S] z', 'aaabbbaabb', 'hi-hi--hi', '..a..b',
  'a\u0301\u0301b \u0001\u007f', 'under_score ab', '\u180e x\u2003y', 'oooooo oooo', '१२३ abc٣', '▁a ▁', 'Ġa Ġ'];

const bytes = () => Array.from({ length: 256 }, (_, i) => `<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`);
const vocabulary = (tokens) => Object.fromEntries(tokens.map((token, id) => [token, id]));
const added = (content, id, more = {}) => ({ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...more });
const file = (parts) => ({ version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...parts });
const bpe = (tokens, merges, options = {}) => ({ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null,
  fuse_unk: false, byte_fallback: false, ignore_merges: false, vocab: vocabulary(tokens), merges, ...options });

/** Every split is one token, so that offsets show splits. */
const WORDS = { type: 'WordLevel', vocab: { '<unk>': 0, ab: 1, a: 2 }, unk_token: '<unk>' };
/** Ids spell the text that comes out of a normaliser. */
const SPELLED = bpe(bytes(), [], { byte_fallback: true });
const LETTERS = ['<unk>', '▁', 'a', 'b', 'h', 'i', 'o', 'e', 'x', 't', 'w', 'ab', 'aa', 'bb', 'aab', '▁a', '▁ab', 'oo', 'oooo', 'hi', '▁hi', '▁t', '▁tw', '▁two', 'aabb', '-', '--'];
const MERGES = [['▁', 'a'], ['o', 'o'], ['a', 'b'], ['a', 'a'], ['h', 'i'], ['▁', 'ab'], ['▁', 't'], ['b', 'b'], ['▁', 'hi'], ['▁t', 'w'], ['▁tw', 'o'], ['aa', 'b'], ['oo', 'oo'],
  ['aa', 'bb'], ['-', '-']];
const SCORED = LETTERS.map((token, id) => [token, id === 0 ? 0 : -((id * 7919) % 31) / 3 - 2.1234567890123 * id ** 0.3]);
const unigram = (options = {}) => ({ type: 'Unigram', unk_id: 0, vocab: SCORED, byte_fallback: false, ...options });

/** A double array as SentencePiece compiles it (darts units), for a few replacements. */
function charsmap(pairs) {
  const encoder = new TextEncoder();
  const texts = [];
  const trie = { children: new Map(), value: -1 };
  let at = 0;
  for (const [from, to] of pairs) {
    let node = trie;
    for (const byte of encoder.encode(from)) {
      if (!node.children.has(byte)) node.children.set(byte, { children: new Map(), value: -1 });
      node = node.children.get(byte);
    }
    node.value = at;
    const bytesOf = [...encoder.encode(to), 0];
    texts.push(...bytesOf);
    at += bytesOf.length;
  }
  const units = new Map([[0, 0]]);
  const place = (node, index, label) => {
    const labels = [...(node.value >= 0 ? [0] : []), ...node.children.keys()];
    let offset = 1; // any offset whose slots index ^ offset ^ label are free
    while (labels.some((one) => units.has(index ^ offset ^ one))) ++offset;
    for (const one of labels) units.set(index ^ offset ^ one, 0);
    units.set(index, ((offset << 10) | (node.value >= 0 ? 1 << 8 : 0) | label) >>> 0);
    if (node.value >= 0) units.set(index ^ offset, (0x80000000 | node.value) >>> 0);
    for (const [one, child] of node.children) place(child, index ^ offset ^ one, one);
  };
  place(trie, 0, 0);
  const size = (Math.max(...units.keys()) | 255) + 1; // every look-up stays inside
  const buffer = Buffer.alloc(4 + 4 * size + texts.length);
  buffer.writeUInt32LE(4 * size, 0);
  for (const [index, unit] of units) buffer.writeUInt32LE(unit, 4 + 4 * index);
  Buffer.from(texts).copy(buffer, 4 + 4 * size);
  return buffer.toString('base64');
}
const CHARSMAP = charsmap([['\u00a0', ' '], ['\u3000', ' '], ['½', '1⁄2'], ['ﬁ', 'fi'], ['①', '1'], ['℃', '°C'], ['e\u0301', 'é'], ['\u200b', ''], ['\ufeff', ''], ['É', 'E'], ['\r\n', '\n'], ['カ', 'ka']]);

const cases = {};
const put = (name, parts, texts = TEXTS) => { cases[name] = { file: file(parts), texts }; };

// models
put('bpe', { model: bpe(LETTERS, MERGES, { unk_token: '<unk>' }), normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' } });
put('bpe merges as lines', { model: bpe(LETTERS, MERGES.map((pair) => pair.join(' ')), { unk_token: '<unk>' }) });
put('bpe fuse_unk', { model: bpe(LETTERS, MERGES, { unk_token: '<unk>', fuse_unk: true }), pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true } });
put('bpe without unk', { model: bpe(LETTERS, MERGES), pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'never', split: false } });
put('bpe some bytes', { model: bpe([...LETTERS, '<0xC3>', '<0xA9>', '<0x20>'], MERGES, { unk_token: '<unk>', fuse_unk: true, byte_fallback: true }) });
put('bpe ignore_merges', { model: bpe([...LETTERS, 'aaabbbaabb', 'Hello,'], MERGES, { unk_token: '<unk>', ignore_merges: true }), pre_tokenizer: { type: 'WhitespaceSplit' } });
put('bpe affixes', { model: bpe(['<unk>', 'a', '##a', '##b', '##b</w>', 'a</w>', 'ab', '##ab', 'ab</w>', '##bb', 'aa', 'h', '##i</w>', 'hi</w>'],
  [['a', '##b</w>'], ['##b', '##b'], ['a', '##a'], ['h', '##i</w>']], { unk_token: '<unk>', continuing_subword_prefix: '##', end_of_word_suffix: '</w>' }),
  pre_tokenizer: { type: 'Whitespace' }, decoder: { type: 'BPEDecoder', suffix: '</w>' } });
const LLAMA = { model: bpe([...LETTERS, ...bytes()], MERGES, { unk_token: '<unk>', fuse_unk: true, byte_fallback: true }),
  normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, { type: 'Replace', pattern: { String: ' ' }, content: '▁' }] },
  decoder: { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 0 }] },
  added_tokens: [added('<unk>', 0), added('<m>', 300, { special: false, lstrip: true }), added('[S]', 301, { normalized: true, special: false, single_word: true })] };
put('llama', LLAMA, [...TEXTS, 'ab '.repeat(40), 'aab'.repeat(50), 'ab\u00e9'.repeat(30)]);
put('gemma', { ...LLAMA, normalizer: { type: 'Replace', pattern: { String: ' ' }, content: '▁' }, pre_tokenizer: { type: 'Split', pattern: { String: ' ' }, behavior: 'MergedWithPrevious', invert: false } });
for (const scheme of ['always', 'first', 'never']) {
  for (const split of [true, false]) {
    const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: scheme, split };
    put(`unigram metaspace ${scheme} ${split}`, { model: unigram(), pre_tokenizer: metaspace, decoder: metaspace, added_tokens: [added('<m>', 27)] });
  }
}
put('unigram byte_fallback', { model: unigram({ vocab: [...SCORED, ...bytes().map((token) => [token, -30])], byte_fallback: true }) });
put('unigram precompiled', { model: unigram(), normalizer: { type: 'Precompiled', precompiled_charsmap: CHARSMAP },
  pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'WhitespaceSplit' }, { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true }] } });
put('wordlevel', { model: WORDS, pre_tokenizer: { type: 'Whitespace' } });

// normalisers
for (const normalizer of [{ type: 'NFC' }, { type: 'NFD' }, { type: 'NFKC' }, { type: 'NFKD' }, { type: 'Nmt' }, { type: 'Lowercase' }, { type: 'ByteLevel' }, { type: 'Prepend', prepend: 'xy ' },
  { type: 'Precompiled', precompiled_charsmap: CHARSMAP }, { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' }, { type: 'Replace', pattern: { Regex: '[a-c]+' }, content: '' },
  { type: 'Replace', pattern: { Regex: '(?=b)' }, content: '|' }, { type: 'Replace', pattern: { String: '..' }, content: '…' },
  { type: 'Strip', strip_left: true, strip_right: false }, { type: 'Sequence', normalizers: [{ type: 'NFKD' }, { type: 'StripAccents' }, { type: 'Strip', strip_left: true, strip_right: true }] }]) {
  put(`normalizer ${normalizer.type} ${JSON.stringify(normalizer.pattern ?? '')}`, { model: SPELLED, normalizer });
}

// pre-tokenisers
for (const behavior of ['Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous']) {
  put(`punctuation ${behavior}`, { model: WORDS, pre_tokenizer: { type: 'Punctuation', behavior } });
  for (const invert of [false, true]) {
    put(`split string ${behavior} ${invert}`, { model: WORDS, pre_tokenizer: { type: 'Split', pattern: { String: '-' }, behavior, invert } }, ['', '-', 'hi-hi--hi', '--a', 'a-']);
    put(`split regex ${behavior} ${invert}`, { model: WORDS, pre_tokenizer: { type: 'Split', pattern: { Regex: '\\s+|(?=b)|\\p{N}{1,2}+' }, behavior, invert } });
  }
}
for (const regex of ['\\w+|[^\\w\\s]+', '(?i:L{2}|s)', '[[:punct:]]', '\\h+', '\\b', '^.|.$', '\\S\\s', '[^\\S\\n]+', '(?<!a)b', '\\p{^L}', '\\P{Ll}+?', '\\p{Han}|\\p{Cyrillic}+', '[\\d\\h]', '(.)\\1']) {
  put(`regex ${regex}`, { model: WORDS, pre_tokenizer: { type: 'Split', pattern: { Regex: regex }, behavior: 'Isolated', invert: false } });
}
for (const pre_tokenizer of [{ type: 'Digits', individual_digits: true }, { type: 'Digits', individual_digits: false }, { type: 'CharDelimiterSplit', delimiter: 'b' }, { type: 'UnicodeScripts' },
  { type: 'FixedLength', length: 3 }, { type: 'Whitespace' }, { type: 'WhitespaceSplit' }, { type: 'BertPreTokenizer' }]) {
  put(`pre_tokenizer ${pre_tokenizer.type} ${pre_tokenizer.individual_digits ?? ''}`, { model: WORDS, pre_tokenizer });
}

// byte-level, and its offsets
const LATIN = [...Array(0x144).keys()].filter((c) => c > 0x20).map((c) => String.fromCodePoint(c));
for (const add_prefix_space of [true, false]) {
  for (const trim_offsets of [true, false]) {
    const level = { type: 'ByteLevel', add_prefix_space, trim_offsets, use_regex: add_prefix_space === trim_offsets };
    put(`byte level ${add_prefix_space} ${trim_offsets}`, { model: bpe([...LATIN, 'Ġa', 'ĠĠ', 'Ġab'], [['Ġ', 'a'], ['Ġ', 'Ġ'], ['Ġa', 'b']]), pre_tokenizer: level, decoder: level,
      post_processor: { type: 'RobertaProcessing', sep: ['b', 66], cls: ['a', 65], trim_offsets, add_prefix_space }, added_tokens: [added('<m>', 400, { lstrip: true })] });
    put(`byte level sequence ${add_prefix_space} ${trim_offsets}`, { model: bpe(LATIN, []), pre_tokenizer: level, decoder: level,
      post_processor: { type: 'Sequence', processors: [level, { type: 'TemplateProcessing', single: [{ SpecialToken: { id: 'a', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
        pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }], special_tokens: { a: { id: 'a', ids: [65], tokens: ['a'] } } }] },
      added_tokens: [added('<m>', 400, { rstrip: true, lstrip: true })] }, TEXTS.slice(0, 16));
  }
}

// decoders: of lists of tokens
const TOKENS = ['a', '▁a', '▁', 'Ġa', 'é', 'Ã', '©', '<0xC3>', '<0xA9>', '<0x41>', '<0xFF>', 'b</w>', '##c', '|', '<pad>', '.', ' .', "n't", ' ', '  x  ', 'Ð', '¿', 'x<0x41>', ' do', 'ðŁĺ', 'Ģ', '日'];
const LISTS = [[0], [1, 1], [2, 1, 0], [3, 3], [5, 6, 0], [6, 5], [5], [7, 8, 0], [8, 7], [7, 8, 10, 0, 9], [9, 9], [0, 11, 11], [0, 12, 0, 12], [14, 0, 0, 14, 0, 13, 1], [0, 15, 16, 17], [18, 0, 18], [19, 19], [20, 21, 20],
  [22, 9, 10, 4], [24, 25, 24, 0, 25], [26, 2, 26], [18, 18, 0], [4, 23, 23], [2, 2], [11]];
for (const decoder of [null, { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true }, { type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 0 },
  { type: 'WordPiece', prefix: '##', cleanup: true }, { type: 'WordPiece', prefix: '##', cleanup: false }, { type: 'BPEDecoder', suffix: '</w>' },
  { type: 'CTC', pad_token: '<pad>', word_delimiter_token: '|', cleanup: true }, { type: 'CTC', pad_token: '<pad>', word_delimiter_token: '|', cleanup: false },
  { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true }, { type: 'Metaspace', replacement: '▁', prepend_scheme: 'never', split: true },
  { type: 'Replace', pattern: { String: '▁a' }, content: '_' }, { type: 'Replace', pattern: { Regex: '[a-c]' }, content: '' },
  { type: 'Sequence', decoders: [{ type: 'Replace', pattern: { String: '▁' }, content: ' ' }, { type: 'ByteFallback' }, { type: 'Fuse' }, { type: 'Strip', content: ' ', start: 1, stop: 1 }] },
  { type: 'Sequence', decoders: [{ type: 'Fuse' }, { type: 'Replace', pattern: { String: 'a▁a' }, content: '!' }, { type: 'Replace', pattern: { Regex: 'a+' }, content: 'A' }] }]) {
  cases[`decoder ${JSON.stringify(decoder)}`] = { file: file({ model: { type: 'WordLevel', vocab: vocabulary(TOKENS), unk_token: 'a' }, decoder, added_tokens: [added('<pad>', 14)] }), lists: LISTS };
}

const all = [];
for (const [name, { file: json, texts, lists }] of Object.entries(cases)) {
  const tokenizer = Tokenizer.fromString(JSON.stringify(json));
  const done = { name, file: json, texts: [], lists: [] };
  for (const text of texts ?? []) {
    const encoding = await tokenizer.encode(text, null, { addSpecialTokens: false });
    const full = (await tokenizer.encode(text, null, { addSpecialTokens: true })).getIds();
    const ids = encoding.getIds();
    const decoded = ids.length > 0 ? await tokenizer.decode(ids, false) : '';
    done.texts.push({ text, ids, offsets: encoding.getOffsets().flat(), decoded, ...(full.length > ids.length ? { full } : {}) });
  }
  for (const ids of lists ?? []) {
    let decoded;
    try { decoded = [await tokenizer.decode(ids, false), await tokenizer.decode(ids, true)]; } catch { continue; }
    done.lists.push({ ids, decoded });
  }
  all.push(done);
}
const ascii = (json) => json.replace(/[\u007f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
writeFileSync(out, `[\n${all.map((one) => ascii(JSON.stringify(one))).join(',\n')}\n]\n`);
console.log(`${all.length} files, ${all.reduce((sum, one) => sum + one.texts.length + one.lists.length, 0)} cases`);
