// @ts-check
// One selection shared by all views and kept in the address bar: a link reproduces the screen.

/** @typedef {{layer: number, head: number, view: string, rows: number[], column: number, over: [number, number][],
 *             measure: string, sort: string, frame: number, first: boolean, special: boolean, log: boolean, words: boolean,
 *             min: number, lang: string, theme: string}} Selection
 * rows and column are token numbers; over are heads laid over the chosen one */

export const kThresholds = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5];
/** Heads shown at once, the chosen one included. */
export const kMostHeads = 8;

/** @param {{layer: number, head: number, row?: number, view: string, language: string}} start @param {boolean} [words] merged @returns {Selection} */
export function defaults(start, words = false) {
  return {
    layer: start.layer, head: start.head, view: start.view, rows: start.row !== undefined && start.row >= 0 ? [start.row] : [], column: -1, over: [], measure: 'map', sort: 'place', frame: 0,
    first: false, special: false, log: false, words, min: 0.02, lang: start.language, theme: 'auto',
  };
}

/** The part of an address after #; only what differs from the start. @param {Selection} selection @param {Selection} base */
export function toHash(selection, base) {
  const parts = [`head=${selection.layer}.${selection.head}`];
  const add = (/** @type {string} */ name, /** @type {any} */ value, /** @type {any} */ usual) => {
    if (String(value) !== String(usual)) parts.push(`${name}=${encodeURIComponent(value)}`);
  };
  add('view', selection.view, base.view);
  add('rows', selection.rows.join(','), base.rows.join(','));
  add('column', selection.column, -1);
  add('frame', selection.frame, 0);
  add('over', selection.over.map(head => head.join('.')).join(','), '');
  for (const name of ['measure', 'sort', 'min', 'lang', 'theme']) {
    const key = /** @type {'measure'} */ (name);
    add(name, selection[key], base[key]);
  }
  for (const name of ['first', 'special', 'log', 'words']) {
    const key = /** @type {'first'} */ (name);
    add(name, Number(selection[key]), Number(base[key]));
  }
  return parts.join('&');
}

/**
 * Reads an address; what makes no sense is left as it was.
 * @param {string} hash @param {Selection} base @param {{layers: number, heads: number, rows: number, keys: number, measures: string[], media?: boolean}} limits
 * @returns {Selection}
 */
export function fromHash(hash, base, limits) {
  const given = new URLSearchParams(hash.replace(/^#/, ''));
  const out = { ...base };
  const inside = (/** @type {number} */ at, /** @type {number} */ size) => Number.isInteger(at) && at >= 0 && at < size;
  const one = (/** @type {string} */ name, /** @type {string[]} */ known, /** @type {string} */ usual) => {
    const value = given.get(name);
    return value !== null && known.includes(value) ? value : usual;
  };
  const heads = (/** @type {string | null} */ text) => (text ?? '').split(',')
    .map(pair => pair.split('.').map(Number))
    .filter(pair => pair.length === 2 && inside(pair[0], limits.layers) && inside(pair[1], limits.heads));
  const chosen = heads(given.get('head'))[0];
  if (chosen) [out.layer, out.head] = chosen;
  out.over = /** @type {[number, number][]} */ (heads(given.get('over')).slice(0, kMostHeads - 1));
  out.view = one('view', limits.media ? ['head', 'walk', 'media'] : ['head', 'walk'], base.view);
  out.measure = one('measure', limits.measures, base.measure);
  out.sort = one('sort', ['place', 'layer', 'all'], base.sort);
  out.lang = one('lang', ['en', 'ru'], base.lang);
  out.theme = one('theme', ['auto', 'light', 'dark'], base.theme);
  if (given.has('rows')) {
    out.rows = [...new Set((given.get('rows') ?? '').split(',').filter(Boolean).map(Number))].filter(i => inside(i, limits.rows)).slice(0, 32);
  }
  const column = Number(given.get('column') ?? '-1');
  if (inside(column, limits.keys)) out.column = column;
  const frame = Number(given.get('frame') ?? '0');
  if (inside(frame, 1 << 16)) out.frame = frame;
  const min = Number(given.get('min'));
  if (kThresholds.includes(min)) out.min = min;
  for (const name of ['first', 'special', 'log', 'words']) {
    if (given.has(name)) out[/** @type {'first'} */ (name)] = given.get(name) === '1';
  }
  return out;
}

/** Holds the selection and what the reader points at, and tells the views. */
export class Store {
  /** @param {Selection} selection */
  constructor(selection) {
    this.selection = selection;
    /** Shown row pointed at, or -1. */
    this.hover = -1;
    /** @type {((now: Selection, before: Selection) => void)[]} */
    this.watchers = [];
    /** @type {((row: number) => void)[]} */
    this.pointers = [];
  }

  /** @param {Partial<Selection>} change */
  set(change) {
    const before = this.selection;
    this.selection = { ...before, ...change };
    for (const watcher of this.watchers) watcher(this.selection, before);
  }

  /** @param {number} row shown row, -1 for none */
  point(row) {
    if (row === this.hover) return;
    this.hover = row;
    for (const pointer of this.pointers) pointer(row);
  }

  /** Chosen head first, then those laid over it. @returns {[number, number][]} */
  heads() { return [[this.selection.layer, this.selection.head], ...this.selection.over]; }

  /** Chooses one head; keeps rows. @param {number} layer @param {number} head */
  choose(layer, head) {
    this.set({ layer, head, over: this.selection.over.filter(([l, h]) => l !== layer || h !== head) });
  }

  /** Lays a head over the chosen one, or takes it off. @param {number} layer @param {number} head */
  toggle(layer, head) {
    const { over } = this.selection;
    if (layer === this.selection.layer && head === this.selection.head) return;
    const rest = over.filter(([l, h]) => l !== layer || h !== head);
    if (rest.length < over.length) this.set({ over: rest });
    else if (over.length < kMostHeads - 1) this.set({ over: [...over, [layer, head]] });
  }

  /** @param {number} token @param {boolean} add keep the rows that are kept already */
  lock(token, add) {
    const { rows } = this.selection;
    if (rows.includes(token)) this.set({ rows: add ? rows.filter(r => r !== token) : rows.length > 1 ? [token] : [] });
    else this.set({ rows: add ? [...rows, token] : [token] });
  }
}
