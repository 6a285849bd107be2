// @ts-check
// Where the page's numbers come from: q, k and lse as recorded; any weight is recomputed exactly.
import { elementName } from './words.mjs';

/** @typedef {Float32Array | Float64Array | Int32Array | Uint8Array} Numbers */
/** @typedef {{shape: number[], numbers: Numbers}} Stored */
/** @typedef {{scale: number, causal: boolean, windowLeft: number, windowRight: number, prefix: number,
 *             queryOffset: number, softcap: number}} Options */
/** @typedef {{heads: number[], queryHeads: number, groups: number, rows: number, keys: number, width: number, batch: number,
 *             labels: Label[] | null, options: Options}} Layer labels: of its first sequence, where they are its own */
/** @typedef {{text: string, begin: number, end: number, word: number, special: boolean, frame: number, row: number, column: number}} Label */
/** @typedef {{kind: string, source: string, seconds: number[], values: (number | null)[], names: string[], rows: string[],
 *             stepsPerBeat: number, beatsPerBar: number, beatSeconds: number, grids: (number[] | null)[]}} Media
 * grids: frames, rows and columns of the patches of each layer */
/** @typedef {{layer: number, head: number, letter: string, shape: string, en: string, ru: string,
 *             source: string, source_ru?: string, score: number, baseline: number, n: number, here?: string[]}} Role here: what this
 * sentence shows of it, in English and Russian */
/** @typedef {{layer: number, heads: number, groups: number, rows: number, width: number, valueWidth: number,
 *             model: number, error: number}} WalkInfo */
/** @typedef {{program: string, text: string, rounded: boolean, labels: Label[], layers: (Layer | null)[],
 *             roles: Role[], walks: WalkInfo[], media: Media | null,
 *             model: {name: string, family: string, layers: number, heads: number, width: number, parameters: number},
 *             start: {layer: number, head: number, row?: number, view: string, language: string}}} Page */

/** Maps kept ready, in cells: 64 MB. */
const kKeptCells = 1 << 24;
/** Larger maps are never made whole. */
export const kMapCells = 1 << 22;

/** @param {string} text @returns {Uint8Array} */
export function decodeBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * The numbers of one stored tensor; bf16 is widened to f32.
 * @param {string} type @param {string} text base64, little-endian @returns {Numbers}
 */
export function decodeNumbers(type, text) {
  const bytes = decodeBase64(text.trim());
  switch (type) {
    case 'f32': return new Float32Array(bytes.buffer);
    case 'f64': return new Float64Array(bytes.buffer);
    case 'i32': return new Int32Array(bytes.buffer);
    case 'u8': return bytes;
    case 'bf16': {
      const halves = new Uint16Array(bytes.buffer);
      const wide = new Uint32Array(halves.length);
      for (let i = 0; i < halves.length; i++) wide[i] = halves[i] << 16;
      return new Float32Array(wide.buffer);
    }
    default: throw new Error(`[page] expected f32, f64, i32, u8 or bf16, found ${type}`);
  }
}

/** Everything the views ask for. A page that is served answers the same questions from the engine. */
export class Source {
  /** @param {Page} page @param {(name: string) => Stored | null} read */
  constructor(page, read) {
    this.page = page;
    this.read = read;
    /** @type {Map<string, Stored | null>} */
    this.stored = new Map();
    /** @type {Map<string, Float32Array>} */
    this.maps = new Map();
    /** @type {Map<string, ReturnType<Source['gather']>>} */
    this.ready = new Map();
    this.bytes = new TextEncoder().encode(page.text);
  }

  /** @param {string} name @returns {Stored | null} */
  tensor(name) {
    let found = this.stored.get(name);
    if (found === undefined) {
      found = this.read(name);
      this.stored.set(name, found);
    }
    return found;
  }

  /** @param {string} name @returns {Numbers} */
  numbers(name) {
    const found = this.tensor(name);
    if (!found) throw new Error(`[page] expected ${name} in this file, found none`);
    return found.numbers;
  }

  /** @param {number} layer @returns {Layer | null} */
  layer(layer) { return this.page.layers[layer] ?? null; }

  /** @param {number} layer @param {number} head @returns {number} -1 when the head was not recorded */
  slot(layer, head) { return this.layer(layer)?.heads.indexOf(head) ?? -1; }

  /** @param {number} layer @param {number} head */
  recorded(layer, head) { return this.slot(layer, head) >= 0; }

  /** The numbers of one head, ready for inner loops. @param {number} layer @param {number} head */
  parts(layer, head) {
    const name = `${layer}.${head}`;
    let parts = this.ready.get(name);
    if (!parts) this.ready.set(name, parts = this.gather(layer, head));
    return parts;
  }

  /** @param {number} layer @param {number} head */
  gather(layer, head) {
    const info = /** @type {Layer} */ (this.layer(layer));
    const slot = this.slot(layer, head);
    if (slot < 0) throw new Error(`[page] expected a recorded head, found ${layer}.${head}`);
    const group = Math.floor(head / (info.queryHeads / info.groups));
    const { rows, keys, width } = info;
    const q = this.numbers(`${layer}.q`).subarray(slot * rows * width, (slot + 1) * rows * width);
    const k = this.numbers(`${layer}.k`).subarray(group * keys * width, (group + 1) * keys * width);
    const lse = this.numbers(`${layer}.lse`).subarray(slot * rows, (slot + 1) * rows);
    const slopes = this.tensor(`${layer}.slopes`);
    return {
      info, q, k, lse, group,
      slope: slopes ? slopes.numbers[head] : 0,
      mask: this.tensor(`${layer}.key_mask`)?.numbers ?? null,
      bias: this.tensor(`${layer}.bias`),
    };
  }

  /** q.k of one cell, before scale. @param {number} layer @param {number} head @param {number} i @param {number} j */
  dot(layer, head, i, j) {
    const { info, q, k } = this.parts(layer, head);
    return dotProduct(q, k, i * info.width, j * info.width, info.width);
  }

  /**
   * Scores of row i; -Infinity where the row may not look.
   * @param {number} layer @param {number} head @param {number} i @param {Float64Array} [out]
   */
  scores(layer, head, i, out) {
    const parts = this.parts(layer, head);
    const { rows, keys, width, options } = parts.info;
    if (i < 0 || i >= rows) throw new Error(`[page] expected a row below ${rows}, found ${i}`);
    const result = out ?? new Float64Array(keys);
    for (let j = 0; j < keys; j++) {
      if (!visible(options, parts.mask, i, j)) { result[j] = -Infinity; continue; }
      let s = options.scale * dotProduct(parts.q, parts.k, i * width, j * width, width);
      if (options.softcap > 0) s = options.softcap * Math.tanh(s / options.softcap);
      if (parts.slope !== 0) s -= parts.slope * Math.abs(i + options.queryOffset - j);
      if (parts.bias) s += biasAt(parts.bias, head, i, j);
      result[j] = s;
    }
    return result;
  }

  /** @param {number} layer @param {number} head @param {number} i @returns {Float32Array} */
  row(layer, head, i) {
    const whole = this.maps.get(`${layer}.${head}`);
    const info = /** @type {Layer} */ (this.layer(layer));
    if (whole) return whole.subarray(i * info.keys, (i + 1) * info.keys);
    const out = new Float32Array(info.keys);
    this.fillRow(layer, head, i, out, new Float64Array(info.keys));
    return out;
  }

  /** @param {number} layer @param {number} head @param {number} i @param {Float32Array} out @param {Float64Array} scores */
  fillRow(layer, head, i, out, scores) {
    this.scores(layer, head, i, scores);
    const lse = this.parts(layer, head).lse[i];
    for (let j = 0; j < out.length; j++) out[j] = lse === -Infinity ? 0 : Math.exp(scores[j] - lse);
  }

  /** @param {number} layer @param {number} head @param {number} i @param {number} j */
  weight(layer, head, i, j) {
    const whole = this.maps.get(`${layer}.${head}`);
    const parts = this.parts(layer, head);
    const { rows, keys, width, options } = parts.info;
    if (i < 0 || j < 0 || i >= rows || j >= keys) return 0;
    if (whole) return whole[i * keys + j];
    if (!visible(options, parts.mask, i, j) || parts.lse[i] === -Infinity) return 0;
    let s = options.scale * dotProduct(parts.q, parts.k, i * width, j * width, width);
    if (options.softcap > 0) s = options.softcap * Math.tanh(s / options.softcap);
    if (parts.slope !== 0) s -= parts.slope * Math.abs(i + options.queryOffset - j);
    if (parts.bias) s += biasAt(parts.bias, head, i, j);
    return Math.exp(s - parts.lse[i]);
  }

  /** Whether the map is small enough to be made whole. @param {number} layer */
  fits(layer) {
    const info = this.layer(layer);
    return info !== null && info.rows * info.keys <= kMapCells;
  }

  /** All weights of a head, row by row. @param {number} layer @param {number} head @returns {Float32Array} */
  map(layer, head) {
    const name = `${layer}.${head}`;
    let whole = this.maps.get(name);
    if (whole) {
      this.maps.delete(name);  // to the end of the queue: used last
    } else {
      const info = /** @type {Layer} */ (this.layer(layer));
      whole = new Float32Array(info.rows * info.keys);
      const scores = new Float64Array(info.keys);
      for (let i = 0; i < info.rows; i++) {
        this.fillRow(layer, head, i, whole.subarray(i * info.keys, (i + 1) * info.keys), scores);
      }
    }
    this.maps.set(name, whole);
    let cells = 0;
    for (const map of this.maps.values()) cells += map.length;
    for (const [oldest, map] of this.maps) {
      if (cells <= kKeptCells || oldest === name) break;
      cells -= map.length;
      this.maps.delete(oldest);
    }
    return whole;
  }

  /** A recorded statistic of every row, or null. @param {number} layer @param {number} head @param {string} name */
  stat(layer, head, name) {
    const stored = this.tensor(`${layer}.${name}`);
    const slot = this.slot(layer, head);
    if (!stored || slot < 0) return null;
    const length = stored.shape.slice(1).reduce((a, b) => a * b, 1);
    return stored.numbers.subarray(slot * length, (slot + 1) * length);
  }

  /** The small map recorded of a head, or null. @param {number} layer @param {number} head @param {string} name */
  pooled(layer, head, name) {
    const stored = this.tensor(`${layer}.${name}`);
    const slot = this.slot(layer, head);
    if (!stored || slot < 0) return null;
    const [, rows, columns] = stored.shape;
    const numbers = stored.numbers.subarray(slot * rows * columns, (slot + 1) * rows * columns);
    return { rows, columns, numbers };
  }

  /**
   * Largest distance of a row's sum from 1 (a sink's share counted in), over at most `most` rows spread evenly.
   * @param {number} layer @param {number} head @param {number} [most]
   */
  rowDeviation(layer, head, most = 1024) {
    const { info, lse } = this.parts(layer, head);
    const sinks = this.tensor(`${layer}.sinks`);
    const step = Math.max(1, Math.ceil(info.rows / most));
    let largest = 0;
    let rows = 0;
    for (let i = 0; i < info.rows; i += step) {
      if (lse[i] === -Infinity) continue;
      let sum = sinks ? Math.exp(sinks.numbers[head] - lse[i]) : 0;
      for (const w of this.row(layer, head, i)) sum += w;
      largest = Math.max(largest, Math.abs(sum - 1));
      rows++;
    }
    return { largest, rows };
  }

  /** What the keys of a layer are. @param {number} layer */
  labels(layer) { return this.layer(layer)?.labels ?? this.page.labels; }

  /** What stands at position i. @param {number} i @param {number} [layer] @param {boolean} [brief] where there is little room */
  labelText(i, layer = -1, brief = false) {
    const label = this.labels(layer)[i];
    return label ? elementName(label, this.page.media, brief) : `#${i}`;
  }
}

/** @param {ArrayLike<number>} a @param {ArrayLike<number>} b @param {number} at @param {number} bt @param {number} n */
export function dotProduct(a, b, at, bt, n) {
  let sum = 0;
  for (let d = 0; d < n; d++) sum += a[at + d] * b[bt + d];
  return sum;
}

/** @param {Options} o @param {Numbers | null} mask @param {number} i @param {number} j */
export function visible(o, mask, i, j) {
  const p = i + o.queryOffset;
  if (o.causal && j > p && j >= o.prefix) return false;
  if (o.windowLeft >= 0 && j < p - o.windowLeft) return false;
  if (o.windowRight >= 0 && j > p + o.windowRight) return false;
  return !mask || mask[j] !== 0;
}

/** @param {Stored} bias [H or 1, Tq or 1, Tk] @param {number} head @param {number} i @param {number} j */
function biasAt(bias, head, i, j) {
  const [heads, rows, keys] = bias.shape;
  return bias.numbers[((heads > 1 ? head : 0) * rows + (rows > 1 ? i : 0)) * keys + j];
}
