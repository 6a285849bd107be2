// Measures every row of the table with the ways taking turns, so that neighbours disturb all alike.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { groupQueryAttention, multiHeadAttention } from './onnx.mjs';

const [program, ...words] = process.argv.slice(2);
const quick = words.includes('--quick');
// --rows 1,3: these rows of the table alone.
const at = words.indexOf('--rows');
const chosen = at < 0 ? null : words[at + 1].split(',').map(Number);
const ROUNDS = quick ? 1 : 5;
const RUNS = quick ? 1 : 5; // a turn; each turn warms up first
const REST_MS = quick ? 0 : 100; // threads of the one before stop spinning

const ROWS = [
  { heads: 4, T: 512, D: 64 },
  { heads: 4, T: 2048, D: 64 },
  { heads: 4, T: 4096, D: 64 },
  { heads: 4, T: 2048, D: 128 },
  { heads: 96, T: 128, D: 64 },
  { heads: 32, groups: 8, T: 2048, D: 64, causal: true },
  { heads: 32, groups: 8, T: 8192, rows: 1, D: 128, causal: true },
  { heads: 32, groups: 8, T: 32768, rows: 1, D: 128, causal: true },
].map((row) => ({ groups: row.heads, rows: row.T, keys: row.T, causal: false, ...row }))
  .filter((row) => !quick || row.keys <= 512)
  .filter((_, n) => !chosen || chosen.includes(n + 1));

const rest = () => new Promise((done) => setTimeout(done, REST_MS));
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

/** The C++ side: one command a line, one line of JSON back. */
class Worker {
  constructor() {
    this.child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }
  async ask(command) {
    this.child.stdin.write(`${command}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`the worker ended at: ${command}`);
    return JSON.parse(value);
  }
  end() {
    this.child.stdin.end();
  }
}

async function onnxRuntime() {
  try {
    return (await import('onnxruntime-node')).default;
  } catch (error) {
    console.error(`bench/peers: no ONNX Runtime column, expected its package, found: ${error.message.split('\n')[0]}`);
    return null;
  }
}

const floats = (path) => {
  const file = readFileSync(path);
  return new Float32Array(file.buffer, file.byteOffset, file.length / 4);
};

// [T,G,D] -> [G,T,D], as a cache lies.
function byHead(numbers, T, G, D) {
  const out = new Float32Array(numbers.length);
  for (let t = 0; t < T; ++t) {
    for (let g = 0; g < G; ++g) {
      out.set(numbers.subarray((t * G + g) * D, (t * G + g + 1) * D), (g * T + t) * D);
    }
  }
  return out;
}

/** A call of ONNX Runtime for one row: { operator, run }. */
async function peerOf(ort, row, folder, threads) {
  const { heads, groups, rows, keys, D } = row;
  const tensor = (numbers, shape) => new ort.Tensor('float32', numbers, shape);
  const counts = (n) => new ort.Tensor('int32', Int32Array.of(n), [1]);
  const [q, k, v] = ['q', 'k', 'v'].map((name) => floats(join(folder, name)));
  const feeds = { q: tensor(q, [1, rows, heads * D]) };
  const fetches = { out: null };
  let model;
  if (row.causal) {
    const cached = rows < keys;
    const own = (all) => tensor(all.slice((keys - rows) * groups * D), [1, rows, groups * D]);
    Object.assign(feeds, { k: own(k), v: own(v), last: counts(keys - 1), total: counts(keys) });
    if (cached) {
      // The cache is written in place: what goes in is what comes out.
      for (const [name, all] of [['k', k], ['v', v]]) {
        const cache = tensor(byHead(all, keys, groups, D), [1, groups, keys, D]);
        feeds[`past_${name}`] = cache;
        fetches[`present_${name}`] = cache;
      }
    } else {
      fetches.present_k = null;
      fetches.present_v = null;
    }
    model = groupQueryAttention({ heads, groups, rows, keys, width: D, cached });
  } else {
    feeds.k = tensor(k, [1, keys, groups * D]);
    feeds.v = tensor(v, [1, keys, groups * D]);
    model = multiHeadAttention({ heads, rows, keys, width: D });
  }
  const session = await ort.InferenceSession.create(model, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
  });
  return {
    operator: row.causal ? 'GroupQueryAttention' : 'MultiHeadAttention',
    run: () => session.run(feeds, fetches),
  };
}

async function timed(run) {
  await run();
  const took = [];
  for (let n = 0; n < RUNS; ++n) {
    const start = process.hrtime.bigint();
    await run();
    took.push(Number(process.hrtime.bigint() - start) / 1e9);
  }
  return took;
}

// Largest difference relative to the largest number.
function difference(a, b) {
  let most = 0;
  let size = 0;
  if (a.length !== b.length) return Infinity;
  for (let i = 0; i < a.length; ++i) {
    const d = Math.abs(a[i] - b[i]);
    if (!(d <= most)) most = d;
    size = Math.max(size, Math.abs(b[i]));
  }
  return most / size;
}

async function compare(worker, peer, folder) {
  const path = join(folder, 'out');
  const of = async (way) => {
    await worker.ask(`out ${way} ${path}`);
    return Float32Array.from(floats(path));
  };
  const ours = await of('ours');
  const found = { onednn: await of('onednn'), bf16: await of('bf16') };
  if (peer) found.ort = (await peer.run()).out.data;
  const off = Object.fromEntries(Object.entries(found).map(([way, out]) => [way, difference(out, ours)]));
  for (const [way, d] of Object.entries(off)) {
    const most = way === 'bf16' ? 0.02 : 1e-4;
    if (!(d < most)) throw new Error(`${way} computes something else: difference ${d}, expected less than ${most}`);
  }
  return Math.max(...Object.entries(off).map(([way, d]) => (way === 'bf16' ? 0 : d)));
}

async function measure(worker, ort, row, folder) {
  const { heads, groups, rows, keys, D, causal } = row;
  const { threads, isa } = await worker.ask(`shape ${heads} ${groups} ${rows} ${keys} ${D} ${causal ? 1 : 0}`);
  await worker.ask(`save ${folder}`);
  const peer = ort && (await peerOf(ort, row, folder, threads));
  const off = await compare(worker, peer, folder);
  const took = { ours: [], bf16: [], onednn: [], ort: [] };
  const beyond = {};
  for (let round = 0; round < ROUNDS; ++round) {
    for (const way of ['ours', 'bf16', 'onednn']) {
      await rest();
      const answer = await worker.ask(`${way} ${RUNS}`);
      took[way].push(...answer.seconds);
      beyond[way] = answer.beyond;
    }
    await rest();
    if (peer) took.ort.push(...(await timed(peer.run)));
  }
  const seconds = Object.fromEntries(Object.entries(took).map(([way, list]) => [way, median(list)]));
  return { row, seconds, beyond, off, threads, isa, operator: peer?.operator };
}

const ms = (s) => (s === undefined ? '-' : s < 0.01 ? `${(s * 1e3).toFixed(2)} ms` : `${(s * 1e3).toFixed(1)} ms`);
const mb = (n) => `${(n / 1e6).toPrecision(2)} MB`.replace(/e\+\d+/, (e) => e);
const ratio = (a, b) => (a === undefined ? '-' : `${(a / b).toFixed(2)}x`);

function line({ row, seconds, beyond, off, operator }) {
  const shape = row.rows === row.keys
    ? `${row.heads === row.groups ? row.heads : `${row.heads} on ${row.groups}`} x ${row.T} x ${row.D}${row.causal ? ', causal' : ''}`
    : `decode, ${row.heads} on ${row.groups}, ${row.keys} keys, D=${row.D}`;
  return `| ${[
    shape,
    ms(seconds.ours),
    ms(seconds.bf16),
    `${ms(seconds.ort)}${operator ? (operator.startsWith('Group') ? ' (GQA)' : ' (MHA)') : ''}`,
    ratio(seconds.ort, seconds.ours),
    ms(seconds.onednn),
    ratio(seconds.onednn, seconds.ours),
    `${mb(beyond.ours)} / ${mb(beyond.onednn)}`,
    off.toExponential(0),
  ].join(' | ')} |`;
}

const worker = new Worker();
const folder = mkdtempSync(join(tmpdir(), 'headscope-peers-'));
try {
  const ort = await onnxRuntime();
  const start = Date.now();
  const lines = [];
  let about = '';
  for (const [n, row] of ROWS.entries()) {
    const left = n === 0 ? '' : `, about ${Math.round(((Date.now() - start) / 1e3 / n) * (ROWS.length - n))} s left`;
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[Krow ${n + 1} of ${ROWS.length}${left}`);
    const found = await measure(worker, ort, row, folder);
    about = `Instruction set ${found.isa}, ${found.threads} threads each, f32 unless said, medians of ${ROUNDS * RUNS} runs, the ways taking turns.`;
    lines.push(line(found));
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  console.log(`${about}\n`);
  console.log('| heads x T x D | headscope | headscope bf16 | ONNX Runtime | ratio | oneDNN, maps materialised | ratio | memory beyond: ours / materialised | largest difference |');
  console.log('|---|---|---|---|---|---|---|---|---|');
  console.log(lines.join('\n'));
} catch (error) {
  console.error(`bench/peers: ${error.message}`);
  process.exitCode = 1;
} finally {
  worker.end();
  rmSync(folder, { recursive: true, force: true });
}
