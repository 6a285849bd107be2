// @ts-check
// What a head does, in figures: means over rows, and what they amount to in words.

/** @typedef {import('./data.mjs').Source} Source */
/** @typedef {{value: number, rows: number}} Figure mean over that many rows */

/** Measures of a head: recorded tensor or computed from weights, and the unit on screen. */
export const kMeasures = ['entropy', 'max_weight', 'distance_mean', 'first', 'self', 'previous', 'next', 'last'];

/** Units by measure: nats, tokens, or a share of attention. @type {Record<string, string>} */
export const kUnits = { entropy: 'nats', distance_mean: 'tokens' };

/** @param {ArrayLike<number>} numbers @param {number} from @param {number} to @returns {Figure} */
function mean(numbers, from, to) {
  let sum = 0;
  for (let i = from; i < to; i++) sum += numbers[i];
  const rows = Math.max(0, to - from);
  return { value: rows ? sum / rows : 0, rows };
}

/** Statistics of rows that were not recorded, from the weights. @param {Source} source @param {number} layer @param {number} head */
function fromWeights(source, layer, head) {
  const info = /** @type {import('./data.mjs').Layer} */ (source.layer(layer));
  const out = {
    entropy: new Float64Array(info.rows), max_weight: new Float64Array(info.rows),
    distance_mean: new Float64Array(info.rows),
  };
  for (let i = 0; i < info.rows; i++) {
    const row = source.row(layer, head, i);
    for (let j = 0; j < info.keys; j++) {
      const w = row[j];
      if (w > 0) out.entropy[i] -= w * Math.log(w);
      if (w > out.max_weight[i]) out.max_weight[i] = w;
      out.distance_mean[i] += w * Math.abs(i + info.options.queryOffset - j);
    }
  }
  return out;
}

/** Mean weight on the key `offset` away, over the rows that have one. @param {Source} source @param {number} layer @param {number} head @param {number} offset */
function shifted(source, layer, head, offset) {
  const info = /** @type {import('./data.mjs').Layer} */ (source.layer(layer));
  let sum = 0;
  let rows = 0;
  for (let i = 0; i < info.rows; i++) {
    const j = i + info.options.queryOffset + offset;
    if (j < 0 || j >= info.keys) continue;
    sum += source.weight(layer, head, i, j);
    rows++;
  }
  return { value: rows ? sum / rows : 0, rows };
}

/** Mean weight on one key. @param {Source} source @param {number} layer @param {number} head @param {number} key @param {boolean} skipOwn */
function onKey(source, layer, head, key, skipOwn) {
  const info = /** @type {import('./data.mjs').Layer} */ (source.layer(layer));
  let sum = 0;
  let rows = 0;
  for (let i = 0; i < info.rows; i++) {
    if (skipOwn && info.rows > 1 && i + info.options.queryOffset === key) continue;
    sum += source.weight(layer, head, i, key);
    rows++;
  }
  return { value: rows ? sum / rows : 0, rows };
}

/** @type {WeakMap<Source, Map<string, Figure>>} */
const kept = new WeakMap();

/**
 * One measure of one head. first, last: rows of that token itself not counted; previous, next: rows that have one.
 * @param {Source} source @param {number} layer @param {number} head @param {string} measure @returns {Figure}
 */
export function measureOf(source, layer, head, measure) {
  let known = kept.get(source);
  if (!known) kept.set(source, known = new Map());
  const name = `${layer}.${head}.${measure}`;
  let figure = known.get(name);
  if (!figure) known.set(name, figure = computed(source, layer, head, measure));
  return figure;
}

/** @param {Source} source @param {number} layer @param {number} head @param {string} measure @returns {Figure} */
function computed(source, layer, head, measure) {
  const info = /** @type {import('./data.mjs').Layer} */ (source.layer(layer));
  switch (measure) {
    case 'previous': return shifted(source, layer, head, -1);
    case 'next': return shifted(source, layer, head, 1);
    case 'self': return shifted(source, layer, head, 0);
    case 'first': return onKey(source, layer, head, 0, true);
    case 'last': return onKey(source, layer, head, info.keys - 1, true);
    default: {
      const numbers = source.stat(layer, head, measure);
      if (numbers) return mean(numbers, 0, info.rows);
      const all = /** @type {Record<string, Float64Array>} */ (fromWeights(source, layer, head));
      return mean(all[measure], 0, info.rows);
    }
  }
}

/** Rows whose entropy is below that of two places looked at evenly look at nearly one, nats. */
export const kOnePlace = Math.LN2;

/**
 * What the head mostly does, measured: the largest of the fixed looks, or how broad it is. Never a name.
 * @param {Source} source @param {number} layer @param {number} head
 * @returns {{kind: string, degree: 'mostly' | 'often' | 'broad' | 'single' | 'mixed', value: number, rows: number}}
 */
export function describeHead(source, layer, head) {
  const looks = ['previous', 'next', 'self', 'first', 'last'].map(kind => ({ kind, ...measureOf(source, layer, head, kind) }));
  const top = looks.reduce((a, b) => (b.value > a.value ? b : a));
  const info = /** @type {import('./data.mjs').Layer} */ (source.layer(layer));
  const entropy = measureOf(source, layer, head, 'entropy');
  if (top.value >= 0.5) return { ...top, degree: 'mostly' };
  // A causal row i has i + 1 keys to choose from; the even share is judged against what rows could reach.
  let most = 0;
  for (let i = 0; i < info.rows; i++) most += Math.log(info.options.causal ? Math.min(info.keys, i + info.options.queryOffset + 1) : info.keys);
  most /= Math.max(1, info.rows);
  if (most > 0 && entropy.value >= 0.85 * most) return { kind: 'broad', degree: 'broad', value: entropy.value, rows: entropy.rows };
  if (top.value >= 0.3) return { ...top, degree: 'often' };
  const degree = entropy.value < kOnePlace ? 'single' : 'mixed';
  return { kind: degree, degree, value: entropy.value, rows: entropy.rows };
}

/** The role with the highest score, if the head has any. @param {Source} source @param {number} layer @param {number} head */
export function rolesOf(source, layer, head) {
  return source.page.roles.filter(role => role.layer === layer && role.head === head).sort((a, b) => b.score - a.score);
}
