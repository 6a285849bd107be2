// @ts-check
// What the reader can take away: the picture of the head, its weights, the selection.
import { Arcs } from './arcs.mjs';
import { cssOf, inkOn, kHues, kLetters, paint, weightColour } from './colour.mjs';
import { el, kFont, short, svg, textWidth } from './dom.mjs';
import { arcsOf, incomingOf, kAllArcs } from './head.mjs';
import { shownOf } from './shown.mjs';
import { cellText, percentText, t, weightText } from './words.mjs';

/** @typedef {import('./main.mjs').Context} Context */
/** @typedef {import('./shown.mjs').Shown} Shown */

/** @param {Context} context @param {string} end */
function fileName(context, end) {
  const { layer, head } = context.store.selection;
  const model = context.source.page.model.name.replace(/^.*\//, '').replace(/[^\p{L}\p{N}._-]+/gu, '-').slice(0, 60) || 'model';
  return `headscope-${model}-${layer}.${head}.${end}`;
}

/** @param {Blob} blob @param {string} name */
function save(blob, name) {
  const link = el('a', { download: name });
  link.href = URL.createObjectURL(blob);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** The map as a picture: cells as rectangles while there are few, else as an image. @param {Shown} shown @param {Context} context */
function mapPicture(shown, context) {
  const palette = context.palette();
  const { log } = context.store.selection;
  const n = shown.columns.length;
  const cell = Math.max(1, Math.min(32, 640 / n));
  const gutter = Math.min(120, 14 + Math.max(...[...shown.rows, ...shown.columns].slice(0, 400).map(unit => textWidth(short(unit.brief, 16), `12px ${kFont}`))));
  const group = svg('g', {});
  const [width, height] = [n * cell, shown.rows.length * cell];
  if (shown.cells && n <= 64) {
    for (let i = 0; i < shown.rows.length; i++) {
      for (let j = 0; j < n; j++) {
        const w = shown.at(i, j);
        const colour = weightColour(palette, w, log);
        group.append(svg('rect', { x: gutter + j * cell, y: gutter + i * cell, width: cell, height: cell, fill: cssOf(colour) }));
        if (cell >= 28 && w >= 0.02) group.append(svg('text', { x: gutter + (j + 0.5) * cell, y: gutter + (i + 0.5) * cell + 4, 'text-anchor': 'middle', 'font-size': 11, fill: inkOn(colour) }, cellText(w)));
      }
    }
  } else {
    const canvas = el('canvas');
    const pooled = shown.cells ? null : shown.source.pooled(shown.layer, shown.head, 'pooled_max');
    if (shown.cells) paint(canvas, shown.cells, shown.rows.length, n, w => weightColour(palette, w, log));
    else if (pooled) paint(canvas, pooled.numbers, pooled.rows, pooled.columns, w => weightColour(palette, w, log));
    group.append(svg('image', { x: gutter, y: gutter, width, height, href: canvas.toDataURL('image/png'), preserveAspectRatio: 'none', style: 'image-rendering:pixelated' }));
  }
  const step = Math.max(1, Math.ceil(13 / cell));
  for (let i = 0; i < shown.rows.length; i += step) group.append(svg('text', { x: gutter - 6, y: gutter + (i + 0.5) * cell + 4, 'text-anchor': 'end', 'font-size': 12, fill: palette.soft }, short(shown.rows[i].brief, 16)));
  for (let j = 0; j < n; j += step) group.append(svg('text', { transform: `translate(${gutter + (j + 0.5) * cell + 4} ${gutter - 6}) rotate(-90)`, 'font-size': 12, fill: palette.soft }, short(shown.columns[j].brief, 16)));
  return { group, width: gutter + width, height: gutter + height };
}

/** The shown head as one drawing: title, arcs, map. @param {Context} context @returns {SVGSVGElement} */
export function picture(context) {
  const { source, store } = context;
  const palette = context.palette();
  const now = store.selection;
  const shown = shownOf(source, now.layer, now.head, now);
  const map = mapPicture(shown, context);
  const arcs = new Arcs(shown.columns, Math.max(640, map.width), palette);
  const rows = now.rows.map(token => shown.rowOf(token)).filter(i => i >= 0);
  const heads = store.heads();
  const drawn = rows.length > 0 || shown.columns.length <= kAllArcs;
  if (drawn) {
    heads.forEach(([layer, head], at) => {
      if (!source.recorded(layer, head)) return;
      const several = heads.length > 1;
      const each = shownOf(source, layer, head, now);
      if (each.columns.length !== shown.columns.length) return;
      arcs.draw(arcs.all, arcsOf(each, now.min, rows, several ? kHues[at] : palette.out, several ? kLetters[at] : ''), true, now.log, rows.length > 0);
      if (rows.length) arcs.draw(arcs.all, incomingOf(each, now.min, rows, several ? kHues[at] : palette.in, several ? kLetters[at] : ''), false, now.log, true);
    });
  }
  const sentence = !drawn ? 0 : rows.length ? arcs.height : arcs.under + 8;
  const width = Math.ceil(Math.max(drawn ? arcs.place.width : 640, map.width) + 32);
  const height = Math.ceil(56 + sentence + map.height + 48);
  arcs.node.setAttribute('x', '16');
  arcs.node.setAttribute('y', '44');
  map.group.setAttribute('transform', `translate(16 ${52 + sentence})`);
  const names = heads.map(([layer, head], at) => `${heads.length > 1 ? kLetters[at] + ' ' : ''}${layer}.${head}`).join('  ');
  const note = [t('below', weightText(now.min), percentText(shown.below(now.min, rows))), now.first ? t('hideFirst') : '', now.special ? t('hideSpecial') : '', now.words ? t('words') : '', now.log ? t('log') : ''].filter(Boolean).join(' · ');
  return svg('svg', { xmlns: 'http://www.w3.org/2000/svg', width, height, viewBox: `0 0 ${width} ${height}`, 'font-family': kFont },
    svg('rect', { width, height, fill: palette.paper }),
    svg('text', { x: 16, y: 30, 'font-size': 18, 'font-weight': 600, fill: palette.ink }, `${short(source.page.model.name, 40)}  ${names}`),
    drawn ? arcs.node : null, map.group,
    svg('text', { x: 16, y: height - 16, 'font-size': 12, fill: palette.soft }, note));
}

/** @param {Context} context @returns {string} */
export function svgText(context) { return new XMLSerializer().serializeToString(picture(context)); }

/** Weights as shown, rows looking at columns. @param {Shown} shown @returns {string} */
export function csvText(shown) {
  // A leading = + - @ would be a formula to a spreadsheet.
  const field = (/** @type {string} */ text) => `"${(/^[=+\-@\t\r]/.test(text) ? "'" : '') + text.replaceAll('"', '""')}"`;
  const lines = [['', ...shown.columns.map(unit => field(unit.text))].join(',')];
  shown.rows.forEach((unit, i) => lines.push([field(unit.text), ...Array.from(shown.row(i), w => w.toPrecision(9))].join(',')));
  return lines.join('\r\n') + '\r\n';
}

/** The buttons' work. @param {Context} context @returns {Record<string, () => void>} */
export function exportsOf(context) {
  const shown = () => shownOf(context.source, context.store.selection.layer, context.store.selection.head, context.store.selection);
  return {
    svg: () => save(new Blob([svgText(context)], { type: 'image/svg+xml' }), fileName(context, 'svg')),
    png: () => {
      const drawing = picture(context);
      const image = new Image();
      const address = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(drawing)], { type: 'image/svg+xml' }));
      image.onload = () => {
        const [width, height] = ['width', 'height'].map(name => Number(drawing.getAttribute(name)));
        const scale = Math.min(2, 16000 / Math.max(width, height));
        const canvas = el('canvas', { width: Math.round(width * scale), height: Math.round(height * scale) });
        canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
        URL.revokeObjectURL(address);
        canvas.toBlob(blob => blob && save(blob, fileName(context, 'png')));
      };
      image.src = address;
    },
    csv: () => save(new Blob(['\ufeff', csvText(shown())], { type: 'text/csv' }), fileName(context, 'csv')),
    json: () => {
      const { page } = context.source;
      const all = { program: `headscope ${page.program}`, model: page.model.name, text: page.text, selection: context.store.selection };
      save(new Blob([JSON.stringify(all, null, 2) + '\n'], { type: 'application/json' }), fileName(context, 'json'));
    },
  };
}
