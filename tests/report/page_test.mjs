// The page's own modules against values computed in C++ in double (made_run.h), and the joined script.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { describeHead, kOnePlace, measureOf } from '../../web/report/measure.mjs';
import { decodeNumbers, Source } from '../../web/report/data.mjs';
import { lightOf, notesOf } from '../../web/report/places.mjs';
import { Shown } from '../../web/report/shown.mjs';
import { defaults, fromHash, toHash } from '../../web/report/state.mjs';
import { counted, elementName, fitting, numberText, speak, t, voiceName, weightText } from '../../web/report/words.mjs';

const folder = process.env.HEADSCOPE_PAGES;
assert.ok(folder, 'HEADSCOPE_PAGES names the folder of pages');
const names = readdirSync(folder).filter(name => name.endsWith('.html')).map(name => name.slice(0, -5));
assert.ok(names.length >= 10);

/** @param {string} name */
function open(name) {
  const html = readFileSync(join(folder, `${name}.html`), 'utf8');
  const page = JSON.parse(/<script type="application\/json" id="page">(.*?)<\/script>/s.exec(html)[1]);
  const source = new Source(page, id => {
    const found = new RegExp(`id="n-${id.replace('.', '\\.')}" data-type="(\\w+)" data-shape="([\\d ]*)">([^<]*)<`).exec(html);
    return found && { shape: found[2].split(' ').map(Number), numbers: decodeNumbers(found[1], found[3]) };
  });
  return { html, source, expected: JSON.parse(readFileSync(join(folder, `${name}.json`), 'utf8')) };
}

for (const name of names) {
  test(`weights of ${name}`, () => {
    const { source, expected } = open(name);
    assert.equal(source.page.text, expected.text);
    for (const { layer, head, row, weights } of expected.rows) {
      const found = source.row(layer, head, row);
      const whole = source.map(layer, head).subarray(row * weights.length, (row + 1) * weights.length);
      weights.forEach((w, j) => {
        assert.ok(Math.abs(found[j] - w) < 1e-6, `${layer}.${head} [${row},${j}] expected ${w}, found ${found[j]}`);
        assert.equal(whole[j], found[j]);
        assert.ok(Math.abs(source.weight(layer, head, row, j) - w) < 1e-6);
      });
      assert.ok(source.rowDeviation(layer, head).largest < 1e-5);
    }
  });
}

test('the joined script parses: no name is declared twice', () => {
  const { html } = open('plain');
  const script = /<script type="module">(.*?)<\/script>/s.exec(html)[1];
  assert.ok(!/^(import|export) /m.test(script));
  const file = join(folder, 'joined.mjs');
  writeFileSync(file, script);
  execFileSync(process.execPath, ['--check', file]);
});

test('hiding scales rows up to 1 and says how much it hides', () => {
  const { source } = open('plain');
  const shown = new Shown(source, 0, 1, { words: false, special: false, first: true });
  let hidden = 0;
  for (let i = 0; i < shown.rows.length; i++) {
    const row = shown.row(i);
    assert.equal(row[0], 0);
    assert.equal(row[i], 0);
    assert.ok(Math.abs(row.reduce((a, b) => a + b, 0) - 1) < 1e-5);
    const whole = source.row(0, 1, i);
    hidden += (whole[0] + (i ? whole[i] : 0)) / shown.rows.length;
  }
  assert.ok(Math.abs(shown.hidden - hidden) < 1e-5);
  const special = new Shown(source, 0, 1, { words: false, special: true, first: false });
  assert.equal(special.rows.length, shown.rows.length - 2);
  assert.ok(Math.abs(special.row(3).reduce((a, b) => a + b, 0) - 1) < 1e-5);
});

test('a word is the mean of its rows and the sum of its columns', () => {
  const { source } = open('plain');
  const shown = new Shown(source, 1, 2, { words: true, special: false, first: false });
  const w = shown.rows.findIndex(unit => unit.last > unit.first);
  assert.ok(w > 0);
  const { first, last } = shown.rows[w];
  const [a, b] = [source.row(1, 2, first), source.row(1, 2, last)];
  assert.ok(Math.abs(shown.at(w, 0) - (a[0] + b[0]) / 2) < 1e-6);
  const other = source.row(1, 2, 0);
  assert.ok(Math.abs(shown.at(0, w) - other[first] - other[last]) < 1e-6);
});

test('measures equal sums over the map', () => {
  const { source } = open('plain');
  const { rows } = source.layer(0);
  let previous = 0;
  for (let i = 1; i < rows; i++) previous += source.row(0, 3, i)[i - 1] / (rows - 1);
  const figure = measureOf(source, 0, 3, 'previous');
  assert.ok(Math.abs(figure.value - previous) < 1e-6);
  assert.equal(figure.rows, rows - 1);
  assert.ok(describeHead(source, 0, 3).rows > 0);
});

test('a link reproduces the selection, and nonsense is ignored', () => {
  const base = defaults({ layer: 0, head: 0, view: 'head', language: 'en' });
  const limits = { layers: 2, heads: 4, rows: 12, keys: 12, measures: ['map', 'entropy'] };
  const chosen = { ...base, layer: 1, head: 2, view: 'walk', rows: [3, 7], over: [[0, 1]], min: 0.1, words: true, lang: 'ru', measure: 'entropy' };
  assert.deepEqual(fromHash('#' + toHash(chosen, base), base, limits), chosen);
  const merged = defaults({ layer: 0, head: 0, view: 'head', language: 'en' }, true);
  assert.deepEqual(fromHash('#' + toHash({ ...merged, words: false }, merged), merged, limits), { ...merged, words: false });
  assert.ok(!toHash(merged, merged).includes('words'));
  const asked = defaults({ layer: 0, head: 0, row: 5, view: 'head', language: 'en' });
  assert.deepEqual(asked.rows, [5]);
  assert.ok(!toHash(asked, asked).includes('rows'));
  assert.deepEqual(fromHash('#' + toHash({ ...asked, rows: [] }, asked), asked, limits).rows, []);
  assert.deepEqual(fromHash('#head=9.9&rows=99,-1,x&min=7&view=<b>&measure=__proto__&over=1,2.x', base, limits), base);
});

test('figures are written as the design says', () => {
  assert.deepEqual([0.8123, 1, 0.9998, 0.9961, 0.02, 0.004, 0.0001, 0].map(weightText), ['.81', '1', '.9998', '.996', '.02', '.004', '<.001', '0']);
  assert.deepEqual([2.5e-7, -0.5, 1234.5, 12.34].map(numberText), ['2.5·10⁻⁷', '−.500', '1235', '12.3']);
  speak('ru');
  assert.deepEqual([1, 2, 5, 11, 21, 112].map(n => counted(n, 'rows')), ['1 строка', '2 строки', '5 строк', '11 строк', '21 строка', '112 строк']);
  speak('en');
  assert.equal(t('remove', '3.1'), 'remove 3.1');
});

test('elements of what is no text are named in the chosen language, one column without its name', () => {
  const table = { kind: 'table', names: ['price'], rows: ['Sep-1-2009'] };
  const cell = { text: 'row Sep-1-2009, column price', special: false, row: 0, column: 0 };
  assert.equal(elementName(cell, table), 'Sep-1-2009');
  assert.equal(elementName(cell, { ...table, rows: ['7'] }), 'row 7');
  assert.equal(elementName(cell, null), cell.text);
  assert.equal(elementName({ ...cell, text: '[start]', special: true }, table), '[start]');
  assert.equal(elementName(cell, { ...table, rows: ['19970301'] }), '19970301');
  const tune = { kind: 'notes', names: ['soprano', 'alto'], rows: [], stepsPerBeat: 4, beatsPerBar: 3 };
  speak('ru');
  assert.equal(elementName({ ...cell, text: 'frame 2 patch 4,3', frame: 2 }, { kind: 'video', names: [], rows: [] }), 'кадр 2 клетка 4,3');
  assert.equal(elementName({ ...cell, text: 'patch 4,3', frame: 0 }, null), 'клетка 4,3', 'the walk of a picture has no scene');
  assert.equal(voiceName('tenor'), 'тенор');
  assert.equal(elementName({ ...cell, text: 'rest beat 1.5, alto', row: 1, column: 14 }, tune), 'пауза такт 2 доля 1.5, альт');
  speak('en');
  assert.equal(voiceName('tenor'), 'tenor');
  assert.equal(elementName({ ...cell, text: 'A#4 beat 3, soprano', row: 0, column: 44 }, tune), 'A#4 bar 4 beat 3, soprano');
  assert.notEqual(fitting('measured', table), fitting('measured', null));
  assert.equal(fitting('d_self', table), t('d_self'));
});

test('where there is little room names leave out what can be done without', () => {
  const cell = { text: 'row 7, column price', special: false, row: 0, column: 0 };
  const table = { kind: 'table', names: ['price'], rows: ['7'] };
  const brief = (text, media) => elementName({ ...cell, text }, media, true);
  assert.equal(brief(cell.text, table), '7');
  assert.equal(brief(cell.text, { ...table, names: ['price', 'cpi'] }), '7 price');
  assert.equal(brief('C4 beat 1.25, alto', { kind: 'notes', names: ['alto'], rows: [], stepsPerBeat: 4, beatsPerBar: 4 }), 'C4 1.1.25 alto');
  assert.equal(elementName({ ...cell, text: 'patch 4,3', frame: 0 }, null, true), '4,3');
  assert.equal(elementName({ ...cell, text: 'frame 2 patch 4,3', frame: 2 }, null, true), 'f2 4,3');
  assert.equal(brief('король', null), 'король');
});

/** A head each of whose rows gives key 3 the weight p and the other keys the rest. @param {number} p */
function lookingAtOne(p) {
  const n = 8;
  const stored = { q: new Float32Array(n).fill(1), lse: new Float32Array(n), k: Float32Array.from({ length: n }, (_, j) => Math.log(j === 3 ? p : (1 - p) / (n - 1))) };
  const options = { scale: 1, causal: false, windowLeft: -1, windowRight: -1, prefix: 0, queryOffset: 0, softcap: 0 };
  const layer = { heads: [0], batch: 1, labels: null, queryHeads: 1, groups: 1, rows: n, keys: n, width: 1, options };
  return new Source({ text: '', labels: [], layers: [layer], roles: [], walks: [], media: null }, id => {
    const numbers = stored[id.slice(2)];
    return numbers ? { shape: [1, n, 1], numbers } : null;
  });
}

test('a head is called mixed only where its rows look at two places or more', () => {
  const sure = describeHead(lookingAtOne(0.95), 0, 0);
  assert.equal(sure.degree, 'single');
  assert.ok(sure.value < kOnePlace);
  assert.equal(describeHead(lookingAtOne(0.7), 0, 0).degree, 'mixed');
  assert.equal(describeHead(lookingAtOne(0.2), 0, 0).degree, 'broad');
  assert.ok(!t('single').includes('mixed'));
});

test('the first row of a causal head is not among its strongest links', () => {
  const { source } = open('grouped');
  const shown = new Shown(source, 0, 0, { words: false, special: false, first: false });
  assert.ok(shown.links(1)[0].w >= 0.999);
  assert.ok(shown.strongest(8).every(({ i }) => i > 0));
});

test('notes that go on are one, rests and other voices end them', () => {
  const label = (row, column, special = false) => ({ text: '', begin: 0, end: 0, word: -1, special, frame: -1, row, column });
  const labels = [label(-1, -1, true), label(0, 0), label(1, 0), label(0, 1), label(1, 1), label(0, 2), label(1, 2), label(0, 3), label(1, 3)];
  const values = [null, 72, 60, 72, -1, 74, 60, 72, 60];
  assert.deepEqual(notesOf(labels, values).map(n => [n.voice, n.from, n.to, n.pitch]), [[0, 0, 2, 72], [1, 0, 1, 60], [0, 2, 3, 74], [1, 2, 4, 60], [0, 3, 4, 72]]);
});

test('light is a square root of the share of the most', () => {
  assert.equal(lightOf(0.25, 1), 0.5);
  assert.equal(lightOf(3, 2), 1);
  assert.equal(lightOf(0.1, 0), 0);
});

test('a page of a picture says where its patches lie and how it is lit', () => {
  const { source } = open('picture');
  const { media, labels } = source.page;
  assert.equal(media.kind, 'image');
  assert.deepEqual(media.grids[0], [1, 2, 3]);
  assert.deepEqual(source.tensor('pictures').shape, [1, 4, 6, 3]);
  const lit = source.stat(0, 1, 'light');
  const mass = source.stat(0, 1, 'column_mass');
  labels.forEach((label, j) => {
    if (label.frame >= 0) assert.ok(Math.abs(lit[label.row * 3 + label.column] - mass[j] / labels.length) < 1e-6);
  });
  const base = defaults(source.page.start);
  const limits = { layers: 2, heads: 4, rows: 7, keys: 7, measures: ['map'], media: true };
  assert.equal(base.view, 'media');
  const chosen = { ...base, frame: 3, view: 'walk' };
  assert.deepEqual(fromHash('#' + toHash(chosen, base), base, limits), chosen);
  assert.equal(fromHash('#view=media', { ...base, view: 'head' }, { ...limits, media: false }).view, 'head');
});
