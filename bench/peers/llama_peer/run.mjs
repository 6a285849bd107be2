// Both programs measure the same rows, one after the other in every round, so that neighbours disturb both alike.
import { spawnSync } from 'node:child_process';

const [program, model, ...words] = process.argv.slice(2);
if (model === undefined) {
  console.error('bench/peers/llama: expected a .gguf file, found none');
  process.exit(2);
}
const option = (name, fallback) => {
  const at = words.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(words[at + 1]);
};
const rounds = option('rounds', 3);
const threads = option('threads', 2);

const run = (command, list) => {
  const { stdout, status } = spawnSync(command, list, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (status !== 0) throw new Error(`${command} ended with status ${status}`);
  return JSON.parse(stdout);
};
const ours = () => run(program, ['bench', model, '--json', '--threads', String(threads)]);
const theirs = () => run(process.execPath, [new URL('worker.mjs', import.meta.url).pathname, model, String(threads)]);

const key = (row) => `${row.name} ${row.name === 'prefill' ? row.tokens : row.context}`;
const found = new Map();
for (let round = 0; round < rounds; ++round) {
  for (const [who, rows] of [['headscope', ours()], ['llama.cpp', theirs()]]) {
    for (const row of rows) {
      const all = found.get(key(row)) ?? { headscope: [], 'llama.cpp': [] };
      all[who].push(row);
      found.set(key(row), all);
    }
  }
}
const median = (rows, field) => {
  const all = rows.map((row) => row[field]).sort((a, b) => a - b);
  return all[Math.floor(all.length / 2)];
};
console.log('| row | headscope tok/s | llama.cpp tok/s | ratio | headscope MB | llama.cpp MB |');
console.log('|---|---|---|---|---|---|');
for (const [name, { headscope, 'llama.cpp': llama }] of found) {
  if (headscope.length === 0 || llama.length === 0) continue;
  const [a, b] = [median(headscope, 'tokens_per_second'), median(llama, 'tokens_per_second')];
  console.log(
    `| ${name} | ${a.toFixed(0)} | ${b.toFixed(0)} | ${(a / b).toFixed(2)} | ` +
      `${median(headscope, 'resident_mbytes').toFixed(0)} | ${median(llama, 'resident_mbytes').toFixed(0)} |`,
  );
}
