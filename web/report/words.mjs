// @ts-check
// Every word on the page, in English and Russian, and how figures are written.

/** @type {Record<string, [string, string]>} name: [English, Russian] */
const kWords = {
  grid: ['the model', 'модель'],
  gridHelp: ['Layers down, heads across. Click: choose. Shift-click: lay over. Double-click: alone.',
    'Слои вниз, головы вправо. Щелчок: выбрать. Shift-щелчок: наложить. Двойной: только эту.'],
  show: ['colour', 'цвет'],
  sort: ['order', 'порядок'],
  sort_place: ['by number', 'по номеру'],
  sort_layer: ['strongest first in each layer', 'по силе внутри слоя'],
  sort_all: ['strongest first', 'по силе'],
  m_map: ['maps', 'карты'],
  m_entropy: ['entropy', 'энтропия'],
  m_max_weight: ['largest weight', 'наибольший вес'],
  m_distance_mean: ['distance', 'расстояние'],
  m_first: ['first token', 'первый токен'],
  m_self: ['itself', 'сам на себя'],
  m_previous: ['previous token', 'предыдущий токен'],
  m_next: ['next token', 'следующий токен'],
  m_last: ['last token', 'последний токен'],
  m_role: ['role', 'роль'],
  roleScore: ['score of the role, share of hits; hatched: no role is known', 'счёт роли, доля попаданий; штриховка: роль не известна'],
  nats: ['nats', 'нат'],
  tokens: ['tokens', 'ток.'],
  layer: ['layer', 'слой'],
  head: ['head', 'голова'],
  notRecorded: ['not recorded', 'не записана'],
  pooled: ['Thumbnails: the largest weight of each block of {0} cells.', 'Миниатюры: наибольший вес в каждом блоке из {0} клеток.'],
  group: ['keys {0}: heads {1} share them', 'ключи {0}: общие у голов {1}'],
  e_patch: ['patch {0}', 'клетка {0}'],
  e_frame: ['frame {0} patch {1}', 'кадр {0} клетка {1}'],
  e_frameBrief: ['f{0} {1}', 'к{0} {1}'],
  e_note: ['{0} bar {1} beat {2}, {3}', '{0} такт {1} доля {2}, {3}'],
  e_rest: ['rest', 'пауза'],
  e_row: ['row {0}', 'строка {0}'],
  e_cell: ['row {0}, column {1}', 'строка {0}, столбец {1}'],
  e_byte: ['byte {0}', 'байт {0}'],
  view_head: ['Head', 'Голова'],
  view_walk: ['Walk', 'Пять шагов'],
  view_media: ['Media', 'Медиа'],
  asks: ['asks:', 'смотрит:'],
  allRows: ['all, on average', 'все в среднем'],
  lightScale: ['Lightest: {0} of the weight, on a square-root scale.', 'Самое светлое: {0} веса, шкала по корню.'],
  inkScale: ['Deepest colour: {0} of the weight, on a square-root scale.', 'Самый густой цвет: {0} веса, шкала по корню.'],
  lightInside: ['{0} of the weight lies here, the rest on special tokens.', 'Здесь {0} веса, остальное на служебных токенах.'],
  arcsSay: ['Arcs from what asks to what it looks at, from .02, at most {0}.', 'Дуги от того, что смотрит, к тому, на что; от .02, не больше {0}.'],
  mosaic: ['Heads of layer {0}', 'Головы слоя {0}'],
  mosaicSays: ['Light is what each looks at, on a scale of its own. Click: choose.', 'Свет — на что смотрит каждая, шкала у каждой своя. Щелчок: выбрать.'],
  seenInParts: ['This layer looks at {0} parts of the picture one by one: a patch can ask within the first part; the mean is over all.',
    'Этот слой смотрит на {0} частей картинки по отдельности: спросить можно из первой; среднее — по всем.'],
  frame: ['frame', 'кадр'],
  seconds: ['s', 'с'],
  play: ['play', 'играть'],
  stop: ['stop', 'стоп'],
  space: ['space', 'пробел'],
  voices: ['voices: {0}', 'голоса: {0}'],
  hideFirst: ['hide first & self', 'без первого и себя'],
  hideFirstHelp: ['Leaves out weights on the first token and on the word itself; each row is scaled up to 1 again, or left empty when under .05 of it remains.',
    'Убирает веса на первый токен и на само слово; каждая строка снова приводится к 1 или остаётся пустой, если осталось меньше .05.'],
  hideSpecial: ['hide special', 'без служебных'],
  hideSpecialHelp: ['Leaves out tokens that are not from the text, such as [CLS]; each row is scaled up to 1 again, or left empty when under .05 of it remains.',
    'Убирает токены не из текста, например [CLS]; каждая строка снова приводится к 1 или остаётся пустой, если осталось меньше .05.'],
  log: ['log scale', 'лог. шкала'],
  logHelp: ['Shows small weights: four decades from .0001 to 1.', 'Показывает малые веса: четыре порядка от .0001 до 1.'],
  words: ['merge into words', 'по словам'],
  wordsHelp: ['Pieces of a word become one: its row is their mean, its column their sum.',
    'Части слова сливаются: строка слова — среднее, столбец — сумма.'],
  threshold: ['from', 'от'],
  thresholdHelp: ['Links below this weight are not drawn.', 'Связи слабее этого веса не рисуются.'],
  renormalised: ['Hidden here: {0} of all attention; the rest is scaled up to 1, rows with under .05 left stay empty.', 'Скрыто {0} внимания; остальное приведено к 1, строки с остатком меньше .05 пусты.'],
  below: ['Links below {0} are not drawn; together {1} of the attention.', 'Связи слабее {0} не нарисованы; вместе это {1} внимания.'],
  above: ['above: what it looks at', 'сверху: на что смотрит'],
  under: ['below: what looks at it', 'снизу: что смотрит на него'],
  allAbove: ['Every arc goes from the word that looks, thinning towards what it looks at.', 'Дуга идёт от смотрящего слова и сужается к тому, на что оно смотрит.'],
  hintInput: ['Point at an element to see what looks at it here; click to keep it.', 'Наведите на элемент, чтобы увидеть здесь, что смотрит на него; щелчок закрепит.'],
  longHintInput: ['This input is long: arcs are drawn for the element you point at or click.', 'Вход длинный: дуги рисуются для элемента, на который вы навели или щёлкнули.'],
  shadingInput: ['Elements', 'Элементы'],
  shadeReceivedInput: ['shaded by the mean attention that each element receives', 'тон — сколько внимания элемент получает в среднем'],
  allAboveInput: ['Every arc goes from the element that looks, thinning towards what it looks at.', 'Дуга идёт от смотрящего элемента и сужается к тому, на что он смотрит.'],
  measuredInput: ['measured on this input only', 'измерено только на этом входе'],
  d_previousInput: ['the one before', 'предыдущий элемент'],
  d_nextInput: ['the one after', 'следующий элемент'],
  d_firstInput: ['the first', 'первый элемент'],
  d_lastInput: ['the last', 'последний элемент'],
  hint: ['Point at a word to see what looks at it here; click to keep it.', 'Наведите на слово, чтобы увидеть здесь, что смотрит на него; щелчок закрепит.'],
  longHint: ['This text is long: arcs are drawn for the word you point at or click.', 'Текст длинный: дуги рисуются для слова, на которое вы навели или щёлкнули.'],
  shading: ['Text', 'Текст'],
  shadeReceived: ['shaded by the mean attention that each word receives', 'тон — сколько внимания слово получает в среднем'],
  shadeRow: ['shaded by what “{0}” looks at', 'тон — на что смотрит «{0}»'],
  heat: ['Map', 'Карта'],
  heatHelp: ['rows look at columns', 'строки смотрят на столбцы'],
  heatPooled: ['this map has {0} × {1} cells: shown are the largest weights of blocks', 'в карте {0} × {1} клеток: показаны наибольшие веса блоков'],
  heatShrunk: ['shrunk to fit: one dot on screen covers {0} cells across', 'сжата: точка экрана покрывает {0} клетки'],
  looksAt: ['{0} → {1}  {2}', '{0} → {1}  {2}'],
  nothing: ['no head is recorded here', 'эта голова не записана'],
  goRecorded: ['show a recorded head', 'показать записанную'],
  thisHead: ['this head', 'эта голова'],
  noRole: ['No role is known for this head.', 'Роль этой головы не известна.'],
  handMade: ['hand-made', 'сделана вручную'],
  source: ['source', 'источник'],
  baseline: ['baseline', 'база'],
  mostly: ['mostly', 'в основном'],
  often: ['often', 'часто'],
  broad: ['broad: nearly even over what it may see', 'широкая: почти поровну на всё, что видит'],
  single: ['single-minded: each row looks at nearly one place', 'сосредоточенная: каждая строка смотрит почти в одно место'],
  mixed: ['mixed: no single habit', 'смешанная: без одной привычки'],
  measured: ['measured on this text only', 'измерено только на этом тексте'],
  d_previous: ['the previous token', 'предыдущий токен'],
  d_next: ['the next token', 'следующий токен'],
  d_self: ['itself', 'сам на себя'],
  d_first: ['the first token', 'первый токен'],
  d_last: ['the last token', 'последний токен'],
  figures: ['Figures', 'Числа'],
  figuresSay: ['means over n rows', 'средние по n строк'],
  links: ['Strongest links', 'Сильнейшие связи'],
  linksOf: ['Strongest links of “{0}”', 'Сильнейшие связи «{0}»'],
  overlay: ['Laid over each other', 'Наложены'],
  remove: ['remove {0}', 'убрать {0}'],
  main: ['make {0} the chosen head', 'сделать {0} выбранной'],
  table: ['as a table', 'таблицей'],
  tableHead: ['all heads as a table', 'все головы таблицей'],
  from: ['looks', 'смотрит'],
  to: ['at', 'на'],
  weight: ['weight', 'вес'],
  export: ['Take away', 'Сохранить'],
  svg: ['SVG', 'SVG'], png: ['PNG 2×', 'PNG 2×'], csv: ['CSV', 'CSV'], json: ['JSON', 'JSON'],
  svgHelp: ['the picture of this head', 'рисунок этой головы'],
  pngHelp: ['the picture of this head in twice the dots', 'рисунок этой головы в двойном разрешении'],
  csvHelp: ['the weights as shown', 'веса, как показано'],
  jsonHelp: ['what is selected', 'что выбрано'],
  theme: ['light or dark', 'светлая или тёмная'],
  help: ['keys', 'клавиши'],
  close: ['close', 'закрыть'],
  clear: ['clear', 'снять'],
  locked: ['kept: {0}', 'закреплено: {0}'],
  rounded: ['Weights are recomputed from values rounded to bf16: rows of this head sum to 1 within {0} (n {1} rows).',
    'Веса пересчитаны по значениям, округлённым до bf16: суммы строк этой головы отличаются от 1 не больше чем на {0} (n {1}).'],
  row: ['row', 'строка'],
  noWalk: ['The five steps of layer {0} are not in this file; this command writes them:', 'Пяти шагов слоя {0} в этом файле нет; их запишет команда:'],
  goWalk: ['walk through layer {0} instead', 'пройти слой {0}'],
  copy: ['copy', 'скопировать'],
  copied: ['copied', 'скопировано'],
  walkRow: ['Following', 'Следим за'],
  w_project: ['project', 'project · проекция'],
  w_projectSays: ['Every token’s vector x is turned into a query (what I seek), a key (what I offer) and a value (what I tell).',
    'Вектор x каждого токена становится запросом (что ищу), ключом (что предлагаю) и значением (что скажу).'],
  w_split: ['split', 'split · разрез'],
  w_splitSays: ['Each head gets its own slice. No number moves.', 'Каждой голове — свой ломтик. Числа не двигаются.'],
  w_focus: ['focus', 'focus · взгляд'],
  w_focusSays: ['The head scores how well queries fit keys, leaves out what it may not see, turns scores into shares that sum to 1, and mixes values by them.',
    'Голова оценивает, как запросы подходят к ключам, убирает невидимое, превращает оценки в доли с суммой 1 и смешивает по ним значения.'],
  w_merge: ['merge', 'merge · склейка'],
  w_mergeSays: ['The heads’ findings lie side by side again. Switching a head off happens here.',
    'Находки голов снова ложатся рядом. Отключение головы происходит здесь.'],
  w_output: ['output', 'output · выход'],
  w_outputSays: ['One linear layer adds up what all heads found.', 'Один линейный слой складывает находки всех голов.'],
  scores: ['scores', 'оценки'],
  mask: ['mask', 'маска'],
  softmax: ['weights', 'веса'],
  found: ['findings z', 'находки z'],
  maskAll: ['every key is visible', 'видны все ключи'],
  maskSome: ['{0} of {1} cells visible', 'видно {0} из {1} клеток'],
  rowSum: ['row sum', 'сумма строки'],
  rowSums: ['rows sum to 1 within {0}', 'суммы строк отличаются от 1 не больше чем на {0}'],
  noFlop: ['0 flop', '0 flop'],
  parts: ['What each head adds to “{0}” (length of z W_O)', 'Что каждая голова добавляет к «{0}» (длина z W_O)'],
  biasPart: ['bias', 'сдвиг'],
  sumCheck: ['Sum over heads + bias against the layer’s own output: largest difference {0} of the largest value. In this row, recomputed here: {1}.',
    'Сумма по головам + сдвиг против выхода слоя: наибольшая разница {0} от наибольшего значения. В этой строке, пересчитано здесь: {1}.'],
  operands: ['Point at a score to see its dot product; click to keep it.', 'Наведите на оценку, чтобы увидеть её скалярное произведение; щелчок закрепит.'],
  product: ['product', 'произведение'],
  invisible: ['not visible to this row', 'не видно из этой строки'],
  openNumbers: ['click a cell: numbers', 'щёлкните клетку: числа'],
  allProducts: ['all {0} products', 'все {0} произведений'],
  column: ['column', 'столбец'],
  edited: ['edited in merge', 'изменено в merge'],
  empty: ['empty', 'пусто'],
  failed: ['This page cannot show its numbers: {0}', 'Страница не может показать свои числа: {0}'],
  k_arrows: ['head left, right; layer up, down', 'голова влево, вправо; слой вверх, вниз'],
  k_rows: ['row before, after', 'строка назад, вперёд'],
  k_views: ['head, walk, media', 'голова, пять шагов, медиа'],
  k_play: ['play the tune or the video', 'играть мелодию или видео'],
  k_min: ['draw more, fewer links', 'больше, меньше связей'],
  k_solo: ['this head alone', 'только эта голова'],
  k_help: ['these keys', 'эти клавиши'],
  k_esc: ['clear what is kept', 'снять закреплённое'],
};

const kPlurals = {
  rows: { en: ['row', 'rows'], ru: ['строка', 'строки', 'строк'] },
  tokens: { en: ['token', 'tokens'], ru: ['токен', 'токена', 'токенов'] },
  layers: { en: ['layer', 'layers'], ru: ['слой', 'слоя', 'слоёв'] },
  heads: { en: ['head', 'heads'], ru: ['голова', 'головы', 'голов'] },
};

let language = 'en';

/** @param {string} chosen "en" or "ru" */
export function speak(chosen) { language = chosen === 'ru' ? 'ru' : 'en'; }
export function spoken() { return language; }

/** A phrase in the chosen language; {0}, {1} are filled in. @param {string} name @param {...(string | number)} values */
export function t(name, ...values) {
  const pair = kWords[name];
  if (!pair) throw new Error(`[page] expected a phrase called ${name}`);
  return pair[language === 'ru' ? 1 : 0].replace(/\{(\d)\}/g, (_, n) => String(values[Number(n)]));
}

/** The same of an input that is no text, where it has words of its own. @param {string} name @param {import('./data.mjs').Media | null} media */
export function fitting(name, media) { return t(media && kWords[`${name}Input`] ? `${name}Input` : name); }

/** Voices by name. @type {Record<string, string>} */
const kVoices = { soprano: 'сопрано', alto: 'альт', tenor: 'тенор', bass: 'бас' };

/** A voice in the chosen language. @param {string} name */
export function voiceName(name) { return language === 'ru' && Object.hasOwn(kVoices, name) ? kVoices[name] : name; }

/**
 * What an element is called on the page: labels of a text as they are, the fixed words of others in the chosen language;
 * a table of one column leaves its name out. `brief`: without words such as "row", where there is little room.
 * @param {import('./data.mjs').Label} label @param {import('./data.mjs').Media | null} media @param {boolean} [brief]
 */
export function elementName(label, media, brief = false) {
  if (label.special) return label.text;
  if (label.frame >= 0) return patchName(label, brief);
  if (media?.kind === 'table') return cellName(label, media, brief);
  if (media?.kind === 'notes') return noteText(label, media, brief);
  if (media?.kind !== 'bytes') return label.text;
  const byte = label.text.replace(/^byte /, '');
  return brief ? byte : t('e_byte', byte);
}

/** @param {import('./data.mjs').Label} label @param {boolean} brief */
function patchName(label, brief) {
  const patch = /^(?:frame (\d+) )?patch (.*)$/.exec(label.text);
  if (!patch) return label.text;
  if (patch[1] === undefined) return brief ? patch[2] : t('e_patch', patch[2]);
  return t(brief ? 'e_frameBrief' : 'e_frame', patch[1], patch[2]);
}

/** @param {import('./data.mjs').Label} label @param {import('./data.mjs').Media} media @param {boolean} brief */
function cellName(label, media, brief) {
  const [row, column] = [media.rows[label.row], media.names[label.column]];
  if (row === undefined || column === undefined) return label.text;
  if (media.names.length > 1) return brief ? `${row} ${column}` : t('e_cell', row, column);
  return !brief && /^\d{1,4}$/.test(row) ? t('e_row', row) : row;  // a date needs no word before it, other numbers do
}

/** A note with its bar: beats are counted within it. @param {import('./data.mjs').Label} label @param {import('./data.mjs').Media} media @param {boolean} brief */
function noteText(label, media, brief) {
  const note = /^(.+?)(?: bar \d+)? beat ([^,]+), (.+)$/.exec(label.text);
  if (!note || label.column < 0) return label.text;
  const pitch = note[1] === 'rest' ? t('e_rest') : note[1];
  const bar = Math.floor(label.column / Math.max(1, media.stepsPerBeat * media.beatsPerBar)) + 1;
  const voice = voiceName(note[3]);
  return brief ? `${pitch} ${bar}.${note[2]} ${voice}` : t('e_note', pitch, bar, note[2], voice);
}

/** "3 rows", "3 строки". @param {number} n @param {keyof typeof kPlurals} what */
export function counted(n, what) {
  const forms = kPlurals[what];
  if (language !== 'ru') return `${n} ${forms.en[n === 1 ? 0 : 1]}`;
  const ten = n % 10;
  const hundred = n % 100;
  const form = ten === 1 && hundred !== 11 ? 0 : ten >= 2 && ten <= 4 && (hundred < 12 || hundred > 14) ? 1 : 2;
  return `${n} ${forms.ru[form]}`;
}

/** A weight: .81, .9998 where it nears 1, .004 where it nears 0. @param {number} w */
export function weightText(w) {
  if (!Number.isFinite(w)) return '–';
  if (w <= 0) return '0';
  if (w < 0.0005) return '<.001';
  if (w >= 0.99995) return '1';
  const digits = w < 0.005 || (w >= 0.995 && w < 0.9995) ? 3 : w >= 0.9995 ? 4 : 2;
  return w.toFixed(digits).replace(/^0/, '');
}

/** A weight in a cell of a map: two figures. @param {number} w */
export function cellText(w) { return w >= 0.995 ? '1.0' : w.toFixed(2).replace(/^0/, ''); }

/** Any number in three significant figures. @param {number} x */
export function numberText(x) {
  if (x === 0) return '0';
  if (!Number.isFinite(x)) return x > 0 ? '∞' : x < 0 ? '−∞' : '–';
  const size = Math.abs(x);
  const text = size >= 1e5 || size < 1e-3 ? x.toExponential(1) : x.toPrecision(3);
  const plain = size >= 100 && size < 1e5 ? String(Math.round(x)) : text.includes('e') ? scientific(text) : text;
  return plain.replace(/^(-?)0\./, '$1.').replace('-', '−');
}

/** 3.1e-7 -> 3.1·10⁻⁷ @param {string} text */
function scientific(text) {
  const [digits, power] = text.split('e');
  const raised = [...String(Number(power))].map(c => (c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(c)])).join('');
  return `${digits.replace('-', '−')}·10${raised}`;
}

/** 17 % @param {number} share */
export function percentText(share) {
  const p = share * 100;
  if (p > 0 && p < 0.1) return '<.1 %';
  return `${p < 1 ? p.toFixed(1).replace(/^0\./, '.') : Math.round(p)} %`;
}

/** 1.2 Mflop @param {number} flop */
export function flopText(flop) {
  const units = ['flop', 'kflop', 'Mflop', 'Gflop', 'Tflop'];
  let at = 0;
  while (flop >= 1000 && at < units.length - 1) { flop /= 1000; at++; }
  return `${flop >= 100 || at === 0 ? Math.round(flop) : flop.toPrecision(2)} ${units[at]}`;
}
