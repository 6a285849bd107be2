// @ts-check
// V2, the head: arcs over the sentence, the text shaded, the map.
import { Arcs } from './arcs.mjs';
import { cssOf, inkOn, kHues, kLetters, weightColour } from './colour.mjs';
import { el, svg } from './dom.mjs';
import { Heat, scaleBar } from './heat.mjs';
import { shownOf } from './shown.mjs';
import { kThresholds } from './state.mjs';
import { fitting, numberText, percentText, t, weightText } from './words.mjs';

/** @typedef {import('./main.mjs').Context} Context */
/** @typedef {import('./state.mjs').Selection} Selection */
/** @typedef {import('./shown.mjs').Shown} Shown */

/** Up to this many words all arcs are drawn at once. */
export const kAllArcs = 64;

/** How one of several heads is drawn. @param {string} letter */
function liftOf(letter) { return letter ? 3 * kLetters.indexOf(letter) : 0; }

/** Arcs of a head in a hue: all of them, or those of given rows. @param {Shown} shown @param {number} min @param {number[]} rows @param {string} colour @param {string} letter */
export function arcsOf(shown, min, rows, colour, letter) {
  return shown.links(4000, rows, min).map(link => ({ ...link, letter, colour, lift: liftOf(letter) }));
}

/** What a row's columns receive from all: arcs below the line. @param {Shown} shown @param {number} min @param {number[]} rows @param {string} colour @param {string} letter */
export function incomingOf(shown, min, rows, colour, letter) {
  if (!shown.square) return [];
  return rows.flatMap(j => [...shown.column(j)].map((w, i) => ({ i, j, w, letter, colour, lift: liftOf(letter) })).filter(arc => arc.w >= min && arc.w > 0));
}

export class HeadView {
  /** @param {HTMLElement} root @param {Context} context */
  constructor(root, context) {
    this.root = root;
    this.context = context;
    /** @type {Arcs | null} */
    this.arcs = null;
    /** @type {Heat | null} */
    this.heat = null;
    this.layout = '';
    this.scroller = el('div', { class: 'scroll arcs-box', tabindex: 0, role: 'img' });
    this.hint = el('p', { class: 'note hint' });
    this.legend = el('div', { class: 'legend' });
    this.text = el('p', { class: 'shaded' });
    this.said = el('span', { class: 'note' });
    this.map = el('div', { class: 'scroll' });
    this.readout = el('p', { class: 'readout note' });
    /** @type {HTMLElement[]} */
    this.marks = [];
    /** Colours of the marks as they are. @type {number[]} */
    this.shades = [];
    /** Rows marked in the sentence. @type {number[]} */
    this.lit = [];
  }

  /** @returns {Shown} */
  get shown() {
    const { selection } = this.context.store;
    return shownOf(this.context.source, selection.layer, selection.head, selection);
  }

  /** Heads on screen that were recorded, with their hues. @returns {{shown: Shown, colour: string, letter: string}[]} */
  layers() {
    const { source, store, palette } = this.context;
    const heads = store.heads();
    return heads.map(([layer, head], at) => ({ layer, head, at })).filter(({ layer, head }) => source.recorded(layer, head)).map(({ layer, head, at }) => ({
      shown: shownOf(source, layer, head, store.selection),
      colour: heads.length > 1 ? kHues[at] : palette().out,
      letter: heads.length > 1 ? kLetters[at] : '',
    })).filter(({ shown }) => shown.columns.length === this.shown.columns.length);
  }

  /** @param {Selection} now @param {Selection | null} before */
  render(now, before) {
    const rowsOnly = before && !this.context.restyled && Object.entries(now).every(([name, value]) => ['rows', 'column'].includes(name) || value === /** @type {any} */ (before)[name]);
    if (!rowsOnly || !this.heat) this.build(now);
    this.activate();
    if (now.rows.length && (!before || now.rows !== before.rows)) this.reveal(this.shown.rowOf(now.rows[now.rows.length - 1]));
  }

  /** @param {Selection} now */
  build(now) {
    const { palette, store } = this.context;
    const width = this.root.clientWidth;
    const { shown } = this;
    this.sentence(now, shown, width);
    const [left, top] = [this.scroller.scrollLeft, this.text.scrollTop];  // lost when a node is moved
    this.root.replaceChildren(
      this.controls(now),
      el('section', { class: 'figure' }, this.scroller, this.hint, this.legend),
      el('div', { class: 'below' },
        el('section', {}, el('div', { class: 'row' }, el('h3', {}, fitting('shading', this.context.source.page.media)), this.said), this.text),
        el('section', {}, el('div', { class: 'row' }, el('h3', {}, t('heat')), el('span', { class: 'note' }, t('heatHelp'))), scaleBar(palette(), now.log), this.readout, this.map, this.asTable())));
    this.heat = new Heat(shown, Math.max(200, Math.min(this.map.clientWidth || width, 1100)), palette(), now.log, {
      point: (i, j) => this.point(i, j),
      click: (i, _j, add) => store.lock(shown.rows[i].first, add),
    });
    this.map.replaceChildren(this.heat.node);
    this.scroller.scrollLeft = left;
    this.text.scrollTop = top;
    if (!shown.cells) this.readout.textContent = t('heatPooled', shown.rows.length, shown.columns.length);
    else if (this.heat.cell < 0.99) this.readout.textContent = t('heatShrunk', (1 / this.heat.cell).toFixed(1));
    else this.readout.textContent = '';
    this.resting = this.readout.textContent;
  }

  /** Words of the sentence; kept while only the head changes. @param {Selection} now @param {Shown} shown @param {number} width */
  sentence(now, shown, width) {
    const { palette, store } = this.context;
    const layout = [width, now.words, now.special, now.theme, palette().dark, now.lang, shown.columns.length].join(' ');
    if (layout !== this.layout || !this.arcs) {
      this.layout = layout;
      this.arcs = new Arcs(shown.columns, width, palette());
      this.listen(this.arcs.node);
      this.scroller.replaceChildren(this.arcs.node);
      this.marks = shown.columns.map((unit, i) => el('button', { class: unit.special ? 'shade special' : 'shade', 'data-i': i, tabindex: i ? -1 : 0, title: unit.brief === unit.text ? null : unit.text }, unit.brief || '␣'));
      this.shades = [];
      this.lit = [];
      this.text.replaceChildren(...this.marks.flatMap(mark => [mark, ' ']));
      this.listen(this.text);
    }
    this.arcs.all.replaceChildren();
    if (shown.columns.length > kAllArcs) return;
    for (const { shown: each, colour, letter } of this.layers()) this.arcs.draw(this.arcs.all, arcsOf(each, now.min, [], colour, letter), true, now.log, false);
  }

  /** @param {Element} node */
  listen(node) {
    const { store } = this.context;
    const at = (/** @type {Event} */ e) => {
      const found = e.target instanceof Element ? e.target.closest('[data-i]') : null;
      return found ? Number(found.getAttribute('data-i')) : -1;
    };
    if (node === this.text && this.listening) return;
    if (node === this.text) this.listening = true;
    node.addEventListener('pointerover', e => { if (/** @type {PointerEvent} */ (e).pointerType !== 'touch') store.point(at(e)); });
    node.addEventListener('pointerleave', () => store.point(-1));
    node.addEventListener('focusin', e => store.point(at(e)));
    node.addEventListener('focusout', () => store.point(-1));
    node.addEventListener('click', e => { if (at(e) >= 0) store.lock(this.shown.columns[at(e)].first, /** @type {MouseEvent} */ (e).shiftKey); });
    node.addEventListener('dblclick', e => { if (at(e) >= 0) store.set({ rows: [this.shown.columns[at(e)].first], over: [] }); });
  }

  /** @param {Selection} now */
  controls(now) {
    const { store } = this.context;
    const toggle = (/** @type {'first' | 'special' | 'log' | 'words'} */ name, /** @type {string} */ label) => el('label', { class: 'chip', title: t(`${label}Help`) },
      el('input', { type: 'checkbox', checked: now[name], onchange: (/** @type {Event} */ e) => store.set({ [name]: /** @type {HTMLInputElement} */ (e.target).checked }) }), t(label));
    const least = el('select', { title: t('thresholdHelp'), onchange: (/** @type {Event} */ e) => store.set({ min: Number(/** @type {HTMLSelectElement} */ (e.target).value) }) },
      ...kThresholds.map(min => el('option', { value: min, selected: min === now.min }, weightText(min))));
    return el('div', { class: 'row controls' }, toggle('first', 'hideFirst'), toggle('special', 'hideSpecial'), toggle('words', 'words'), toggle('log', 'log'),
      el('label', {}, t('threshold'), least));
  }

  /** Rows that arcs and shades are about: the one pointed at, else those kept. @returns {number[]} */
  rows() {
    const { store } = this.context;
    if (store.hover >= 0) return [store.hover];
    return store.selection.rows.map(token => this.shown.rowOf(token)).filter(i => i >= 0);
  }

  /** Redraws what depends on the rows only: this is what a moving pointer costs. */
  activate() {
    const { store, palette } = this.context;
    const { arcs, heat, shown } = this;
    if (!arcs || !heat) return;
    const now = store.selection;
    const rows = this.rows();
    const several = now.over.length > 0;
    arcs.active.replaceChildren();
    arcs.all.style.display = rows.length ? 'none' : '';
    if (rows.length) {
      const layers = this.layers();
      const out = layers.flatMap(each => arcsOf(each.shown, now.min, rows, each.colour, each.letter));
      const incoming = layers.flatMap(each => incomingOf(each.shown, now.min, rows, several ? each.colour : palette().in, each.letter));
      arcs.draw(arcs.active, out.slice(0, 400), true, now.log, true);
      arcs.draw(arcs.active, incoming.sort((a, b) => b.w - a.w).slice(0, 400), false, now.log, true);
    }
    const kept = now.rows.map(token => shown.rowOf(token)).filter(i => i >= 0);
    for (const i of new Set([...this.lit, ...rows])) {
      const on = rows.includes(i);
      arcs.words[i]?.firstElementChild?.setAttribute('fill', on ? palette().line : 'transparent');
      arcs.words[i]?.lastElementChild?.setAttribute('font-weight', on ? '700' : '400');
      this.marks[i]?.classList.toggle('on', on);
    }
    this.lit = rows;
    heat.cross(store.hover, -1, kept);
    this.shadeText(rows);
    this.explain(rows);
  }

  /** @param {number[]} rows */
  shadeText(rows) {
    const { palette, store } = this.context;
    const { shown } = this;
    const weights = rows.length ? shown.row(rows[0]) : shown.received();
    this.said.textContent = rows.length ? t('shadeRow', shown.rows[rows[0]].text) : fitting('shadeReceived', this.context.source.page.media);
    this.marks.forEach((mark, j) => {
      const colour = weightColour(palette(), weights[j], store.selection.log);
      if (this.shades[j] === colour) return;  // most words of a long text stay as they are
      this.shades[j] = colour;
      mark.style.background = cssOf(colour);
      mark.style.color = inkOn(colour);
    });
  }

  /** @param {number[]} rows */
  explain(rows) {
    const { store, palette, source } = this.context;
    const { shown } = this;
    const now = store.selection;
    const long = shown.columns.length > kAllArcs;
    this.hint.textContent = rows.length ? '' : fitting(long ? 'longHint' : 'hint', source.page.media);
    if (this.arcs) this.hint.style.top = `${this.arcs.under + this.arcs.below / 2 - 10}px`;
    const lines = [];
    if (rows.length && !now.over.length) {
      lines.push(el('span', { class: 'key' }, dot(palette().out), t('above')), el('span', { class: 'key' }, dot(palette().in), t('under')));
    } else if (rows.length) {
      lines.push(el('span', { class: 'key' }, t('above')), el('span', { class: 'key' }, t('under')));
    } else if (!long) lines.push(el('span', {}, fitting('allAbove', source.page.media)));
    if (now.over.length) store.heads().forEach(([l, h], at) => lines.push(el('span', { class: 'key' }, dot(kHues[at]), el('b', {}, kLetters[at]), ` ${l}.${h}`)));
    if (rows.length || shown.cells) lines.push(el('span', {}, t('below', weightText(now.min), percentText(shown.below(now.min, rows)))));
    if (shown.hidden > 0) lines.push(el('strong', {}, t('renormalised', percentText(shown.hidden))));
    if (source.page.rounded) {
      const deviation = source.rowDeviation(now.layer, now.head);
      lines.push(el('strong', {}, t('rounded', numberText(deviation.largest), deviation.rows)));
    }
    this.legend.replaceChildren(...lines);
    this.scroller.setAttribute('aria-label', (rows.length ? shown.links(5, rows) : shown.strongest(5)).map(({ i, j, w }) => `${shown.rows[i].text} → ${shown.columns[j].text} ${weightText(w)}`).join('; '));
  }

  /** A cell of the map under the pointer. @param {number} i @param {number} j */
  point(i, j) {
    const { store } = this.context;
    const { shown, heat } = this;
    store.point(i);
    const kept = store.selection.rows.map(token => shown.rowOf(token)).filter(row => row >= 0);
    heat?.cross(i, j, kept);
    this.readout.textContent = i >= 0 && j >= 0 ? t('looksAt', shown.rows[i].text, shown.columns[j].text, weightText(shown.at(i, j))) : this.resting ?? '';
  }

  /** Brings a word of a long sentence into sight. @param {number} i */
  reveal(i) {
    if (i < 0 || !this.arcs) return;
    const x = this.arcs.place.centres[i] - this.scroller.clientWidth / 2;
    this.scroller.scrollLeft = Math.max(0, x);
    this.marks.forEach((mark, j) => { mark.tabIndex = i === j ? 0 : -1; });
  }

  /** The table behind the picture; made when it is opened. */
  asTable() {
    const details = el('details', { class: 'behind', ontoggle: () => {
      if (!details.open || details.childElementCount > 1) return;
      const { shown } = this;
      const links = shown.links(200, this.rows(), 0);
      details.append(el('div', { class: 'scroll', tabindex: 0 }, el('table', {},
        el('thead', {}, el('tr', {}, el('th', { scope: 'col' }, t('from')), el('th', { scope: 'col' }, t('to')), el('th', { scope: 'col' }, t('weight')))),
        el('tbody', {}, ...links.map(({ i, j, w }) => el('tr', {}, el('td', {}, shown.rows[i].text), el('td', {}, shown.columns[j].text), el('td', {}, weightText(w))))))));
    } }, el('summary', {}, t('table')));
    return details;
  }
}

/** @param {string} colour */
function dot(colour) {
  return svg('svg', { width: 12, height: 12, viewBox: '0 0 12 12', 'aria-hidden': 'true' }, svg('circle', { cx: 6, cy: 6, r: 5, fill: colour }));
}
