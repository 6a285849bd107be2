// @ts-check
// V1, the grid: layers down, heads across; the map of the model that never leaves the screen.
import { badge } from './badge.mjs';
import { cssOf, inkOn, kHues, kLetters, paint, unscaled, weightColour } from './colour.mjs';
import { el } from './dom.mjs';
import { describeHead, kMeasures, kUnits, measureOf, rolesOf } from './measure.mjs';
import { counted, fitting, numberText, percentText, spoken, t, weightText } from './words.mjs';

/** @typedef {import('./main.mjs').Context} Context */
/** @typedef {import('./state.mjs').Selection} Selection */
/** @typedef {{layer: number, head: number}} Place */

/** Up to this many tokens thumbnails are the map itself. */
const kSmall = 64;

/** A measure with its unit. @param {string} measure @param {number} value */
export function measureText(measure, value) {
  const unit = kUnits[measure];
  return unit ? `${numberText(value)} ${t(unit)}` : weightText(value);
}

/** What a head does, in a line. @param {Context} context @param {number} layer @param {number} head */
export function habitText(context, layer, head) {
  const habit = describeHead(context.source, layer, head);
  if (habit.degree === 'mostly' || habit.degree === 'often') return `${t(habit.degree)} ${fitting('d_' + habit.kind, context.source.page.media)} (${weightText(habit.value)})`;
  return `${t(habit.degree)} (${t('m_entropy')} ${numberText(habit.value)} ${t('nats')})`;
}

/** @param {import('./data.mjs').Role} role */
export function roleName(role) { return (spoken() === 'ru' ? role.ru : role.en) || role.en || role.ru; }

/** Where its score comes from, in the language of the page. @param {import('./data.mjs').Role} role */
export function roleSource(role) { return (spoken() === 'ru' && role.source_ru) || role.source; }

/** "78 %", or nothing where a score means nothing. @param {import('./data.mjs').Role} role */
export function roleScore(role) {
  return role.n > 0 ? `${percentText(role.score)} · ${t('baseline')} ${Math.round(role.baseline * 100)} · n ${role.n}` : '';
}

/** The grid and what stands around it. */
export class Grid {
  /** @param {HTMLElement} root @param {Context} context */
  constructor(root, context) {
    this.root = root;
    this.context = context;
    /** @type {Map<string, HTMLButtonElement>} */
    this.cells = new Map();
    this.note = el('p', { class: 'note grid-note' });
  }

  /** @param {Selection} now @param {Selection | null} before */
  render(now, before) {
    const same = before && ['measure', 'sort', 'lang', 'theme'].every(name => /** @type {any} */ (now)[name] === /** @type {any} */ (before)[name]);
    if (!same || this.context.restyled) this.build(now);
    this.mark(now);
  }

  /** @param {Selection} now */
  build(now) {
    const hadFocus = this.root.contains(document.activeElement) && document.activeElement?.classList.contains('cell');
    const top = this.root.scrollTop;
    this.cells.clear();
    const { model } = this.context.source.page;
    const sorted = now.measure !== 'map' ? now.sort : 'place';
    const table = el('div', { class: `cells ${sorted}`, role: 'group', 'aria-label': t('grid'), style: `--heads:${model.heads}` });
    if (sorted === 'all') this.flat(table, now);
    else this.byLayer(table, now, sorted);
    this.root.replaceChildren(
      el('div', { class: 'row' }, el('h2', {}, t('grid')), el('span', { class: 'note' }, `${model.name} · ${counted(model.layers, 'layers')} × ${counted(model.heads, 'heads')}`)),
      this.controls(now, sorted), table, this.note, this.legend(now), this.asTable());
    this.explain(now.layer, now.head);
    this.root.scrollTop = top;
    if (hadFocus) this.cells.get(`${now.layer}.${now.head}`)?.focus();
  }

  /** @param {Selection} now @param {string} sorted */
  controls(now, sorted) {
    const { store } = this.context;
    const measures = ['map', ...kMeasures, ...(this.context.source.page.roles.length ? ['role'] : [])];
    const option = (/** @type {string} */ value, /** @type {string} */ label, /** @type {string} */ chosen) => el('option', { value, selected: value === chosen }, label);
    const show = el('select', { onchange: (/** @type {Event} */ e) => store.set({ measure: /** @type {HTMLSelectElement} */ (e.target).value }) },
      ...measures.map(m => option(m, t(`m_${m}`), now.measure)));
    const sort = el('select', { disabled: now.measure === 'map', onchange: (/** @type {Event} */ e) => store.set({ sort: /** @type {HTMLSelectElement} */ (e.target).value }) },
      ...['place', 'layer', 'all'].map(s => option(s, t(`sort_${s}`), sorted)));
    return el('div', { class: 'row controls' }, el('label', {}, t('show'), show), el('label', {}, t('sort'), sort));
  }

  /** @param {HTMLElement} table @param {Selection} now @param {string} sorted */
  byLayer(table, now, sorted) {
    const { model } = this.context.source.page;
    if (sorted === 'place') this.header(table, model.heads);
    for (let layer = 0; layer < model.layers; layer++) {
      table.append(el('span', { class: 'axis', title: `${t('layer')} ${layer}` }, layer));
      /** @type {Place[]} */
      let places = Array.from({ length: model.heads }, (_, head) => ({ layer, head }));
      if (sorted === 'layer') places = this.ordered(places, now.measure);
      for (const place of places) table.append(this.cell(place, now, sorted !== 'place'));
    }
  }

  /** Head numbers, and above them the groups that share keys. @param {HTMLElement} table @param {number} heads */
  header(table, heads) {
    const { source, store } = this.context;
    const info = source.page.layers.find(layer => layer !== null);
    if (info && info.groups < info.queryHeads) {
      const size = info.queryHeads / info.groups;
      table.append(el('span', {}));
      for (let group = 0; group < info.groups; group++) {
        const members = Array.from({ length: size }, (_, i) => group * size + i);
        table.append(el('button', {
          class: 'bracket', style: `grid-column: span ${size}`, title: t('group', group, members.join(', ')), 'aria-label': t('group', group, members.join(', ')),
          onclick: () => {
            const { layer } = store.selection;
            const over = members.slice(1, 8).filter(head => source.recorded(layer, head)).map(head => /** @type {[number, number]} */ ([layer, head]));
            store.set({ head: members[0], over });
          },
        }));
      }
    }
    table.append(el('span', { class: 'axis' }));
    for (let head = 0; head < heads; head++) table.append(el('span', { class: 'axis', title: `${t('head')} ${head}` }, head));
  }

  /** @param {HTMLElement} table @param {Selection} now */
  flat(table, now) {
    const { model } = this.context.source.page;
    const places = Array.from({ length: model.layers * model.heads }, (_, at) => ({ layer: Math.floor(at / model.heads), head: at % model.heads }));
    for (const place of this.ordered(places, now.measure)) table.append(this.cell(place, now, true));
  }

  /** @param {Place[]} places @param {string} measure */
  ordered(places, measure) {
    const value = (/** @type {Place} */ place) => this.value(place, measure) ?? -1;
    return [...places].sort((a, b) => value(b) - value(a));
  }

  /** @param {Place} place @param {string} measure @returns {number | null} */
  value({ layer, head }, measure) {
    const { source } = this.context;
    if (!source.recorded(layer, head)) return null;
    if (measure === 'role') return rolesOf(source, layer, head).find(role => role.n > 0)?.score ?? null;
    return measureOf(source, layer, head, measure).value;
  }

  /** @param {Place} place @param {Selection} now @param {boolean} captioned */
  cell(place, now, captioned) {
    const { source, store, palette } = this.context;
    const { layer, head } = place;
    const name = `${layer}.${head}`;
    // A layer may have fewer heads than another.
    if (head >= (source.layer(layer)?.queryHeads ?? Infinity)) return el('span', {});
    const known = source.recorded(layer, head);
    const role = rolesOf(source, layer, head)[0] ?? null;
    const button = el('button', {
      class: known ? 'cell' : 'cell missing', tabindex: -1, 'data-head': name,
      'aria-label': `${t('layer')} ${layer}, ${t('head')} ${head}${role ? ': ' + roleName(role) : ''}${known ? '' : ': ' + t('notRecorded')}`,
      onclick: (/** @type {MouseEvent} */ e) => (e.shiftKey ? known && store.toggle(layer, head) : store.choose(layer, head)),
      ondblclick: () => store.set({ layer, head, over: [], view: 'head' }),
      onpointerenter: () => this.explain(layer, head),
      onpointerleave: () => this.explain(store.selection.layer, store.selection.head),
      onfocus: () => this.explain(layer, head),
    });
    if (!known) return button;
    if (now.measure === 'map') this.thumbnail(button, layer, head);
    else this.coloured(button, place, now.measure, role);
    if (role && now.measure === 'map') button.append(el('span', { class: 'corner' }, badge(role, 14, palette().ink, palette().paper)));
    if (captioned) button.append(el('small', {}, name));
    this.cells.set(name, button);
    return button;
  }

  /** @param {HTMLElement} button @param {number} layer @param {number} head */
  thumbnail(button, layer, head) {
    const { source, palette } = this.context;
    const canvas = el('canvas', { 'aria-hidden': 'true' });
    const info = /** @type {import('./data.mjs').Layer} */ (source.layer(layer));
    const pooled = info.rows > kSmall || info.keys > kSmall ? source.pooled(layer, head, 'pooled_max') : null;
    const colour = (/** @type {number} */ w) => weightColour(palette(), w, false);
    if (pooled) paint(canvas, pooled.numbers, pooled.rows, pooled.columns, colour);
    else if (source.fits(layer)) paint(canvas, source.map(layer, head), info.rows, info.keys, colour);
    button.append(canvas);
  }

  /** @param {HTMLElement} button @param {Place} place @param {string} measure @param {import('./data.mjs').Role | null} role */
  coloured(button, place, measure, role) {
    const value = this.value(place, measure);
    const { palette } = this.context;
    if (value === null) {  // a role without a score is named, not coloured
      if (role) button.append(badge(role, 20, palette().ink, palette().paper));
      else button.classList.add('none');
      return;
    }
    const most = this.most(measure);
    const at = Math.max(0, Math.min(255, Math.round(255 * (most > 0 ? value / most : 0))));
    const colour = palette().ramp[at];
    button.style.background = cssOf(colour);
    button.style.color = inkOn(colour);
    const ink = inkOn(colour);
    if (measure === 'role' && role) button.append(badge(role, 20, ink, cssOf(colour)));
    else button.append(el('span', { class: 'value' }, kUnits[measure] ? (value >= 10 ? Math.round(value) : value.toFixed(1)) : weightText(value).slice(0, 4)));
  }

  /** The value that the darkest colour stands for. @param {string} measure */
  most(measure) {
    if (!kUnits[measure]) return 1;
    const { model } = this.context.source.page;
    let most = 0;
    for (let layer = 0; layer < model.layers; layer++) {
      for (let head = 0; head < model.heads; head++) most = Math.max(most, this.value({ layer, head }, measure) ?? 0);
    }
    return most;
  }

  /** @param {Selection} now */
  legend(now) {
    const { source, palette } = this.context;
    const map = now.measure === 'map';
    const bar = el('canvas', { class: 'bar', 'aria-hidden': 'true' });
    const steps = Float64Array.from({ length: 256 }, (_, i) => i);
    paint(bar, steps, 1, 256, i => palette().ramp[i]);
    const most = map ? 1 : this.most(now.measure);
    const ticks = [0, 0.5, 1].map(at => el('span', {}, map ? weightText(unscaled(at, false)) : kUnits[now.measure] ? numberText(most * at) : weightText(at)));
    const info = source.page.layers.find(layer => layer !== null);
    const pooled = map && info && (info.rows > kSmall || info.keys > kSmall) ? source.pooled(source.page.layers.indexOf(info), info.heads[0], 'pooled_max') : null;
    const block = pooled && info ? `${Math.ceil(info.rows / pooled.rows)}×${Math.ceil(info.keys / pooled.columns)}` : '';
    return el('div', { class: 'legend' },
      el('div', { class: 'scale' }, bar, el('div', { class: 'ticks' }, ...ticks)),
      el('p', { class: 'note' }, `${t(map ? 'weight' : now.measure === 'role' ? 'roleScore' : `m_${now.measure}`)}${kUnits[now.measure] ? ', ' + t(kUnits[now.measure]) : ''}. `, block ? t('pooled', block) + ' ' : '', t('gridHelp')));
  }

  /** One line about the head pointed at. @param {number} layer @param {number} head */
  explain(layer, head) {
    const { source } = this.context;
    const role = rolesOf(source, layer, head)[0];
    const said = source.recorded(layer, head) ? habitText(this.context, layer, head) : t('notRecorded');
    this.note.replaceChildren(el('b', {}, `${layer}.${head}`), ' ', role ? `${roleName(role)} · ` : '', said);
  }

  /** Marks what is chosen and what lies over it. @param {Selection} now */
  mark(now) {
    const over = now.over.map(head => head.join('.'));
    for (const [name, cell] of this.cells) {
      const chosen = name === `${now.layer}.${now.head}`;
      const at = over.indexOf(name) + 1;
      cell.classList.toggle('chosen', chosen);
      cell.tabIndex = chosen ? 0 : -1;
      cell.setAttribute('aria-pressed', String(chosen || at > 0));
      cell.querySelector('.letter')?.remove();
      cell.style.removeProperty('--hue');
      if (over.length && (chosen || at > 0)) {
        cell.style.setProperty('--hue', kHues[at]);
        cell.append(el('span', { class: 'letter' }, kLetters[at]));
      }
    }
    this.explain(now.layer, now.head);
  }

  /** The table behind the grid; made when it is opened. */
  asTable() {
    const details = el('details', { class: 'behind', ontoggle: () => {
      if (!details.open || details.childElementCount > 1) return;
      const { source } = this.context;
      const rows = source.page.layers.flatMap((info, layer) => (info?.heads ?? []).map(head => el('tr', {},
        el('th', { scope: 'row' }, `${layer}.${head}`),
        ...kMeasures.map(m => el('td', {}, kUnits[m] ? numberText(measureOf(source, layer, head, m).value) : weightText(measureOf(source, layer, head, m).value))))));
      details.append(el('div', { class: 'scroll', tabindex: 0 }, el('table', {},
        el('thead', {}, el('tr', {}, el('th', {}, t('head')), ...kMeasures.map(m => el('th', { scope: 'col' }, t(`m_${m}`), kUnits[m] ? `, ${t(kUnits[m])}` : '')))),
        el('tbody', {}, ...rows))));
    } }, el('summary', {}, t('tableHead')));
    return details;
  }
}
