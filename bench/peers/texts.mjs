// Texts that tokenizers get wrong: random, from a seed.

/** A small generator of random numbers (mulberry32), so that a seed gives the same texts everywhere. */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const WORDS = ("the quick brown fox jumps over lazy dogs don't we'll I'M SHE'S they'Ve it's 's 'LL 1st 2nd 3.14159 1,000,000 1234567890 " +
  'hello Hello HELLO naïve café résumé Straße İstanbul ıi Привет мир Ёлка йод не-что 你好世界 東京タワー カタカナ ひらがな ーー 한국어 ' +
  'مرحبا بالعالم שלום नमस्ते क्षत्रिय ไทยภาษา ქართული Ελληνικά ΣΊΣΥΦΟΣ հայերեն አማርኛ ﬁﬂ ﬆ ① ½ Ⅷ x² H₂O ᾳ ǆ ǅ ſ K Å Ω ™ ℃ ㍿ ㌀ ﷺ ' +
  '👋 👨‍👩‍👧‍👦 🇷🇺🇺🇦 ❤️ 👍🏽 é é ệ ở ÅÅ 각 각 ﹏ ﬀ <s> </s> <unk> <pad> [CLS] [MASK] <|endoftext|> ' +
  '<0x41> <0xE4> ▁ ▁▁a Ġ Ġa ## ##ing foo_bar camelCase snake_case_2 a.b.c http://x.y/z?q=1&r=%20 user@example.com C++ if(x){y=1;} /*c*/ // -> => ' +
  '... -- --- — – … “quoted” ‘s ’s l’été d\'accord !!! ??? ?! $100 €5 50% #tag @me ~`^|\\ \\n </div> &amp;').split(' ');
const SPACES = [' ', ' ', ' ', ' ', '  ', '   ', '\n', '\n\n', '\r\n', '\t', ' \n ', '\n  ', '\u00a0', '\u3000', '\u2003', '\u200b', '\u200d',
  '\ufeff', '\u0085', '\u2028', '\u180e', '\v\f', '', ''];
const RANGES = [[0x20, 0x7e], [0, 0x1f], [0x80, 0x17f], [0x300, 0x36f], [0x370, 0x52f], [0x590, 0x6ff], [0x900, 0xdff], [0xe00, 0xfff],
  [0x1100, 0x11ff], [0x1e00, 0x1fff], [0x2000, 0x2bff], [0x3000, 0x30ff], [0x4e00, 0x4f00], [0xac00, 0xad00], [0xf900, 0xfdff], [0xfe00, 0xffff],
  [0x1f300, 0x1f9ff], [0x1d400, 0x1d7ff], [0x20000, 0x20050], [0xe0000, 0xe007f], [0x10000, 0x1ffff]];

const scalar = (c) => (c >= 0xd800 && c <= 0xdfff ? 0xfffd : c);

export function nastyTexts(count, seed, added) {
  const random = generator(seed);
  const below = (n) => Math.floor(random() * n);
  const pick = (list) => list[below(list.length)];
  const character = () => {
    const [first, last] = pick(RANGES);
    return String.fromCodePoint(scalar(first + below(last - first + 1)));
  };
  const few = (make, most) => Array.from({ length: 1 + below(most) }, make).join('');
  const kinds = [
    () => few(() => pick(WORDS) + pick(SPACES), 20),
    () => few(character, 30),
    () => few(() => (random() < 0.5 ? pick(WORDS) : few(character, 3)) + pick(SPACES), 12),
    () => few(() => pick(SPACES), 12),
    () => few(() => (random() < 0.3 && added.length > 0 ? pick(SPACES) + pick(added) + pick(SPACES) : pick(WORDS) + pick(SPACES)), 10),
    () => few(() => character().repeat(1 + below(8)), 8),
    () => few(() => String(below(10) ** below(12)) + pick(['', ' ', '.', ',']), 8),
    () => pick(WORDS).repeat(1 + below(40)),
    () => few(() => pick('abcdefghijklmnopqrstuvwxyzàéаи'.split('')), 80),
  ];
  return ['', ' ', ...Array.from({ length: count }, () => pick(kinds)())];
}
