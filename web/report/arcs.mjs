// @ts-check
// The sentence with its arcs: what a word looks at above, what looks at it below.
import { scaled } from './colour.mjs';
import { kFont, short, svg, textWidth } from './dom.mjs';
import { weightText } from './words.mjs';

/** @typedef {import('./shown.mjs').Shown} Shown */
/** @typedef {import('./shown.mjs').Unit} Unit */
/** @typedef {{i: number, j: number, w: number, letter: string, colour: string, lift: number}} Arc lift: px, so that equal
 * links of several heads lie side by side */

/** Sizes of words, px: the largest that fits. Special tokens are smaller. */
const kWordSizes = [18, 17, 16, 15];
const kSpecialSize = 13;

/** Where every word stands. @param {Unit[]} units @param {number} width px at hand */
export function layOut(units, width) {
  const texts = units.map(unit => short(unit.brief, 24) || '␣');
  const margin = 22;
  const room = width - 2 * margin - 12 * Math.max(0, units.length - 1);
  let widths = [0];
  let all = 0;
  let size = kWordSizes[0];
  for (size of kWordSizes) {
    widths = texts.map((text, i) => Math.max(14, textWidth(text, `${units[i].special ? kSpecialSize : size}px ${kFont}`)));
    all = widths.reduce((a, b) => a + b, 0);
    if (all <= room) break;
  }
  if (all > room) {  // it scrolls anyway: full size
    size = kWordSizes[0];
    widths = texts.map((text, i) => Math.max(14, textWidth(text, `${units[i].special ? kSpecialSize : size}px ${kFont}`)));
    all = widths.reduce((a, b) => a + b, 0);
  }
  const gap = units.length ? Math.max(12, Math.min(56, (width - 2 * margin - all) / Math.max(1, units.length - 1))) : 0;
  const total = all + gap * Math.max(0, units.length - 1) + 2 * margin;
  let x = Math.max(margin, (width - total) / 2 + margin);
  const centres = widths.map(w => {
    const centre = x + w / 2;
    x += w + gap;
    return centre;
  });
  return { texts, widths, centres, width: Math.max(width, total), gap, size };
}

/**
 * One arc, thick where it starts and thin where it ends.
 * @param {number} from @param {number} to @param {number} y @param {number} height negative: below the line @param {number} thick
 */
function arcPath(from, to, y, height, thick) {
  const up = Math.sign(height);
  if (from === to) {  // looks at itself: a drop
    const r = 7 + thick / 2;
    const top = y - up * (r * 2.4);
    return `M${from - thick / 3} ${y}C${from - r * 2.2} ${top} ${from + r * 2.2} ${top} ${from + 0.4} ${y}`
      + `C${from + (r * 2.2 - thick)} ${top + up * thick} ${from - (r * 2.2 - thick)} ${top + up * thick} ${from + thick / 3} ${y}Z`;
  }
  const d = Math.sign(to - from);
  const half = thick / 2;
  const peak = y - height * 4 / 3;
  const n = (/** @type {number} */ x) => x.toFixed(1);
  return `M${n(from - d * half)} ${n(y)}C${n(from - d * half)} ${n(peak - up * half)} ${n(to + d * 0.4)} ${n(peak - up * half)} ${n(to + d * 0.4)} ${n(y)}`
    + `L${n(to - d * 0.4)} ${n(y)}C${n(to - d * 0.4)} ${n(peak + up * half)} ${n(from + d * half)} ${n(peak + up * half)} ${n(from + d * half)} ${n(y)}Z`;
}

/** The drawing: words once, arcs as often as the reader moves. */
export class Arcs {
  /** @param {Unit[]} units @param {number} width @param {import('./colour.mjs').Palette} palette */
  constructor(units, width, palette) {
    this.palette = palette;
    this.place = layOut(units, width);
    const span = this.place.centres.length ? this.place.centres[this.place.centres.length - 1] - this.place.centres[0] : 0;
    const long = this.place.width > width;  // only some arcs are in sight
    this.above = Math.max(100, Math.min(long ? 180 : 280, 70 + span * 0.2));
    this.below = Math.max(60, Math.min(180, this.above * 0.6));
    this.span = Math.max(1, Math.min(span, 2 * width));
    this.base = this.above + 8;
    this.under = this.base + 30;
    this.height = this.under + this.below;
    this.all = svg('g', { class: 'arcs' });
    this.active = svg('g', { class: 'arcs' });
    this.words = this.place.texts.map((text, i) => this.word(text, i, units[i].special ? kSpecialSize : this.place.size));
    this.node = svg('svg', {
      xmlns: 'http://www.w3.org/2000/svg', width: Math.round(this.place.width), height: Math.round(this.height), class: 'sentence', 'aria-hidden': 'true',
      viewBox: `0 0 ${Math.round(this.place.width)} ${Math.round(this.height)}`, 'font-family': kFont,
    }, this.all, this.active, svg('g', {}, ...this.words));
  }

  /** @param {string} text @param {number} i @param {number} size */
  word(text, i, size) {
    const width = this.place.widths[i];
    const x = this.place.centres[i];
    return svg('g', { class: 'word', 'data-i': i },
      svg('rect', { x: x - width / 2 - 5, y: this.base + 1, width: width + 10, height: 27, rx: 5, fill: 'transparent' }),
      svg('text', { x, y: this.base + 20, 'text-anchor': 'middle', 'font-size': size, fill: this.palette.ink }, text));
  }

  /** Height of an arc between two words; the longest of the sentence fills the room. @param {number} i @param {number} j @param {number} room */
  rise(i, j, room) {
    const span = Math.abs(this.place.centres[i] - this.place.centres[j]);
    return Math.min(room - 12, 16 + (room - 30) * (span / this.span) ** 0.75);
  }

  /** @param {SVGGElement} group @param {Arc[]} arcs @param {boolean} up @param {boolean} log @param {boolean} figures */
  draw(group, arcs, up, log, figures) {
    const { centres } = this.place;
    const marks = [];
    for (const arc of [...arcs].sort((a, b) => a.w - b.w)) {
      const size = scaled(arc.w, log);
      const rise = this.rise(arc.i, arc.j, (up ? this.above : this.below) - 28) + arc.lift;
      const path = svg('path', {
        d: arcPath(centres[arc.i], centres[arc.j], up ? this.base : this.under, up ? rise : -rise, 0.8 + 8 * size),
        fill: arc.colour, 'fill-opacity': (0.22 + 0.66 * size).toFixed(2), 'data-link': `${arc.i},${arc.j}`,
      }, svg('title', {}, `${arc.letter ? arc.letter + ' ' : ''}${this.place.texts[arc.i]} → ${this.place.texts[arc.j]}  ${weightText(arc.w)}`));
      group.append(path);
      const text = [arc.letter, figures ? weightText(arc.w) : ''].filter(Boolean).join(' ');
      if (text && (figures || arc.w >= 0.15)) marks.push({ arc, text, rise, up });
    }
    for (const mark of this.readable(marks.reverse())) group.append(this.mark(mark));
  }

  /** The strongest marks that do not cover each other. @param {{arc: Arc, text: string, rise: number, up: boolean}[]} marks falling weight */
  readable(marks) {
    /** @type {{x: number, y: number, half: number}[]} */
    const taken = [];
    return marks.slice(0, 60).filter(({ arc, text, rise, up }) => {
      const at = { x: (this.place.centres[arc.i] + this.place.centres[arc.j]) / 2, y: up ? this.base - rise : this.under + rise, half: text.length * 3.6 + 3 };
      const free = taken.every(other => Math.abs(other.x - at.x) > other.half + at.half || Math.abs(other.y - at.y) > 13);
      if (free) taken.push(at);
      return free;
    });
  }

  /** @param {{arc: Arc, text: string, rise: number, up: boolean}} mark */
  mark({ arc, text, rise, up }) {
    const { centres } = this.place;
    const own = arc.i === arc.j;
    const y = up ? this.base - (own ? 21 : rise) : this.under + (own ? 21 : rise);
    return svg('text', {
      x: ((centres[arc.i] + centres[arc.j]) / 2).toFixed(1), y: (y + (up ? -3 : 11)).toFixed(1), 'text-anchor': 'middle', 'font-size': 11, 'font-weight': 600,
      fill: this.palette.ink, stroke: this.palette.paper, 'stroke-width': 3, 'paint-order': 'stroke', 'stroke-linejoin': 'round', class: 'figure',
    }, text);
  }
}
