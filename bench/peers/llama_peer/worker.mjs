// llama.cpp's rows, as `headscope bench MODEL --json` names them.
import { readFileSync } from 'node:fs';
import { getLlama } from 'node-llama-cpp';

const [modelPath, threads] = process.argv.slice(2);
const RUNS = 3;
const DECODED = 32;
const llama = await getLlama({ gpu: false, build: 'never', maxThreads: Number(threads), logLevel: 'error', progressLogs: false });
const model = await llama.loadModel({ modelPath, useMmap: true });
const context = await model.createContext({ contextSize: 2304, batchSize: 512, threads: Number(threads) });
const sequence = context.getSequence();
const text = 'The quick brown fox jumps over the lazy dog while the river runs down to the sea. ';
const ids = model.tokenize(text.repeat(200));

const resident = () => Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[1]) * 4096 / 1e6;
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

async function read(count) {
  await sequence.clearHistory();
  const start = performance.now();
  await sequence.evaluateWithoutGeneratingNewTokens(ids.slice(0, count));
  return (performance.now() - start) / 1e3;
}
// The median time between two tokens: what JavaScript does now and then is left out.
async function decode(count) {
  await read(count - 1);
  const steps = [];
  let last;
  for await (const _ of sequence.evaluate([ids[count - 1]], { temperature: 0, yieldEogToken: true })) {
    const now = performance.now();
    if (last !== undefined) steps.push((now - last) / 1e3);
    last = now;
    if (steps.length === DECODED) break;
  }
  return median(steps) * DECODED;
}
async function row(name, tokens, before, seconds) {
  await seconds();  // warms up
  const all = [];
  for (let n = 0; n < RUNS; ++n) all.push(await seconds());
  return { name, tokens, context: before, tokens_per_second: tokens / median(all), resident_mbytes: resident() };
}
const rows = [];
for (const tokens of [128, 512, 2048]) rows.push(await row('prefill', tokens, 0, () => read(tokens)));
for (const before of [16, 1024]) rows.push(await row('decode', DECODED, before, () => decode(before)));
console.log(JSON.stringify(rows));
process.exit(0);
