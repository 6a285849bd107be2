// @ts-check
// What the media views share: where tokens lie in the scene, whose view is drawn, how light is spread.
import { el } from './dom.mjs';
import { shownOf } from './shown.mjs';
import { percentText, t, weightText } from './words.mjs';

/** @typedef {import('./main.mjs').Context} Context */
/** @typedef {import('./state.mjs').Selection} Selection */
/** @typedef {import('./data.mjs').Label} Label */

/** Everything of one frame as a canvas of its own size. @param {import('./data.mjs').Source} source @param {number} frame */
export function frameCanvas(source, frame) {
  const stored = source.tensor('pictures');
  const canvas = el('canvas', {});
  if (!stored) return canvas;
  const [count, height, width] = stored.shape;
  const at = Math.max(0, Math.min(count - 1, frame)) * height * width * 3;
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  if (!context) return canvas;
  const image = context.createImageData(width, height);
  for (let i = 0, from = at; i < width * height; i++, from += 3) {
    image.data[4 * i] = stored.numbers[from];
    image.data[4 * i + 1] = stored.numbers[from + 1];
    image.data[4 * i + 2] = stored.numbers[from + 2];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

/** The token that asks, and the weights of its row; -1 and the mean over all rows when none does. */
export class Asking {
  /** @param {Context} context @param {number} hover token pointed at, or -1 */
  constructor(context, hover) {
    const { source, store } = context;
    const now = store.selection;
    this.source = source;
    this.layer = now.layer;
    this.info = /** @type {import('./data.mjs').Layer} */ (source.layer(now.layer));
    this.labels = source.labels(now.layer);
    const kept = now.rows.find(i => i < this.info.rows) ?? -1;
    this.token = this.info.rows !== this.info.keys ? -1 : hover >= 0 ? hover : kept;
  }

  /** Weights of every key under a head. @param {number} head @returns {ArrayLike<number>} */
  weights(head) {
    const { source, layer, info } = this;
    if (this.token >= 0) return source.row(layer, head, this.token);
    const mass = source.stat(layer, head, 'column_mass');
    if (!mass) return new Float32Array(info.keys);
    return Float32Array.from(mass, m => m / info.rows);
  }

  /** In words. */
  name() { return this.token >= 0 ? this.source.labelText(this.token, this.layer) : t('allRows'); }
}

/** Says who asks and how much of its weight lies in the scene. @param {Asking} asking @param {ArrayLike<number>} weights @param {number} most */
export function sayLight(asking, weights, most) {
  let inside = 0;
  let all = 0;
  for (let j = 0; j < weights.length; j++) {
    all += weights[j];
    if (!asking.labels[j]?.special) inside += weights[j];
  }
  return [el('span', {}, t(asking.labels.some(label => label.frame >= 0) ? 'lightScale' : 'inkScale', weightText(most))), el('span', {}, t('lightInside', percentText(all > 0 ? inside / all : 0)))];
}

/** Buttons for what lies nowhere ([CLS], [start]) and for the mean. @param {Context} context @param {Asking} asking */
export function askButtons(context, asking) {
  const { store } = context;
  const special = asking.labels.map((label, i) => ({ label, i })).filter(({ label }) => label.special).slice(0, 6);
  const button = (/** @type {string} */ name, /** @type {number[]} */ rows, /** @type {boolean} */ on) => el('button', { 'aria-pressed': String(on), onclick: () => store.set({ rows }) }, name);
  return el('div', { class: 'row controls' }, el('span', {}, t('asks')), button(t('allRows'), [], asking.token < 0),
    ...special.map(({ label, i }) => button(label.text, [i], asking.token === i)),
    el('b', { class: 'asker' }, asking.token >= 0 && !asking.labels[asking.token]?.special ? asking.name() : ''));
}

/** Tells the other views what the pointer is on. @param {Context} context @param {number} token */
export function pointAt(context, token) {
  const { source, store } = context;
  const now = store.selection;
  store.point(token < 0 ? -1 : shownOf(source, now.layer, now.head, now).rowOf(token));
}

/** A canvas with as many dots as the screen has. @param {HTMLCanvasElement} canvas @param {number} width @param {number} height css px */
export function sharpen(canvas, width, height) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}
