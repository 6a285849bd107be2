// @ts-check
// Puts the page together: one source, one selection, the views, the keys.
import { paletteOf } from './colour.mjs';
import { decodeNumbers, Source } from './data.mjs';
import { byId, el, short } from './dom.mjs';
import { exportsOf } from './export.mjs';
import { Grid } from './grid.mjs';
import { HeadView } from './head.mjs';
import { Inspector } from './inspect.mjs';
import { kMeasures } from './measure.mjs';
import { PictureView } from './picture.mjs';
import { RollView } from './roll.mjs';
import { inPieces, shownOf } from './shown.mjs';
import { defaults, fromHash, kThresholds, Store, toHash } from './state.mjs';
import { speak, t, weightText } from './words.mjs';
import { WalkView } from './walk.mjs';

/** @typedef {import('./state.mjs').Selection} Selection */
/** @typedef {{source: Source, store: Store, palette: () => import('./colour.mjs').Palette, restyled: boolean, play: () => void}} Context
 * restyled: colours, language or width changed, draw everything anew */

/** @param {string} name @returns {import('./data.mjs').Stored | null} */
function readStored(name) {
  const found = document.getElementById(`n-${name}`);
  if (!found) return null;
  const shape = (found.dataset.shape ?? '').split(' ').filter(Boolean).map(Number);
  return { shape, numbers: decodeNumbers(found.dataset.type ?? '', found.textContent ?? '') };
}

const media = matchMedia('(prefers-color-scheme: dark)');

/** @param {Selection} now */
function isDark(now) { return now.theme === 'dark' || (now.theme === 'auto' && media.matches); }

function begin() {
  const source = new Source(JSON.parse(byId('page').textContent ?? ''), readStored);
  const { page } = source;
  const sizes = page.layers.filter(layer => layer !== null);
  const limits = {
    layers: page.model.layers, heads: page.model.heads, rows: Math.max(...sizes.map(s => s.rows)), keys: Math.max(...sizes.map(s => s.keys)),
    media: hasScene(source), measures: ['map', ...kMeasures, ...(page.roles.length ? ['role'] : [])],
  };
  const base = defaults(page.start, inPieces(page.labels));
  const store = new Store(fromHash(location.hash, base, limits));
  /** @type {Context} */
  const context = { source, store, palette: () => paletteOf(isDark(store.selection)), restyled: true, play: () => {} };
  const view = byId('main');
  const room = el('div', { class: 'view' });
  const tabs = el('div', { class: 'tabs', role: 'tablist' });
  view.replaceChildren(tabs, room);
  const grid = new Grid(byId('grid'), context);
  const inspector = new Inspector(byId('inspector'), context, exportsOf(context));
  const scene = ['image', 'video'].includes(page.media?.kind ?? '') ? new PictureView(room, context) : new RollView(room, context);
  const views = { head: new HeadView(room, context), walk: new WalkView(room, context), media: scene };
  context.play = () => { if (hasScene(source) && store.selection.view === 'media') scene.play(); };
  let written = '';

  /** @param {Selection} now @param {Selection | null} before */
  const render = (now, before) => {
    const [x, y] = [scrollX, scrollY];  // while a view is rebuilt the page is short and would jump
    speak(now.lang);
    document.documentElement.lang = now.lang;
    document.documentElement.dataset.theme = isDark(now) ? 'dark' : 'light';
    context.restyled ||= !before || before.lang !== now.lang || before.theme !== now.theme;
    if (before && before.view !== now.view) context.restyled = true;
    bar(context, now);
    drawTabs(tabs, context, now);
    grid.render(now, before);
    if (now.view !== 'walk' && !source.recorded(now.layer, now.head)) room.replaceChildren(missing(context));
    else views[now.view === 'walk' || now.view === 'media' ? now.view : 'head'].render(now, wasMissing(before) ? null : before);
    inspector.render(now);
    context.restyled = false;
    if (before && scrollY !== y) scrollTo(x, y);
    written = '#' + toHash(now, base);
    if (location.hash !== written) history.replaceState(null, '', written);
    say(context, before);
  };
  /** @param {Selection | null} before */
  const wasMissing = before => before !== null && !source.recorded(before.layer, before.head);
  store.watchers.push(render);
  store.pointers.push(() => {
    if (store.selection.view === 'walk' || !source.recorded(store.selection.layer, store.selection.head)) return;
    if (store.selection.view === 'head') views.head.activate();
    inspector.point();
  });
  const again = () => { context.restyled = true; render(store.selection, null); };
  media.addEventListener('change', again);
  addEventListener('hashchange', () => { if (location.hash !== written) store.set(fromHash(location.hash, base, limits)); });
  let width = innerWidth;
  addEventListener('resize', () => { if (innerWidth !== width) { width = innerWidth; requestAnimationFrame(again); } });
  addEventListener('keydown', e => onKeyDown(e, context));
  render(store.selection, null);
}

/** The line on top. @param {Context} context @param {Selection} now */
function bar(context, now) {
  const { source, store } = context;
  const { page } = source;
  const language = (/** @type {string} */ lang) => el('button', { class: 'plain', 'aria-pressed': String(now.lang === lang), lang, onclick: () => store.set({ lang }) }, lang.toUpperCase());
  const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.dataset?.bar;
  byId('bar').replaceChildren(el('b', { class: 'brand' }, 'headscope'), el('span', { class: 'model' }, short(page.model.name.replace(/\/+$/, '').replace(/^.*\//, ''), 40)),
    el('q', { class: 'text', title: short(page.text, 2000) }, short(page.text.replace(/\s+/g, ' ').trim(), 200)),
    el('span', { class: 'where' }, `${t('layer')} `, el('b', {}, now.layer), ` ${t('head')} `, el('b', {}, now.head)),
    el('span', { class: 'switches' }, language('en'), language('ru'),
      el('button', { class: 'plain', 'data-bar': 'theme', title: t('theme'), 'aria-label': t('theme'), onclick: () => store.set({ theme: isDark(now) ? 'light' : 'dark' }) }, '◐'),
      el('button', { class: 'plain', 'data-bar': 'help', title: t('help'), 'aria-label': t('help'), onclick: showHelp }, '?')));
  if (focused) /** @type {HTMLElement | null} */ (document.querySelector(`[data-bar="${focused}"]`))?.focus();
}

/** Whether there is something to draw besides the labels. @param {Source} source */
function hasScene(source) { return ['image', 'video', 'notes', 'table'].includes(source.page.media?.kind ?? ''); }

/** @param {HTMLElement} tabs @param {Context} context @param {Selection} now */
function drawTabs(tabs, context, now) {
  const { store, source } = context;
  const tab = (/** @type {string} */ view, /** @type {string} */ key) => el('button', { role: 'tab', 'aria-selected': String(now.view === view), onclick: () => store.set({ view }) }, t(`view_${view}`), ' ', el('kbd', {}, key));
  const kept = now.rows.length ? el('button', { class: 'plain', onclick: () => store.set({ rows: [], column: -1 }) }, `${t('clear')} `, el('kbd', {}, 'Esc')) : null;
  tabs.replaceChildren(tab('head', '1'), tab('walk', '2'), ...(hasScene(source) ? [tab('media', '3')] : []), ...(kept ? [kept] : []));
}

/** A head that was not recorded: one sentence, one button. @param {Context} context */
function missing(context) {
  const { source, store } = context;
  const layer = source.page.layers.findIndex(info => info !== null && info.heads.length > 0);
  const head = source.layer(layer)?.heads[0] ?? 0;
  return el('div', { class: 'absent' }, el('p', {}, t('nothing')), el('button', { onclick: () => store.choose(layer, head) }, t('goRecorded')));
}

/** Live text for those who cannot see the change. @param {Context} context @param {Selection | null} before */
function say(context, before) {
  const { source, store } = context;
  const now = store.selection;
  if (!before || !source.recorded(now.layer, now.head)) return;
  const shown = shownOf(source, now.layer, now.head, now);
  const rows = now.rows.map(token => shown.rowOf(token)).filter(i => i >= 0);
  const [link] = rows.length ? shown.links(1, rows) : shown.strongest(1);
  const from = link && shown.rows[link.i].text;
  byId('live').textContent = `${t('head')} ${now.layer}.${now.head}: ` + (link ? `${from} → ${weightText(link.w)} “${shown.columns[link.j].text}”` : t('empty'));
}

function showHelp() {
  const dialog = /** @type {HTMLDialogElement} */ (byId('help'));
  const line = (/** @type {string} */ keys, /** @type {string} */ what) => el('tr', {}, el('td', {}, ...keys.split(' ').map(key => el('kbd', {}, key))), el('td', {}, t(what)));
  dialog.replaceChildren(el('h2', {}, t('help')), el('table', {}, el('tbody', {}, line('← → ↑ ↓', 'k_arrows'), line('[ ]', 'k_rows'), line('1 2 3', 'k_views'), line(t('space'), 'k_play'), line('+ −', 'k_min'), line('S', 'k_solo'),
    line('?', 'k_help'), line('Esc', 'k_esc'))), el('p', { class: 'note' }, t('gridHelp')), el('button', { onclick: () => dialog.close() }, t('close')));
  if (!dialog.open) dialog.showModal();
}

/** @param {KeyboardEvent} e @param {Context} context */
function onKeyDown(e, context) {
  const { store, source } = context;
  const now = store.selection;
  const target = e.target instanceof Element ? e.target : document.body;
  if (e.ctrlKey || e.metaKey || e.altKey || target.closest('select, textarea, dialog, input[type=range]')) return;
  const { model } = source.page;
  const step = (/** @type {number} */ by) => {
    const at = kThresholds.indexOf(now.min) + by;
    store.set({ min: kThresholds[Math.max(0, Math.min(kThresholds.length - 1, at))] });
  };
  const head = (/** @type {number} */ dl, /** @type {number} */ dh) => {
    const layer = Math.max(0, Math.min(model.layers - 1, now.layer + dl));
    store.choose(layer, Math.max(0, Math.min((source.layer(layer)?.queryHeads ?? model.heads) - 1, now.head + dh)));
  };
  /** @type {Record<string, () => void>} */
  const keys = {
    ArrowLeft: () => head(0, -1), ArrowRight: () => head(0, 1), ArrowUp: () => head(-1, 0), ArrowDown: () => head(1, 0),
    '[': () => moveRow(context, -1), ']': () => moveRow(context, 1), 'х': () => moveRow(context, -1), 'ъ': () => moveRow(context, 1),
    1: () => store.set({ view: 'head' }), 2: () => store.set({ view: 'walk' }), 3: () => { if (hasScene(source)) store.set({ view: 'media' }); },
    '+': () => step(-1), '=': () => step(-1), '-': () => step(1), '−': () => step(1), '?': showHelp,
    s: () => store.set({ over: [] }), S: () => store.set({ over: [] }), 'ы': () => store.set({ over: [] }),
    Escape: () => { store.point(-1); store.set({ rows: [], column: -1, over: [] }); },
  };
  if (e.key === ' ' && now.view === 'media' && !target.closest('button, input')) keys[' '] = () => context.play();
  const action = keys[e.key];
  if (!action) return;
  e.preventDefault();
  action();
  if (e.key.startsWith('Arrow') && target.classList.contains('cell')) {
    /** @type {HTMLElement | null} */ (document.querySelector('.cell.chosen'))?.focus();
  }
}

/** @param {Context} context @param {number} by */
function moveRow(context, by) {
  const { source, store } = context;
  const now = store.selection;
  if (!source.recorded(now.layer, now.head)) return;
  const { rows } = shownOf(source, now.layer, now.head, now);
  const at = now.rows.length ? rows.findIndex(unit => now.rows[0] >= unit.first && now.rows[0] <= unit.last) : by > 0 ? -1 : rows.length;
  const next = rows[Math.max(0, Math.min(rows.length - 1, at + by))];
  if (next) store.set({ rows: [next.first] });
}

try {
  begin();
} catch (error) {
  byId('main').replaceChildren(el('div', { class: 'absent' }, el('p', {}, t('failed', error instanceof Error ? error.message : String(error))),
    el('button', { onclick: () => { location.hash = ''; location.reload(); } }, '↻')));
}
