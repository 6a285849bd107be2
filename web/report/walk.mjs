// @ts-check
// V3, the walk: the five steps of one layer for one head, with the run's own numbers.
import { dotProduct, visible } from './data.mjs';
import { el, short } from './dom.mjs';
import { matrix } from './matrix.mjs';
import { flopText, numberText, t, weightText } from './words.mjs';

/** @typedef {import('./main.mjs').Context} Context */
/** @typedef {import('./state.mjs').Selection} Selection */
/** @typedef {import('./data.mjs').WalkInfo} WalkInfo */

/** A text as one word of a command line. @param {string} text */
function quoted(text) { return /^[\w./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`; }

export class WalkView {
  /** @param {HTMLElement} root @param {Context} context */
  constructor(root, context) {
    this.root = root;
    this.context = context;
    this.operands = el('div', { class: 'operands' });
    /** @type {WalkInfo} */
    this.info = context.source.page.walks[0];
    this.layer = 0;
    this.head = 0;
    /** The token that is followed. */
    this.row = 0;
    this.group = 0;
    /** The cell of scores or weights whose numbers stay open. @type {{name: string, i: number, j: number} | null} */
    this.opened = null;
  }

  /** @param {Selection} now @param {Selection | null} _before */
  render(now, _before) {
    const { source } = this.context;
    const info = source.page.walks.find(walk => walk.layer === now.layer);
    if (!info) { this.root.replaceChildren(this.absent(now)); return; }
    this.info = info;
    this.layer = now.layer;
    this.head = now.head;
    this.row = Math.min(now.rows[0] ?? Math.min(1, info.rows - 1), info.rows - 1);
    this.group = Math.floor(now.head / (info.heads / info.groups));
    this.root.replaceChildren(this.picker(), el('div', { class: 'cards' }, this.project(), this.split(), this.focus(), this.merge(), this.output()));
    if (now.rows.length && now.column >= 0) this.explain(now.rows[0], now.column);
  }

  /** @param {Selection} now */
  absent(now) {
    const { source, store } = this.context;
    const { page } = source;
    const command = `headscope walk ${quoted(page.model.name)} ${quoted(short(page.text, 200))} --layer ${now.layer} --html walk.html`;
    const copy = el('button', { onclick: () => navigator.clipboard?.writeText(command).then(() => { copy.textContent = t('copied'); }) }, t('copy'));
    return el('div', { class: 'absent' }, el('p', {}, t('noWalk', now.layer)), el('pre', { tabindex: 0 }, command), el('div', { class: 'row' }, copy,
      page.walks[0] ? el('button', { onclick: () => store.set({ layer: page.walks[0].layer }) }, t('goWalk', page.walks[0].layer)) : null));
  }

  picker() {
    const { source, store } = this.context;
    const rows = Array.from({ length: this.info.rows }, (_, i) => el('option', { value: i, selected: i === this.row }, `${i}  ${short(source.labelText(i, this.layer), 20)}`));
    return el('div', { class: 'row controls' }, el('label', {}, t('walkRow'),
      el('select', { onchange: (/** @type {Event} */ e) => store.set({ rows: [Number(/** @type {HTMLSelectElement} */ (e.target).value)] }) }, ...rows)),
    el('span', { class: 'note' }, `${t('layer')} ${this.layer}, ${t('head')} ${this.head}`));
  }

  /** Numbers of the walk's tensors; q and k may lie with the recording. @param {string} what */
  numbers(what) {
    const { source } = this.context;
    const own = source.tensor(`w${this.layer}.${what}`);
    if (own) return own.numbers;
    return source.numbers(`${this.layer}.${what}`);
  }

  /** @param {number} step @param {string} says @param {string} formula @param {number} flop @param {(numbers: HTMLElement) => (Node | null)[]} inside */
  card(step, says, formula, flop, inside) {
    const numbers = el('div', { class: 'numbers' });
    const name = ['project', 'split', 'focus', 'merge', 'output'][step - 1];
    return el('article', { class: `card ${name}` },
      el('header', {}, el('span', { class: 'step' }, step), el('h3', {}, t(`w_${name}`)), el('span', { class: 'note flop' }, flop ? flopText(flop) : t('noFlop'))),
      el('p', {}, says), el('p', { class: 'formula' }, formula), el('div', { class: 'matrices' }, ...inside(numbers).filter(node => node !== null)), numbers);
  }

  /** @param {string} name @param {number} columns @param {(i: number, j: number) => number} at @param {HTMLElement} numbers @param {[number, number]} [band] @param {(j: number) => string} [columnName] */
  tokens(name, columns, at, numbers, band, columnName) {
    const { source, palette } = this.context;
    return matrix({
      name, shape: `[${this.info.rows},${columns}]`, rows: this.info.rows, columns, at, kind: 'signed', row: this.row, band,
      rowName: i => source.labelText(i, this.layer), columnName: columnName ?? (j => String(j)),
    }, palette(), numbers);
  }

  project() {
    const { heads, groups, rows, width, valueWidth, model } = this.info;
    const x = this.numbers('x');
    const [q, k, v] = ['q', 'k', 'v'].map(what => this.numbers(what));
    const asks = heads * width;
    const offers = groups * width;
    const all = asks + offers + groups * valueWidth;
    /** [H,T,D] read as [T,H*D]. @param {ArrayLike<number>} n @param {number} i @param {number} j @param {number} d */
    const side = (n, i, j, d) => n[(Math.floor(j / d) * rows + i) * d + j % d];
    const at = (/** @type {number} */ i, /** @type {number} */ j) => (j < asks ? side(q, i, j, width) : j < asks + offers ? side(k, i, j - asks, width) : side(v, i, j - asks - offers, valueWidth));
    const name = (/** @type {number} */ j) => (j < asks ? `q ${j}` : j < asks + offers ? `k ${j - asks}` : `v ${j - asks - offers}`);
    return this.card(1, t('w_projectSays'), 'q = x·W_Q + b_Q\nk = x·W_K + b_K\nv = x·W_V + b_V', 2 * rows * model * all, numbers => [
      this.tokens('x', model, (i, j) => x[i * model + j], numbers), this.tokens('q k v', all, at, numbers, undefined, name)]);
  }

  split() {
    const { rows, width, valueWidth } = this.info;
    const slice = (/** @type {string} */ what, /** @type {number} */ slot, /** @type {number} */ d) => {
      const all = this.numbers(what);
      return (/** @type {number} */ i, /** @type {number} */ j) => all[(slot * rows + i) * d + j];
    };
    const g = this.group === this.head ? '' : ` (${this.group})`;
    return this.card(2, t('w_splitSays'), `q_h = q[:, ${this.head * width}…${(this.head + 1) * width - 1}]`, 0, numbers => [
      this.tokens(`q ${this.head}`, width, slice('q', this.head, width), numbers),
      this.tokens(`k ${this.head}${g}`, width, slice('k', this.group, width), numbers),
      this.tokens(`v ${this.head}${g}`, valueWidth, slice('v', this.group, valueWidth), numbers)]);
  }

  focus() {
    const { source, palette, store } = this.context;
    const { rows, heads, width, valueWidth } = this.info;
    const flop = 2 * heads * rows * rows * (width + valueWidth);
    const formula = 's = scale·q·kᵀ,  A = softmax(s),  z = A·v';
    if (!source.recorded(this.layer, this.head) || !source.fits(this.layer)) {
      return this.card(3, t('w_focusSays'), formula, flop, () => [el('p', {}, t('notRecorded'))]);
    }
    const info = /** @type {import('./data.mjs').Layer} */ (source.layer(this.layer));
    const mask = source.tensor(`${this.layer}.key_mask`)?.numbers ?? null;
    const scores = new Float64Array(info.rows * info.keys);
    for (let i = 0; i < info.rows; i++) source.scores(this.layer, this.head, i, scores.subarray(i * info.keys, (i + 1) * info.keys));
    const weights = source.map(this.layer, this.head);
    let seen = 0;
    for (let i = 0; i < info.rows; i++) for (let j = 0; j < info.keys; j++) seen += Number(visible(info.options, mask, i, j));
    const name = (/** @type {number} */ i) => source.labelText(i, this.layer);
    const square = { rows: info.rows, columns: info.keys, shape: `[${info.rows},${info.keys}]`, row: this.row, rowName: name, columnName: name, square: true };
    const point = (/** @type {number} */ i, /** @type {number} */ j) => this.explain(i, j);
    const cell = (/** @type {'scores' | 'softmax'} */ which) => ({
      name: t(which), point, opened: this.opened?.name === which ? this.opened : null, close: () => { this.opened = null; },
      click: (/** @type {number} */ i, /** @type {number} */ j) => {
        this.opened = { name: which, i, j };
        store.set({ rows: [i], column: j });
      },
    });
    this.operands.replaceChildren(el('p', { class: 'note' }, t('operands')));
    const deviation = source.rowDeviation(this.layer, this.head, info.rows);
    const row = source.row(this.layer, this.head, this.row);
    const z = this.findings();
    return this.card(3, t('w_focusSays'), formula, flop, numbers => [
      el('div', { class: 'chain' },
        matrix({ ...square, ...cell('scores'), kind: 'signed', at: (i, j) => scores[i * info.keys + j] }, palette(), numbers),
        matrix({ ...square, name: t('mask'), kind: 'mask', at: (i, j) => Number(visible(info.options, mask, i, j)) }, palette(), numbers),
        matrix({ ...square, ...cell('softmax'), kind: 'weight', at: (i, j) => weights[i * info.keys + j] }, palette(), numbers)),
      el('p', { class: 'note' }, seen === info.rows * info.keys ? t('maskAll') : t('maskSome', seen, info.rows * info.keys), ' · ',
        `${t('rowSum')} “${short(name(this.row), 16)}”: ${row.reduce((a, b) => a + b, 0).toFixed(6)} · `, t('rowSums', numberText(deviation.largest))),
      this.operands,
      this.tokens(`${t('found')} ${this.head}`, valueWidth, (i, j) => z(i, this.head, j), numbers)]);
  }

  /** The dot product behind a score, and the way from there to the weight. @param {number} i @param {number} j */
  explain(i, j) {
    const { source } = this.context;
    const parts = source.parts(this.layer, this.head);
    const { width, options } = parts.info;
    const seen = visible(options, parts.mask, i, j);
    const products = Array.from({ length: width }, (_, d) => ({ d, q: parts.q[i * width + d], k: parts.k[j * width + d] }));
    const dot = dotProduct(parts.q, parts.k, i * width, j * width, width);
    const score = source.scores(this.layer, this.head, i)[j];
    const top = [...products].sort((a, b) => Math.abs(b.q * b.k) - Math.abs(a.q * a.k)).slice(0, 4);
    const sign = (/** @type {number} */ x) => (x < 0 ? `(${numberText(x)})` : numberText(x));
    const sum = top.map(p => `${sign(p.q)}·${sign(p.k)}`).join(' + ');
    const lines = [
      el('b', {}, `${source.labelText(i, this.layer)} → ${source.labelText(j, this.layer)}`),
      el('p', { class: 'formula' }, `q·k = ${sum} + … = ${numberText(dot)}`),
      el('p', { class: 'formula' }, seen
        ? `s = ${numberText(options.scale)} · ${sign(dot)}${Math.abs(options.scale * dot - score) > 1e-6 ? ' …' : ''} = ${numberText(score)}   exp(${numberText(score)} − ${sign(parts.lse[i])}) = ${weightText(source.weight(this.layer, this.head, i, j))}`
        : t('invisible')),
    ];
    const cells = products.map(p => el('tr', {}, el('th', { scope: 'row' }, p.d), el('td', {}, numberText(p.q)), el('td', {}, numberText(p.k)), el('td', {}, numberText(p.q * p.k))));
    const all = el('details', {}, el('summary', {}, t('allProducts', width)), el('div', { class: 'scroll', tabindex: 0 }, el('table', {},
      el('thead', {}, el('tr', {}, el('th', {}, 'd'), el('th', {}, 'q'), el('th', {}, 'k'), el('th', {}, t('product')))), el('tbody', {}, ...cells))));
    this.operands.replaceChildren(...lines, all);
  }

  /** Findings of a head before edits. @returns {(i: number, head: number, d: number) => number} */
  findings() {
    const { heads, rows, valueWidth } = this.info;
    const own = this.context.source.tensor(`w${this.layer}.z`);
    const merged = this.numbers('merged');
    return (i, head, d) => (own ? own.numbers[(head * rows + i) * valueWidth + d] : merged[(i * heads + head) * valueWidth + d]);
  }

  merge() {
    const { heads, valueWidth } = this.info;
    const merged = this.numbers('merged');
    const edited = this.context.source.tensor(`w${this.layer}.z`) !== null;
    const all = heads * valueWidth;
    return this.card(4, t('w_mergeSays'), `m = [z_0 | z_1 | … | z_${heads - 1}]`, 0, numbers => [
      this.tokens('m', all, (i, j) => merged[i * all + j], numbers, [this.head * valueWidth, (this.head + 1) * valueWidth], j => `${Math.floor(j / valueWidth)}: ${j % valueWidth}`),
      edited ? el('strong', {}, t('edited')) : null]);
  }

  output() {
    const { heads, rows, valueWidth, model, error } = this.info;
    const out = this.numbers('out');
    const flop = 2 * rows * heads * valueWidth * model;
    const { lengths, bias, difference } = this.reconstruct();
    const { source } = this.context;
    const most = Math.max(bias, ...lengths);
    const bar = (/** @type {string} */ name, /** @type {number} */ length, /** @type {string} */ cls) => el('div', { class: `part ${cls}` },
      el('span', {}, name), el('i', { style: `width:${most ? 100 * length / most : 0}%` }), el('span', {}, numberText(length)));
    return this.card(5, t('w_outputSays'), 'out = m·W_O + b_O\n= Σ_h z_h·W_O^h + b_O', flop, numbers => [
      this.tokens('out', model, (i, j) => out[i * model + j], numbers),
      el('p', { class: 'note' }, t('parts', short(source.labelText(this.row, this.layer), 16))),
      el('div', { class: 'parts' }, ...lengths.map((length, h) => bar(String(h), length, h === this.head ? 'chosen' : '')), bar(t('biasPart'), bias, 'bias')),
      el('p', { class: 'check' }, t('sumCheck', numberText(error), numberText(difference)))]);
  }

  /** What each head adds to the followed row, and how far their sum is from the layer's output. */
  reconstruct() {
    const { heads, valueWidth, model } = this.info;
    const [merged, weight, bias, out] = ['merged', 'wo', 'bo', 'out'].map(what => this.numbers(what));
    const inner = heads * valueWidth;
    const squares = new Float64Array(heads);
    let most = 0;
    let difference = 0;
    let biasSquares = 0;
    for (let c = 0; c < model; c++) {
      let sum = bias[c];
      biasSquares += bias[c] ** 2;
      for (let h = 0; h < heads; h++) {
        const part = dotProduct(merged, weight, this.row * inner + h * valueWidth, c * inner + h * valueWidth, valueWidth);
        squares[h] += part * part;
        sum += part;
      }
      difference = Math.max(difference, Math.abs(sum - out[this.row * model + c]));
    }
    for (const x of out) most = Math.max(most, Math.abs(x));
    return { lengths: [...squares].map(Math.sqrt), bias: Math.sqrt(biasSquares), difference: most ? difference / most : difference };
  }
}
