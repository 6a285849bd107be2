// @ts-check
// The map as it is shown: words merged, tokens hidden, rows scaled up again; says what it left out.
import { spoken } from './words.mjs';

/** @typedef {import('./data.mjs').Source} Source */
/** @typedef {{text: string, brief: string, first: number, last: number, special: boolean}} Unit tokens first..last, inclusive; brief: where there is little room */
/** @typedef {{words: boolean, special: boolean, first: boolean}} Options what to merge and hide */

/** Rows of which less than this share is left after hiding are left empty. */
export const kLeast = 0.05;

/** Words of the text, or single tokens. @param {Source} source @param {number} count @param {boolean} words @param {number} [layer] @returns {Unit[]} */
export function unitsOf(source, count, words, layer = -1) {
  const labels = source.labels(layer);
  /** @type {Unit[]} */
  const units = [];
  for (let i = 0; i < count; i++) {
    const label = labels[i];
    const before = labels[i - 1];
    const joins = words && label && before && !label.special && !before.special && label.word >= 0 && label.word === before.word;
    if (joins) units[units.length - 1].last = i;
    else units.push({ text: source.labelText(i, layer), brief: source.labelText(i, layer, true), first: i, last: i, special: label?.special ?? false });
  }
  for (const unit of units) if (unit.last > unit.first) unit.text = unit.brief = wordText(source, unit);
  return units;
}

/** True when some word is more than one token: then words are what people look for. @param {import('./data.mjs').Label[]} labels */
export function inPieces(labels) {
  return labels.some((label, i) => i > 0 && label.word >= 0 && label.word === labels[i - 1].word);
}

/** A word as it stands in the text, else its pieces joined. @param {Source} source @param {Unit} unit */
function wordText(source, unit) {
  const begin = source.page.labels[unit.first].begin;
  const end = source.page.labels[unit.last].end;
  if (end > begin) return new TextDecoder().decode(source.bytes.subarray(begin, end));
  let text = '';
  for (let i = unit.first; i <= unit.last; i++) text += source.labelText(i).replace(/^##/, '');
  return text;
}

/** Shown rows and columns of one head. */
export class Shown {
  /** @param {Source} source @param {number} layer @param {number} head @param {Options} options */
  constructor(source, layer, head, options) {
    const info = /** @type {import('./data.mjs').Layer} */ (source.layer(layer));
    this.source = source;
    this.layer = layer;
    this.head = head;
    this.options = options;
    this.square = info.rows === info.keys;
    const keep = (/** @type {Unit} */ unit) => !(options.special && unit.special);
    /** Rows of a run that decodes stand at the end of the keys. */
    const offset = info.options.queryOffset;
    this.columns = unitsOf(source, info.keys, options.words, layer).filter(keep);
    this.rows = this.square
      ? this.columns
      : Array.from({ length: info.rows }, (_, i) => ({ text: source.labelText(i + offset), brief: source.labelText(i + offset, -1, true), first: i, last: i, special: false }));
    this.whole = source.fits(layer) ? source.map(layer, head) : null;
    this.keys = info.keys;
    this.plain = !options.words && !options.special && !options.first;
    this.hidden = 0;
    /** @type {Float32Array | null} */
    this.cells = null;
    /** @type {{i: number, j: number, w: number}[] | undefined} */
    this.best = undefined;
    if (this.whole) {
      this.cells = this.plain ? this.whole : new Float32Array(this.rows.length * this.columns.length);
      if (!this.plain) this.fill(this.cells);
    }
  }

  /** @param {Float32Array} cells */
  fill(cells) {
    let hidden = 0;
    for (let i = 0; i < this.rows.length; i++) {
      hidden += this.fillRow(i, cells.subarray(i * this.columns.length, (i + 1) * this.columns.length));
    }
    this.hidden = this.rows.length ? hidden / this.rows.length : 0;
  }

  /** Fills one row, scaled to sum to 1 when something was hidden; gives the share that was. @param {number} i @param {Float32Array} out */
  fillRow(i, out) {
    const unit = this.rows[i];
    const pieces = unit.last - unit.first + 1;
    out.fill(0);
    let all = 0;
    for (let r = unit.first; r <= unit.last; r++) {
      const row = this.source.row(this.layer, this.head, r);
      for (let j = 0; j < row.length; j++) all += row[j] / pieces;
      this.columns.forEach((column, c) => {
        for (let j = column.first; j <= column.last; j++) out[c] += row[j] / pieces;
      });
    }
    if (this.options.first) {
      this.columns.forEach((column, c) => {
        if (column.first === 0 || (this.square && column.first === unit.first)) out[c] = 0;
      });
    }
    if (!this.options.first && !this.options.special) return 0;
    let left = 0;
    for (const w of out) left += w;
    // A row that rests on what is hidden has nothing else to say: scaled up, its dust would pass for links.
    if (left >= kLeast * all && left > 0) for (let c = 0; c < out.length; c++) out[c] = out[c] * all / left;
    else out.fill(0);
    return Math.max(0, all - left);
  }

  /** @param {number} i @returns {Float32Array} */
  row(i) {
    const n = this.columns.length;
    if (this.cells) return this.cells.subarray(i * n, (i + 1) * n);
    const out = new Float32Array(n);
    this.fillRow(i, out);
    return out;
  }

  /** What every row gives to column j. @param {number} j @returns {Float32Array} */
  column(j) {
    const out = new Float32Array(this.rows.length);
    for (let i = 0; i < out.length; i++) {
      if (this.cells) out[i] = this.cells[i * this.columns.length + j];
      else out[i] = this.plain ? this.source.weight(this.layer, this.head, i, j) : this.row(i)[j];
    }
    return out;
  }

  /** @param {number} i @param {number} j */
  at(i, j) { return this.cells ? this.cells[i * this.columns.length + j] : this.row(i)[j]; }

  /** Mean attention that each column receives. @returns {Float32Array} */
  received() {
    const out = new Float32Array(this.columns.length);
    const recorded = this.plain ? this.source.stat(this.layer, this.head, 'column_mass') : null;
    const n = Math.max(1, this.rows.length);
    if (recorded) {
      for (let j = 0; j < out.length; j++) out[j] = recorded[j] / n;
    } else if (this.cells) {
      for (let i = 0; i < this.rows.length; i++) this.row(i).forEach((w, j) => { out[j] += w / n; });
    }
    return out;
  }

  /** Share of all attention in links below a weight, over the rows given (all when none). @param {number} min @param {number[]} rows */
  below(min, rows = []) {
    let small = 0;
    let all = 0;
    const count = (/** @type {Float32Array} */ cells) => {
      for (let c = 0; c < cells.length; c++) {
        all += cells[c];
        if (cells[c] < min) small += cells[c];
      }
    };
    if (rows.length) rows.forEach(i => count(this.row(i)));
    else if (this.cells) count(this.cells);
    return all > 0 ? small / all : 0;
  }

  /** Rows that have more than one key to look at: the first row of a causal head gives itself a weight of 1, which says nothing. */
  choosing() {
    const { causal, queryOffset, prefix } = /** @type {import('./data.mjs').Layer} */ (this.source.layer(this.layer)).options;
    const forced = (/** @type {Unit} */ unit) => causal && prefix <= 1 && unit.last + queryOffset === 0;
    return this.rows.map((_, i) => i).filter(i => !forced(this.rows[i]));
  }

  /** The strongest links of all rows that choose, falling; found once. @param {number} most up to 8 */
  strongest(most) {
    this.best ??= this.cells ? this.links(8, this.choosing()) : [];
    return this.best.slice(0, most);
  }

  /** The strongest links, falling. @param {number} most @param {number[]} rows @param {number} min */
  links(most, rows = [], min = 0) {
    /** @type {{i: number, j: number, w: number}[]} */
    let found = [];
    let least = min;
    const chosen = rows.length ? rows : this.cells ? this.rows.map((_, i) => i) : [];
    for (const i of chosen) {
      const row = this.row(i);
      for (let j = 0; j < row.length; j++) {
        if (row[j] < least || row[j] <= 0) continue;
        found.push({ i, j, w: row[j] });
        if (found.length > 8 * most + 64) {
          found.sort((a, b) => b.w - a.w);
          found = found.slice(0, most);
          least = Math.max(least, found[most - 1].w);
        }
      }
    }
    return found.sort((a, b) => b.w - a.w).slice(0, most);
  }

  /** Which shown row holds a token; -1 when it is hidden. @param {number} token */
  rowOf(token) { return this.rows.findIndex(unit => token >= unit.first && token <= unit.last); }
}

/** @type {Map<string, Shown>} */
const ready = new Map();

/** A Shown from the last few made. @param {Source} source @param {number} layer @param {number} head @param {Options} o */
export function shownOf(source, layer, head, o) {
  const name = `${spoken()}${layer}.${head}.${Number(o.words)}${Number(o.special)}${Number(o.first)}`;
  let found = ready.get(name);
  if (found && found.source === source) return found;
  found = new Shown(source, layer, head, { words: o.words, special: o.special, first: o.first });
  ready.set(name, found);
  if (ready.size > 12) ready.delete(/** @type {string} */ (ready.keys().next().value));
  return found;
}
