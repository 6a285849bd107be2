// @ts-check
// The heat map: rows look at columns; numbers in the cells where there is room.
import { inkOn, paint, unscaled, weightColour } from './colour.mjs';
import { el, kFont, short, textWidth } from './dom.mjs';
import { cellText } from './words.mjs';

/** @typedef {import('./shown.mjs').Shown} Shown */
/** @typedef {import('./colour.mjs').Palette} Palette */

/** @param {HTMLCanvasElement} canvas @param {number} width @param {number} height css px */
function sharp(canvas, width, height) {
  const ratio = Math.min(3, window.devicePixelRatio || 1);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
  context.scale(ratio, ratio);
  return context;
}

/** One map with labels, and over it the cross hairs. */
export class Heat {
  /**
   * @param {Shown} shown @param {number} width px at hand @param {Palette} palette @param {boolean} log
   * @param {{point: (i: number, j: number) => void, click: (i: number, j: number, add: boolean) => void}} on
   */
  constructor(shown, width, palette, log, on) {
    this.shown = shown;
    this.palette = palette;
    this.log = log;
    this.rows = shown.rows.length;
    this.columns = shown.columns.length;
    const font = `12px ${kFont}`;
    const labels = [...shown.rows, ...shown.columns].map(unit => textWidth(short(unit.brief, 16), font));
    this.gutter = Math.min(120, Math.max(24, ...labels.slice(0, 2000)) + 10);
    this.cell = Math.min(40, (width - this.gutter - 4) / Math.max(1, this.columns));
    this.width = this.gutter + this.cell * this.columns + 2;
    this.height = this.gutter + this.cell * this.rows + 2;
    this.base = el('canvas', { 'aria-hidden': 'true' });
    this.hairs = el('canvas', { class: 'hairs', 'aria-hidden': 'true' });
    this.node = el('div', { class: 'heat', style: `width:${this.width}px;height:${this.height}px` }, this.base, this.hairs);
    this.draw(sharp(this.base, this.width, this.height));
    this.over = sharp(this.hairs, this.width, this.height);
    const at = (/** @type {MouseEvent} */ e) => this.cellAt(e.offsetX, e.offsetY);
    this.hairs.addEventListener('pointermove', e => { const [i, j] = at(e); on.point(i, j); });
    this.hairs.addEventListener('pointerleave', () => on.point(-1, -1));
    this.hairs.addEventListener('click', e => { const [i, j] = at(e); if (i >= 0) on.click(i, j, e.shiftKey); });
  }

  /** @param {number} x @param {number} y @returns {[number, number]} */
  cellAt(x, y) {
    const i = Math.floor((y - this.gutter) / this.cell);
    const j = Math.floor((x - this.gutter) / this.cell);
    return [i >= 0 && i < this.rows ? i : -1, j >= 0 && j < this.columns ? j : -1];
  }

  /** @param {CanvasRenderingContext2D} context */
  draw(context) {
    const { shown, palette, gutter, cell } = this;
    const image = el('canvas');
    const colour = (/** @type {number} */ w) => weightColour(palette, w, this.log);
    const pooled = shown.cells ? null : shown.source.pooled(shown.layer, shown.head, 'pooled_max');
    if (shown.cells) paint(image, shown.cells, this.rows, this.columns, colour);
    else if (pooled) paint(image, pooled.numbers, pooled.rows, pooled.columns, colour);
    context.imageSmoothingEnabled = cell < 1;
    context.drawImage(image, gutter, gutter, this.columns * cell, this.rows * cell);
    context.strokeStyle = palette.line;
    context.strokeRect(gutter - 0.5, gutter - 0.5, this.columns * cell + 1, this.rows * cell + 1);
    this.labels(context);
    if (cell >= 28 && shown.cells) this.figures(context);
  }

  /** @param {CanvasRenderingContext2D} context */
  labels(context) {
    const { gutter, cell, palette } = this;
    context.font = `12px ${kFont}`;
    context.fillStyle = palette.soft;
    context.textBaseline = 'middle';
    const step = Math.max(1, Math.ceil(13 / cell));
    context.textAlign = 'right';
    for (let i = 0; i < this.rows; i += step) context.fillText(short(this.shown.rows[i].brief, 16), gutter - 6, gutter + (i + 0.5) * cell, gutter - 8);
    context.textAlign = 'left';
    for (let j = 0; j < this.columns; j += step) {
      context.save();
      context.translate(gutter + (j + 0.5) * cell, gutter - 6);
      context.rotate(-Math.PI / 2);
      context.fillText(short(this.shown.columns[j].brief, 16), 0, 0, gutter - 8);
      context.restore();
    }
  }

  /** @param {CanvasRenderingContext2D} context */
  figures(context) {
    const { gutter, cell } = this;
    context.font = `11px ${kFont}`;
    context.textAlign = 'center';
    for (let i = 0; i < this.rows; i++) {
      for (let j = 0; j < this.columns; j++) {
        const w = this.shown.at(i, j);
        if (w < 0.015) continue;
        context.fillStyle = inkOn(weightColour(this.palette, w, this.log));
        context.fillText(cellText(w), gutter + (j + 0.5) * cell, gutter + (i + 0.5) * cell);
      }
    }
  }

  /** @param {number} i @param {number} j @param {number[]} kept shown rows that are kept */
  cross(i, j, kept) {
    const { over, gutter, cell, palette } = this;
    over.clearRect(0, 0, this.width, this.height);
    over.lineWidth = 2;
    over.strokeStyle = palette.out;
    for (const row of kept) over.strokeRect(gutter - 1, gutter + row * cell - 1, this.columns * cell + 2, Math.max(2, cell) + 2);
    over.lineWidth = 1;
    over.strokeStyle = palette.ink;
    if (i >= 0) over.strokeRect(gutter - 0.5, gutter + i * cell - 0.5, this.columns * cell + 1, Math.max(1, cell) + 1);
    over.strokeStyle = palette.in;
    if (j >= 0) over.strokeRect(gutter + j * cell - 0.5, gutter - 0.5, Math.max(1, cell) + 1, this.rows * cell + 1);
    if (cell < 13) this.name(i, j);
  }

  /** Labels of the cell pointed at, where there is no room for all. @param {number} i @param {number} j */
  name(i, j) {
    const { over, gutter, cell, palette } = this;
    over.font = `600 12px ${kFont}`;
    over.textBaseline = 'middle';
    const write = (/** @type {string} */ text, /** @type {'left' | 'right'} */ align) => {
      const width = Math.min(gutter - 6, textWidth(text, over.font));
      over.textAlign = align;
      over.fillStyle = palette.paper;
      over.fillRect(align === 'right' ? -width - 4 : -4, -8, width + 8, 16);
      over.fillStyle = palette.ink;
      over.fillText(text, 0, 0, gutter - 6);
    };
    if (i >= 0) {
      over.save();
      over.translate(gutter - 6, gutter + (i + 0.5) * cell);
      write(short(this.shown.rows[i].brief, 16), 'right');
      over.restore();
    }
    if (j >= 0) {
      over.save();
      over.translate(gutter + (j + 0.5) * cell, gutter - 6);
      over.rotate(-Math.PI / 2);
      write(short(this.shown.columns[j].brief, 16), 'left');
      over.restore();
    }
  }
}

/** The scale of weights, drawn as they are coloured. @param {Palette} palette @param {boolean} log */
export function scaleBar(palette, log) {
  const bar = el('canvas', { class: 'bar', 'aria-hidden': 'true' });
  paint(bar, Float64Array.from({ length: 256 }, (_, i) => unscaled(i / 255, log)), 1, 256, w => weightColour(palette, w, log));
  const ticks = (log ? [0.0001, 0.001, 0.01, 0.1, 1] : [0, 0.05, 0.25, 0.5, 1]);
  const marks = ticks.map(w => {
    const at = log ? 1 + Math.log10(w) / 4 : Math.sqrt(w);
    return el('span', { style: `left:${(at * 100).toFixed(1)}%` }, w === 1 ? '1' : w === 0 ? '0' : String(w).replace(/^0/, ''));
  });
  return el('div', { class: 'scale placed' }, bar, el('div', { class: 'ticks' }, ...marks));
}
