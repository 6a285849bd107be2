// @ts-check
// The inspector: what is known and measured of the chosen head.
import { badge } from './badge.mjs';
import { kHues, kLetters } from './colour.mjs';
import { el } from './dom.mjs';
import { habitText, measureText, roleName, roleScore, roleSource } from './grid.mjs';
import { kMeasures, measureOf, rolesOf } from './measure.mjs';
import { shownOf } from './shown.mjs';
import { counted, fitting, spoken, t, weightText } from './words.mjs';

/** @typedef {import('./main.mjs').Context} Context */
/** @typedef {import('./state.mjs').Selection} Selection */

const kLinks = 8;

/** A name that may break between its words and nowhere else. @param {string} name */
function whole(name) { return name.split(' ').flatMap((word, n) => [n ? ' ' : '', el('span', { class: 'whole' }, word)]); }

export class Inspector {
  /** @param {HTMLElement} root @param {Context} context @param {Record<string, () => void>} exports */
  constructor(root, context, exports) {
    this.root = root;
    this.context = context;
    this.exports = exports;
    this.links = el('section', {});
  }

  /** @param {Selection} now */
  render(now) {
    const { source } = this.context;
    const known = source.recorded(now.layer, now.head);
    const title = el('button', { class: 'sheet-handle', 'aria-expanded': String(this.root.classList.contains('open')), onclick: () => {
      const open = this.root.classList.toggle('open');
      title.setAttribute('aria-expanded', String(open));
    } }, this.heading(now));
    this.root.replaceChildren(title, el('div', { class: 'sheet' }, ...(known ? [this.habit(now), this.overlay(now), this.links, this.figures(now)] : [el('p', {}, t('notRecorded'))]), this.takeAway()));
    if (known) this.point();
  }

  /** @param {Selection} now */
  heading(now) {
    const { source, palette } = this.context;
    const role = rolesOf(source, now.layer, now.head)[0] ?? null;
    return el('span', { class: 'heading' }, badge(role, 28, palette().ink, palette().paper),
      el('span', {}, el('small', {}, t('thisHead')), el('b', {}, `${now.layer}.${now.head}`)));
  }

  /** @param {Selection} now */
  habit(now) {
    const { source } = this.context;
    const roles = rolesOf(source, now.layer, now.head).map(role => {
      const made = role.source === 'hand-made' ? t('handMade') : `${t('source')}: ${roleSource(role)}`;
      return el('div', { class: 'role' }, el('strong', {}, roleName(role)), el('p', { class: 'note' }, [roleScore(role), made].filter(Boolean).join(' · ')),
        role.here && role.here[0] ? el('p', {}, role.here[spoken() === 'ru' ? 1 : 0]) : null);
    });
    return el('section', {}, ...(roles.length ? roles : [el('p', { class: 'note' }, t('noRole'))]),
      el('p', {}, habitText(this.context, now.layer, now.head)), el('p', { class: 'note' }, fitting('measured', source.page.media)));
  }

  /** @param {Selection} now */
  overlay(now) {
    if (!now.over.length) return el('section', { hidden: true });
    const { store } = this.context;
    return el('section', {}, el('h3', {}, t('overlay')), el('ul', { class: 'over' }, ...store.heads().map(([layer, head], at) => {
      const name = `${layer}.${head}`;
      return el('li', {}, el('span', { class: 'letter', style: `--hue:${kHues[at]}` }, kLetters[at]),
        el('button', { class: 'plain', disabled: at === 0, title: t('main', name), onclick: () => {
          const rest = store.heads().filter((_, i) => i !== at);
          store.set({ layer, head, over: rest });
        } }, name), el('span', { class: 'note' }, rolesOf(this.context.source, layer, head).map(roleName).join(', ') || habitText(this.context, layer, head)),
        at ? el('button', { class: 'plain', 'aria-label': t('remove', name), title: t('remove', name), onclick: () => store.toggle(layer, head) }, '×') : null);
    })));
  }

  /** @param {Selection} now */
  figures(now) {
    const { source } = this.context;
    const rows = kMeasures.map(measure => {
      const { value, rows: n } = measureOf(source, now.layer, now.head, measure);
      return el('tr', {}, el('th', { scope: 'row' }, t(`m_${measure}`)), el('td', {}, measureText(measure, value)), el('td', { class: 'note', title: counted(n, 'rows') }, `n ${n}`));
    });
    return el('section', {}, el('h3', {}, t('figures'), ' ', el('small', {}, t('figuresSay'))), el('table', { class: 'figures' }, el('tbody', {}, ...rows)));
  }

  /** Links of the row pointed at or kept, else of the head. */
  point() {
    const { source, store } = this.context;
    const now = store.selection;
    if (!source.recorded(now.layer, now.head)) return;
    const shown = shownOf(source, now.layer, now.head, now);
    const rows = store.hover >= 0 ? [store.hover] : now.rows.map(token => shown.rowOf(token)).filter(i => i >= 0);
    const links = rows.length ? shown.links(kLinks, rows) : shown.strongest(kLinks);
    const cell = (/** @type {import('./shown.mjs').Unit} */ unit) => el('td', { class: 'element', title: unit.text }, ...whole(unit.brief));
    const title = rows.length === 1 ? t('linksOf', shown.rows[rows[0]]?.text ?? '') : t('links');
    this.links.replaceChildren(el('h3', {}, title), el('table', { class: 'links' }, el('tbody', {}, ...links.map(({ i, j, w }) => el('tr', {},
      rows.length === 1 ? null : cell(shown.rows[i]), el('td', { class: 'arrow' }, '→'), cell(shown.columns[j]), el('td', { class: 'weight' }, weightText(w)),
      el('td', { class: 'meter', 'aria-hidden': 'true' }, el('i', { style: `width:${Math.round(100 * w)}%` })))))));
  }

  takeAway() {
    return el('section', {}, el('h3', {}, t('export')), el('div', { class: 'row' }, ...['svg', 'png', 'csv', 'json'].map(kind => el('button', { title: t(`${kind}Help`), onclick: this.exports[kind] }, t(kind)))));
  }
}
