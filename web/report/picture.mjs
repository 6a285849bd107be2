// @ts-check
// V4 for pictures and videos: light over a dimmed original, a mosaic of heads, a film strip with a scrubber.
import { el } from './dom.mjs';
import { kDimmed, lightOf } from './places.mjs';
import { Asking, askButtons, frameCanvas, pointAt, sayLight, sharpen } from './scene.mjs';
import { numberText, t, weightText } from './words.mjs';

/** @typedef {import('./main.mjs').Context} Context */
/** @typedef {import('./state.mjs').Selection} Selection */

const kMosaic = 104;
const kStrip = 132;

export class PictureView {
  /** @param {HTMLElement} root @param {Context} context */
  constructor(root, context) {
    this.root = root;
    this.context = context;
    this.hover = -1;
    this.canvas = el('canvas', { class: 'scene-main', tabindex: 0, role: 'img' });
    this.legend = el('div', { class: 'legend' });
    this.readout = el('p', { class: 'readout note' });
    this.asks = el('div', {});
    /** @type {{head: number, canvas: HTMLCanvasElement}[]} */
    this.mosaic = [];
    /** @type {HTMLCanvasElement[]} */
    this.strip = [];
    /** @type {HTMLCanvasElement[]} */
    this.pictures = [];
    this.frame = 0;
    /** @type {ReturnType<typeof setInterval> | null} */
    this.timer = null;
    this.canvas.addEventListener('pointermove', e => this.move(e));
    this.canvas.addEventListener('pointerleave', () => this.point(-1));
    this.canvas.addEventListener('click', e => { const i = this.tokenAt(e.offsetX, e.offsetY); if (i >= 0) context.store.lock(i, false); });
  }

  /** @param {Selection} now @param {Selection | null} before */
  render(now, before) {
    const rowsOnly = before && !this.context.restyled && before.layer === now.layer && before.head === now.head && before.view === now.view;
    this.frame = Math.min(now.frame, Math.max(0, this.grid(now).frames - 1));
    if (!rowsOnly || !this.root.contains(this.canvas)) this.build(now);
    this.activate();
  }

  /** Sizes of the layer's grid, and which token lies where. @param {Selection} now */
  grid(now) {
    const { source } = this.context;
    const labels = source.labels(now.layer);
    let [frames, rows, columns] = [1, 1, 1];
    for (const label of labels) {
      if (label.frame < 0) continue;
      frames = Math.max(frames, label.frame + 1);
      rows = Math.max(rows, label.row + 1);
      columns = Math.max(columns, label.column + 1);
    }
    const places = source.page.media?.grids[now.layer];
    if (places) [frames, rows, columns] = places;
    return { frames, rows, columns, labels };
  }

  /** @param {Selection} now */
  build(now) {
    const { source, store } = this.context;
    const info = /** @type {import('./data.mjs').Layer} */ (source.layer(now.layer));
    const { frames } = this.grid(now);
    const shots = source.tensor('pictures')?.shape[0] ?? 1;
    if (!this.pictures.length) this.pictures = Array.from({ length: shots }, (_, n) => frameCanvas(source, n));
    const mosaic = info.heads.map(head => {
      const canvas = el('canvas', { 'aria-hidden': 'true' });
      return { head, canvas };
    });
    this.mosaic = mosaic;
    const cells = mosaic.map(({ head, canvas }) => el('button', { class: head === now.head ? 'tile chosen' : 'tile', 'aria-pressed': String(head === now.head), title: `${t('head')} ${now.layer}.${head}`, onclick: () => store.choose(now.layer, head) }, canvas, el('small', {}, `${now.layer}.${head}`)));
    this.strip = [];
    const parts = info.batch > 1 ? el('p', { class: 'note' }, t('seenInParts', info.batch)) : null;
    this.root.replaceChildren(this.asks, ...(parts ? [parts] : []),
      el('div', { class: 'scene' }, el('figure', {}, this.canvas, this.readout, this.legend, ...(frames > 1 ? [this.film(now, frames)] : [])),
        el('section', {}, el('h3', {}, t('mosaic', now.layer)), el('p', { class: 'note' }, t('mosaicSays')), el('div', { class: 'mosaic' }, ...cells))));
  }

  /** The strip, the scrubber and the button that plays. @param {Selection} now @param {number} frames */
  film(now, frames) {
    const { store } = this.context;
    const slider = el('input', { type: 'range', min: 0, max: frames - 1, value: this.frame, 'aria-label': t('frame'), oninput: () => store.set({ frame: Number(slider.value) }) });
    this.slider = slider;
    this.strip = Array.from({ length: frames }, () => el('canvas', { 'aria-hidden': 'true' }));
    this.playing = el('button', { onclick: () => this.play() }, this.timer ? t('stop') : t('play'), ' ', el('kbd', {}, t('space')));
    return el('div', { class: 'film' }, el('div', { class: 'row' }, this.playing, slider, el('span', { class: 'note when' }, this.when(this.frame))),
      el('div', { class: 'strip scroll' }, ...this.strip.map((canvas, f) => el('button', { class: f === this.frame ? 'tile chosen' : 'tile', 'data-f': f, onclick: () => store.set({ frame: f }) }, canvas, el('small', {}, this.when(f))))));
  }

  /** @param {number} frame of the model's: several pictures may be one */
  when(frame) {
    const seconds = this.context.source.page.media?.seconds ?? [];
    const shot = this.shot(frame);
    return shot < seconds.length ? `${frame} · ${numberText(seconds[shot])} ${t('seconds')}` : String(frame);
  }

  /** @param {number} frame */
  shot(frame) { return Math.floor(this.pictures.length * frame / Math.max(1, this.grid(this.context.store.selection).frames)); }

  play() {
    const { store } = this.context;
    if (this.timer) {
      clearInterval(this.timer);
      this.timer = null;
    } else {
      this.timer = setInterval(() => {
        const { frames } = this.grid(store.selection);
        if (store.selection.view !== 'media' || frames < 2) { this.play(); return; }
        store.set({ frame: (store.selection.frame + 1) % frames });
      }, 500);
    }
    this.playing?.replaceChildren(this.timer ? t('stop') : t('play'), ' ', el('kbd', {}, t('space')));
  }

  /** @param {PointerEvent} e */
  move(e) { if (e.pointerType !== 'touch') this.point(this.tokenAt(e.offsetX, e.offsetY)); }

  /** @param {number} token */
  point(token) {
    if (token === this.hover) return;
    this.hover = token;
    pointAt(this.context, token);
    this.activate();
  }

  /** @param {number} x @param {number} y css px @returns {number} */
  tokenAt(x, y) {
    const { rows, columns, labels } = this.grid(this.context.store.selection);
    const [r, c] = [Math.floor(y / this.canvas.clientHeight * rows), Math.floor(x / this.canvas.clientWidth * columns)];
    return labels.findIndex(label => label.frame === this.frame && label.row === r && label.column === c);
  }

  /** Weights of a head by place. @param {Asking} asking @param {number} head */
  light(asking, head) {
    const { source, store } = this.context;
    const now = store.selection;
    const { frames, rows, columns } = this.grid(now);
    const out = new Float64Array(frames * rows * columns);
    const whole = asking.token < 0 ? source.stat(now.layer, head, 'light') : null;
    const weights = asking.weights(head);
    if (whole) out.set(whole);
    else asking.labels.forEach((label, j) => { if (label.frame >= 0) out[(label.frame * rows + label.row) * columns + label.column] += weights[j]; });
    let most = 0;
    for (const w of out) most = Math.max(most, w);
    return { frames, rows, columns, out, most, weights };
  }

  /** Redraws what depends on who asks: this is what a moving pointer costs. */
  activate() {
    const { source, store, palette } = this.context;
    const now = store.selection;
    if (!source.recorded(now.layer, now.head)) return;
    const asking = new Asking(this.context, this.hover);
    const light = this.light(asking, now.head);
    const width = Math.max(200, Math.min(this.canvas.parentElement?.clientWidth || 480, 560));
    this.paint(this.canvas, width, this.frame, light, asking, palette().in);
    for (const { head, canvas } of this.mosaic) this.paint(canvas, kMosaic, this.frame, head === now.head ? light : this.light(asking, head), null, '');
    this.strip.forEach((canvas, f) => {
      this.paint(canvas, kStrip, f, light, asking, palette().in);
      canvas.parentElement?.classList.toggle('chosen', f === this.frame);
    });
    if (this.slider) this.slider.value = String(this.frame);
    const when = this.root.querySelector('.when');
    if (when) when.textContent = this.when(this.frame);
    this.asks.replaceChildren(askButtons(this.context, asking));
    this.legend.replaceChildren(...sayLight(asking, light.weights, light.most));
    const best = [...light.out.keys()].sort((a, b) => light.out[b] - light.out[a]).slice(0, 3).filter(i => light.out[i] > 0);
    const place = (/** @type {number} */ i) => `${light.frames > 1 ? `${t('frame')} ${Math.floor(i / light.rows / light.columns)} ` : ''}${Math.floor(i / light.columns) % light.rows},${i % light.columns}`;
    this.readout.textContent = `${asking.name()} → ${best.map(i => `${place(i)} ${weightText(light.out[i])}`).join(' · ')}`;
    this.canvas.setAttribute('aria-label', this.readout.textContent ?? '');
  }

  /** @param {HTMLCanvasElement} canvas @param {number} width @param {number} frame @param {ReturnType<PictureView['light']>} light @param {Asking | null} asking @param {string} outline */
  paint(canvas, width, frame, light, asking, outline) {
    const picture = this.pictures[this.shot(frame)];
    const shape = picture?.width ? picture.height / picture.width : light.rows / light.columns;
    const height = Math.max(1, Math.round(width * shape));
    const context = sharpen(canvas, width, height);
    const { rows, columns } = light;
    context.imageSmoothingEnabled = (picture?.width ?? 0) > 96;
    if (picture?.width) context.drawImage(picture, 0, 0, width, height);
    else { context.fillStyle = '#FFFFFF'; context.fillRect(0, 0, width, height); }
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const part = lightOf(light.out[(frame * rows + r) * columns + c], light.most);
        context.fillStyle = `rgb(0 0 0 / ${(1 - kDimmed) * (1 - part)})`;
        const [x, y] = [Math.round(c * width / columns), Math.round(r * height / rows)];
        context.fillRect(x, y, Math.round((c + 1) * width / columns) - x, Math.round((r + 1) * height / rows) - y);
      }
    }
    const label = asking && asking.token >= 0 ? asking.labels[asking.token] : null;
    if (!label || label.frame !== frame) return;
    const [x, y, w, h] = [label.column * width / columns, label.row * height / rows, width / columns, height / rows];
    context.lineWidth = 4;
    context.strokeStyle = '#FFFFFF';
    context.strokeRect(x, y, w, h);
    context.lineWidth = 2;
    context.strokeStyle = outline;
    context.strokeRect(x, y, w, h);
  }
}
