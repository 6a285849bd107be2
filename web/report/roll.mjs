// @ts-check
// V4 for music and tables: a piano roll that plays, a chart; arcs from what asks to what it looks at.
import { cssOf, inkOn, weightColour } from './colour.mjs';
import { el, kFont, short } from './dom.mjs';
import { lightOf, notesOf } from './places.mjs';
import { Asking, askButtons, pointAt, sayLight, sharpen } from './scene.mjs';
import { numberText, t, voiceName, weightText } from './words.mjs';

/** @typedef {import('./main.mjs').Context} Context */
/** @typedef {import('./state.mjs').Selection} Selection */
/** @typedef {{token: number, x: number, y: number, w: number, h: number}} Spot where a token is drawn, css px */

const kGutter = 48;
const kArcs = 24;
const kNames = ['C', 'C#', 'D', 'D#', 'E', 'F', 'F#', 'G', 'G#', 'A', 'A#', 'B'];

/** @param {number} pitch */
function noteName(pitch) { return `${kNames[pitch % 12]}${Math.floor(pitch / 12) - 1}`; }

/** Sounds of a tune, by Web Audio. */
class Player {
  constructor() {
    /** @type {AudioContext | null} */
    this.audio = null;
    this.began = 0;
  }

  /** @param {ReturnType<typeof notesOf>} notes @param {number} step seconds @param {number} from step */
  start(notes, step, from) {
    this.stop();
    const audio = new AudioContext();
    this.audio = audio;
    this.began = audio.currentTime + 0.05 - from * step;
    for (const note of notes) {
      if (note.to <= from) continue;
      const [begin, end] = [this.began + Math.max(note.from, from) * step, this.began + note.to * step];
      const tone = audio.createOscillator();
      const gain = audio.createGain();
      tone.type = 'triangle';
      tone.frequency.value = 440 * 2 ** ((note.pitch - 69) / 12);
      gain.gain.setValueAtTime(0, begin);
      gain.gain.linearRampToValueAtTime(0.16, begin + 0.015);
      gain.gain.setTargetAtTime(0.08, begin + 0.015, 0.25);
      gain.gain.setTargetAtTime(0, Math.max(begin + 0.02, end - 0.03), 0.02);
      tone.connect(gain).connect(audio.destination);
      tone.start(begin);
      tone.stop(end + 0.15);
    }
  }

  stop() {
    void this.audio?.close();
    this.audio = null;
  }

  /** @param {number} step seconds @returns {number} steps since the beginning */
  at(step) { return this.audio ? Math.max(0, this.audio.currentTime - this.began) / step : -1; }
}

export class RollView {
  /** @param {HTMLElement} root @param {Context} context */
  constructor(root, context) {
    this.root = root;
    this.context = context;
    this.hover = -1;
    this.player = new Player();
    this.canvas = el('canvas', { class: 'roll' });
    this.names = el('canvas', { class: 'roll-names', 'aria-hidden': 'true' });
    this.over = el('canvas', { class: 'roll-over', tabindex: 0, role: 'img' });
    this.legend = el('div', { class: 'legend' });
    this.readout = el('p', { class: 'readout note' });
    this.asks = el('div', {});
    /** @type {Spot[]} */
    this.spots = [];
    this.height = 0;
    this.width = 0;
    this.over.addEventListener('pointermove', e => { if (e.pointerType !== 'touch') this.point(this.tokenAt(e.offsetX, e.offsetY)); });
    this.over.addEventListener('pointerleave', () => this.point(-1));
    this.over.addEventListener('click', e => { const i = this.tokenAt(e.offsetX, e.offsetY); if (i >= 0) context.store.lock(i, e.shiftKey); });
  }

  get media() { return /** @type {import('./data.mjs').Media} */ (this.context.source.page.media); }

  /** @param {Selection} now @param {Selection | null} before */
  render(now, before) {
    const rowsOnly = before && !this.context.restyled && before.view === now.view;
    if (!rowsOnly || !this.root.contains(this.canvas)) this.build();
    this.activate();
    const kept = now.rows[0] ?? -1;
    const spot = !before || now.rows !== before.rows ? this.spots.find(s => s.token === kept) : null;
    if (!spot || !this.box) return;
    // Moves only where it must: what is chosen by a click stays under the pointer.
    const { scrollLeft, clientWidth } = this.box;
    if (spot.x < scrollLeft + kGutter || spot.x > scrollLeft + clientWidth - 40) this.box.scrollLeft = Math.max(0, spot.x - clientWidth / 2);
  }

  build() {
    const tune = this.media.kind === 'notes';
    this.playing = el('button', { onclick: () => this.play() }, t('play'), ' ', el('kbd', {}, t('space')));
    this.box = el('div', { class: 'scroll' }, el('div', { class: 'rolls' }, this.canvas, this.names, this.over));
    this.root.replaceChildren(this.asks, el('section', { class: 'figure' }, ...(tune ? [el('div', { class: 'row controls' }, this.playing, el('span', { class: 'note' }, t('voices', this.media.names.map(voiceName).join(', '))))] : []), this.box, this.readout, this.legend));
    this.layOut();
  }

  /** Where every token goes. */
  layOut() {
    const { source, store } = this.context;
    const labels = source.labels(store.selection.layer);
    const { values } = this.media;
    const room = Math.max(280, this.root.clientWidth) - kGutter - 8;
    this.spots = [];
    if (this.media.kind === 'notes') {
      const known = values.filter(v => v !== null && v >= 0).map(Number);
      this.low = Math.min(...known) - 1;
      this.high = Math.max(...known) + 1;
      const steps = Math.max(...labels.map(label => label.column)) + 1;
      const cell = Math.max(7, Math.min(28, room / steps));
      const line = Math.max(7, Math.min(14, 420 / (this.high - this.low + 1)));
      this.top = 76;
      this.width = kGutter + steps * cell + 8;
      this.height = this.top + (this.high - this.low + 1) * line + 24;
      this.cell = cell;
      labels.forEach((label, token) => {
        const pitch = values[token];
        if (label.special || pitch === null || pitch === undefined || pitch < 0) return;
        this.spots.push({ token, x: kGutter + label.column * cell, y: this.top + (this.high - pitch) * line, w: cell, h: line });
      });
      return;
    }
    const rows = Math.max(...labels.map(label => label.row)) + 1;
    const cell = Math.max(4, room / rows);
    const each = 200;
    this.top = 76;
    this.width = kGutter + rows * cell + 8;
    this.height = this.top + this.media.names.length * each + 24;
    this.cell = cell;
    this.ranges = this.media.names.map((_, n) => {
      const known = values.filter((v, j) => v !== null && labels[j].column === n).map(Number);
      return [Math.min(...known), Math.max(...known)];
    });
    labels.forEach((label, token) => {
      const value = values[token];
      if (label.special || value === null || value === undefined) return;
      const [low, high] = this.ranges[label.column];
      const half = Number.isFinite(high - low) ? 1 : 0.5;  // the largest numbers differ by more than a number can be
      const part = high > low ? (value * half - low * half) / (high * half - low * half) : 0.5;
      this.spots.push({ token, x: kGutter + label.row * cell, y: this.top + label.column * each + (1 - part) * (each - 48) + 8, w: cell, h: 8 });
    });
  }

  /** @param {number} x @param {number} y @returns {number} */
  tokenAt(x, y) {
    if (x < (this.box?.scrollLeft ?? 0) + kGutter) return -1;  // over the names, which hide what lies behind them
    let best = -1;
    let least = 24 ** 2;
    for (const spot of this.spots) {
      const dx = x < spot.x ? spot.x - x : x > spot.x + spot.w ? x - spot.x - spot.w : 0;
      const dy = y < spot.y ? spot.y - y : y > spot.y + spot.h ? y - spot.y - spot.h : 0;
      const far = this.media.kind === 'notes' ? dx * dx + dy * dy : dx * dx + (dy * dy) / 400;
      if (far < least) { least = far; best = spot.token; }
    }
    return best;
  }

  /** @param {number} token */
  point(token) {
    if (token === this.hover) return;
    this.hover = token;
    pointAt(this.context, token);
    this.activate();
  }

  activate() {
    const { source, store } = this.context;
    const now = store.selection;
    if (!source.recorded(now.layer, now.head)) return;
    const asking = new Asking(this.context, this.hover);
    const weights = asking.weights(now.head);
    let most = 0;
    for (const spot of this.spots) most = Math.max(most, weights[spot.token]);
    this.draw(asking, weights, most);
    this.asks.replaceChildren(askButtons(this.context, asking));
    this.legend.replaceChildren(...sayLight(asking, weights, most), ...(asking.token >= 0 ? [el('span', {}, t('arcsSay', kArcs))] : []));
    const best = this.spots.map(s => s.token).sort((a, b) => weights[b] - weights[a]).slice(0, 3).filter(j => weights[j] > 0);
    this.readout.textContent = `${asking.name()} → ${best.map(j => `${source.labelText(j, now.layer)} ${weightText(weights[j])}`).join(' · ')}`;
    this.over.setAttribute('aria-label', this.readout.textContent ?? '');
  }

  /** @param {Asking} asking @param {ArrayLike<number>} weights @param {number} most */
  draw(asking, weights, most) {
    const palette = this.context.palette();
    const context = sharpen(this.canvas, this.width, this.height);
    sharpen(this.over, this.width, this.height);
    const names = sharpen(this.names, kGutter, this.height);
    names.fillStyle = palette.paper;
    names.fillRect(0, 0, kGutter, this.height);
    for (const each of [context, names]) {  // beside the picture, where it scrolls, and in it, where it is saved
      each.font = `11px ${kFont}`;
      each.textBaseline = 'middle';
      each.fillStyle = palette.soft;
      each.textAlign = 'right';
      this.scale(each);
    }
    if (this.media.kind === 'notes') this.rollLines(context);
    else this.chartLines(context);
    for (const spot of this.spots) {
      const colour = weightColour(palette, lightOf(weights[spot.token], most) ** 2, false);
      context.fillStyle = cssOf(colour);
      context.strokeStyle = palette.soft;
      context.lineWidth = 1;
      if (this.media.kind === 'notes') {
        context.fillRect(spot.x, spot.y + 1, spot.w, spot.h - 2);
        context.strokeRect(spot.x + 0.5, spot.y + 1.5, spot.w - 1, spot.h - 3);
      } else {
        context.beginPath();
        context.arc(spot.x + spot.w / 2, spot.y + 4, Math.max(2, Math.min(5, spot.w / 2)), 0, 7);
        context.fill();
        context.stroke();
      }
    }
    this.drawArcs(context, asking, weights);
  }

  /** @param {CanvasRenderingContext2D} context @param {Asking} asking @param {ArrayLike<number>} weights */
  drawArcs(context, asking, weights) {
    const palette = this.context.palette();
    const from = this.spots.find(spot => spot.token === asking.token);
    if (!from) return;
    const middle = (/** @type {Spot} */ s) => [s.x + s.w / 2, s.y + s.h / 2];
    const [x, y] = middle(from);
    const links = this.spots.filter(s => s.token !== asking.token && weights[s.token] >= 0.02).sort((a, b) => weights[b.token] - weights[a.token]).slice(0, kArcs);
    context.strokeStyle = palette.out;
    for (const to of links) {
      const [tx, ty] = middle(to);
      const w = weights[to.token];
      context.globalAlpha = 0.35 + 0.6 * Math.sqrt(w);
      context.lineWidth = 1 + 7 * Math.sqrt(w);
      context.beginPath();
      context.moveTo(x, y);
      context.quadraticCurveTo((x + tx) / 2, Math.max(4, Math.min(y, ty) - 24 - Math.abs(tx - x) / 6), tx, ty);
      context.stroke();
    }
    context.globalAlpha = 1;
    context.fillStyle = palette.in;
    if (this.media.kind === 'notes') context.fillRect(from.x, from.y + 1, from.w, from.h - 2);
    else { context.beginPath(); context.arc(x, y, 6, 0, 7); context.fill(); }
  }

  /** What heights mean: names of pitches, the largest and the least number. @param {CanvasRenderingContext2D} context */
  scale(context) {
    if (this.media.kind !== 'notes') {
      this.ranges?.forEach(([low, high], n) => {
        if (low > high) return;  // a column without numbers
        context.fillText(numberText(high), kGutter - 6, this.top + n * 200 + 12);
        context.fillText(numberText(low), kGutter - 6, this.top + n * 200 + 164);
      });
      return;
    }
    const line = this.line();
    for (let pitch = this.low; pitch <= this.high; pitch++) {
      if (pitch % 12 !== 0 && line * 12 > 60 && pitch % 12 !== 7) continue;
      context.fillText(noteName(pitch), kGutter - 6, this.top + (this.high - pitch) * line + line / 2);
    }
  }

  line() { return (this.height - this.top - 24) / (this.high - this.low + 1); }

  /** @param {CanvasRenderingContext2D} context */
  rollLines(context) {
    const palette = this.context.palette();
    const line = this.line();
    context.fillStyle = palette.dark ? '#1A1B1F' : '#F4F3EE';
    for (let pitch = this.low; pitch <= this.high; pitch++) {
      if ([1, 3, 6, 8, 10].includes(pitch % 12))
        context.fillRect(kGutter, this.top + (this.high - pitch) * line, this.width - kGutter, line);
    }
    const { stepsPerBeat, beatsPerBar } = this.media;
    context.textAlign = 'left';
    for (let step = 0; kGutter + step * this.cell < this.width - 8; step += stepsPerBeat) {
      const bar = step % (stepsPerBeat * beatsPerBar) === 0;
      const x = Math.round(kGutter + step * this.cell) + 0.5;
      context.strokeStyle = bar ? palette.hatch : palette.line;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(x, this.top);
      context.lineTo(x, this.height - 22);
      context.stroke();
      context.fillStyle = palette.soft;
      if (bar) context.fillText(String(step / stepsPerBeat / beatsPerBar + 1), x + 2, this.height - 10);
    }
  }

  /** @param {CanvasRenderingContext2D} context */
  chartLines(context) {
    const palette = this.context.palette();
    const { source, store } = this.context;
    const labels = source.labels(store.selection.layer);
    this.media.names.forEach((name, n) => {
      const y = this.top + n * 200;
      context.fillStyle = palette.soft;
      context.textAlign = 'left';
      context.fillText(short(name, 40), kGutter + 2, y - 6);
      context.strokeStyle = palette.hatch;
      context.lineWidth = 1.5;
      context.beginPath();
      let before = -2;
      for (const spot of this.spots) {
        const label = labels[spot.token];
        if (label.column !== n) continue;
        if (label.row === before + 1) context.lineTo(spot.x + spot.w / 2, spot.y + 4);
        else context.moveTo(spot.x + spot.w / 2, spot.y + 4);
        before = label.row;
      }
      context.stroke();
    });
    const { rows } = this.media;
    const every = Math.max(1, Math.ceil(rows.length * 90 / (this.width - kGutter)));
    context.fillStyle = palette.soft;
    for (let r = 0; r < rows.length; r += every) context.fillText(short(rows[r], 12), kGutter + r * this.cell, this.height - 10);
  }

  /** Plays from the note that is kept, or from the beginning; again: stops. */
  play() {
    if (this.media.kind !== 'notes') return;
    const { source, store } = this.context;
    const labels = source.labels(store.selection.layer);
    const step = this.media.beatSeconds / this.media.stepsPerBeat;
    const named = (/** @type {boolean} */ on) => this.playing?.replaceChildren(on ? t('stop') : t('play'), ' ', el('kbd', {}, t('space')));
    if (this.player.audio) {
      this.player.stop();
      named(false);
      return;
    }
    const notes = notesOf(labels, this.media.values);
    const last = Math.max(...notes.map(note => note.to));
    this.player.start(notes, step, Math.max(0, labels[store.selection.rows[0] ?? -1]?.column ?? 0));
    named(true);
    const follow = () => {
      const at = this.player.at(step);
      const context = sharpen(this.over, this.width, this.height);
      if (at < 0 || at > last || store.selection.view !== 'media') {
        this.player.stop();
        named(false);
        return;
      }
      const x = kGutter + at * this.cell;
      context.fillStyle = this.context.palette().in;
      context.fillRect(x, this.top, 2, this.height - this.top - 24);
      if (this.box && (x < this.box.scrollLeft + kGutter || x > this.box.scrollLeft + this.box.clientWidth - 40)) this.box.scrollLeft = x - 80;
      requestAnimationFrame(follow);
    };
    requestAnimationFrame(follow);
  }
}
