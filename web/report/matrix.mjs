// @ts-check
// A matrix of the walk: a small heat map whose cells open into numbers, its shape written under it.
import { paint } from './colour.mjs';
import { el, short } from './dom.mjs';
import { numberText, t, weightText } from './words.mjs';

/** @typedef {{name: string, shape: string, rows: number, columns: number, at: (i: number, j: number) => number,
 *             kind: 'signed' | 'weight' | 'mask', rowName: (i: number) => string, columnName: (j: number) => string,
 *             row?: number, band?: [number, number], point?: (i: number, j: number) => void,
 *             click?: (i: number, j: number) => void, opened?: {i: number, j: number} | null, close?: () => void,
 *             square?: boolean}} MatrixInput opened: the cell whose numbers are open from the start */

/** Largest size among finite cells: what the darkest colour stands for. @param {MatrixInput} input */
function largest(input) {
  let most = 0;
  for (let i = 0; i < input.rows; i++) {
    for (let j = 0; j < input.columns; j++) {
      const x = Math.abs(input.at(i, j));
      if (x > most && x < Infinity) most = x;
    }
  }
  return most;
}

/** @param {MatrixInput} input @param {import('./colour.mjs').Palette} palette @param {HTMLElement} numbers where cells open */
export function matrix(input, palette, numbers) {
  const { rows, columns, kind } = input;
  const most = kind === 'signed' ? largest(input) : 1;
  const cells = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) cells[i * columns + j] = input.at(i, j);
  const colour = (/** @type {number} */ x) => {
    if (kind !== 'signed') return palette.ramp[Math.round(255 * Math.sqrt(Math.max(0, Math.min(1, x))))];
    if (!Number.isFinite(x)) return palette.ramp[palette.dark ? 40 : 24];
    const size = Math.sqrt(Math.abs(x) / (most || 1));
    return palette.signed[Math.round(127.5 + 127.5 * Math.sign(x) * size)];
  };
  const canvas = el('canvas', { 'aria-hidden': 'true' });
  paint(canvas, cells, rows, columns, colour);
  const marks = [];
  if (input.band) marks.push(el('i', { class: 'band', style: `left:${100 * input.band[0] / columns}%;width:${100 * (input.band[1] - input.band[0]) / columns}%` }));
  if (input.row !== undefined && input.row >= 0) marks.push(el('i', { class: 'follow', style: `top:${100 * input.row / rows}%;height:${100 / rows}%` }));
  const ratio = input.square ? `aspect-ratio:${columns}/${rows};max-height:none` : `height:${Math.max(28, Math.min(200, rows * 11))}px`;
  const box = el('div', { class: 'dots', style: ratio }, canvas, ...marks);
  const readout = el('span', { class: 'value' });
  const text = (/** @type {number} */ x) => (kind === 'weight' ? weightText(x) : kind === 'mask' ? String(x) : numberText(x));
  const at = (/** @type {MouseEvent} */ e) => {
    const area = box.getBoundingClientRect();
    return [Math.min(rows - 1, Math.max(0, Math.floor((e.clientY - area.top) / area.height * rows))),
      Math.min(columns - 1, Math.max(0, Math.floor((e.clientX - area.left) / area.width * columns)))];
  };
  box.addEventListener('pointermove', e => {
    const [i, j] = at(e);
    readout.textContent = `${short(input.rowName(i), 12)}, ${short(input.columnName(j), 12)}: ${text(input.at(i, j))}`;
    input.point?.(i, j);
  });
  box.addEventListener('pointerleave', () => { readout.textContent = ''; });
  const open = (/** @type {number} */ i, /** @type {number} */ j) => {
    numbers.replaceChildren(numbersTable(input, i, j, text, () => { numbers.replaceChildren(); input.close?.(); }));
  };
  if (input.opened) open(input.opened.i, input.opened.j);
  box.addEventListener('click', e => {
    const [i, j] = at(e);
    open(i, j);
    input.click?.(i, j);
  });
  const name = el('button', { class: 'name', title: t('openNumbers'), onclick: () => open(input.row ?? 0, input.band?.[0] ?? 0) }, input.name);
  const range = kind === 'signed' ? ` ±${numberText(most)}` : '';
  return el('figure', { class: input.square ? 'matrix square' : 'matrix' }, box, el('figcaption', {}, name, ' ', el('span', { class: 'shape' }, input.shape + range), readout));
}

/** Numbers around a cell. @param {MatrixInput} input @param {number} row @param {number} column @param {(x: number) => string} text @param {() => void} close */
function numbersTable(input, row, column, text, close) {
  const window = (/** @type {number} */ at, /** @type {number} */ size, /** @type {number} */ most) => {
    const first = Math.max(0, Math.min(size - most, at - Math.floor(most / 2)));
    return Array.from({ length: Math.min(size, most) }, (_, i) => first + i);
  };
  const rows = window(row, input.rows, 9);
  const columns = window(column, input.columns, 8);
  return el('div', { class: 'opened' },
    el('div', { class: 'row' }, el('b', {}, `${input.name} ${input.shape}`), el('button', { class: 'plain', onclick: close }, t('close'))),
    el('div', { class: 'scroll', tabindex: 0 }, el('table', {},
      el('thead', {}, el('tr', {}, el('th', {}), ...columns.map(j => el('th', { scope: 'col' }, short(input.columnName(j), 8))))),
      el('tbody', {}, ...rows.map(i => el('tr', {}, el('th', { scope: 'row' }, short(input.rowName(i), 12)),
        ...columns.map(j => el('td', { class: i === row && j === column ? 'on' : '' }, text(input.at(i, j))))))))));
}
