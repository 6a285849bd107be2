// Compares headscope's tokenizers with Hugging Face's, and races them. Called by bench/peers/tokenizers.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { nastyTexts } from './texts.mjs';

const { Tokenizer } = createRequire(import.meta.url)('tokenizers');
const [program, verb, ...words] = process.argv.slice(2);
const option = (name, fallback) => {
  const at = words.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(words.splice(at, 2)[1]);
};
const TEXTS = option('texts', 300);
const SEED = option('seed', 1);
const CHUNK = option('chunk', 4096); // characters of a text that is raced
const ROUNDS = 5;
const SHOWN = 5; // differences that are shown of a file

const now = () => Number(process.hrtime.bigint()) / 1e9;
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

/** The C++ side: one command a line, one line of JSON back. */
class Worker {
  constructor() {
    this.child = spawn(program, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }
  async ask(command) {
    this.child.stdin.write(`${JSON.stringify(command)}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`the program ended at ${JSON.stringify(command).slice(0, 200)}`);
    return JSON.parse(value);
  }
  end() {
    this.child.stdin.end();
  }
}

const label = (path) => (basename(path) === 'tokenizer.json' ? basename(dirname(path)) : basename(path, '.json'));

/** The file without the truncation and padding it may ask for, which headscope does not apply. */
function peerOf(file) {
  const json = JSON.parse(readFileSync(file, 'utf8'));
  json.truncation = null;
  json.padding = null;
  return Tokenizer.fromString(JSON.stringify(json));
}

async function peerAnswer(peer, text) {
  const encoding = await peer.encode(text, null, { addSpecialTokens: false });
  const ids = encoding.getIds();
  return {
    ids,
    offsets: encoding.getOffsets(),
    decoded: await peer.decode(ids, false),
    plain: await peer.decode(ids, true),
    streamed: true,
  };
}

/** The names of what differs. */
const differences = (a, b) => Object.keys(a).filter((key) => JSON.stringify(a[key]) !== JSON.stringify(b[key]));

async function compare(worker, file, texts) {
  const loaded = await worker.ask({ load: file });
  if (loaded.error) return console.log(`${label(file)}: ${loaded.error}`), 1;
  const peer = peerOf(file);
  const counts = {};
  let wrong = 0;
  for (const text of texts) {
    let theirs;
    try {
      theirs = await peerAnswer(peer, text);
    } catch (error) {
      counts['peer fails'] = (counts['peer fails'] ?? 0) + 1;
      continue;
    }
    const ours = await worker.ask({ encode: text });
    const keys = ours.error ? ['error'] : differences(theirs, ours);
    if (keys.length === 0) continue;
    for (const key of keys) counts[key] = (counts[key] ?? 0) + 1;
    if (wrong++ < SHOWN) {
      console.log(`  ${keys}: ${JSON.stringify(text).slice(0, 300)}`);
      const key = keys[0];
      console.log(`    peer ${JSON.stringify(theirs[key])?.slice(0, 300)}\n    ours ${JSON.stringify(ours[key])?.slice(0, 300)}`);
    }
  }
  console.log(`${label(file)}: ${texts.length - wrong} of ${texts.length} texts agree ${JSON.stringify(counts)}`);
  return wrong;
}

/** Texts of about CHUNK characters, cut at line ends. */
function chunks(text) {
  const out = [];
  let open = '';
  for (const line of text.split(/(?<=\n)/)) {
    open += line;
    if (open.length >= CHUNK) {
      out.push(open);
      open = '';
    }
  }
  return open ? [...out, open] : out;
}

async function race(worker, peer, file, textFile, folder) {
  const texts = chunks(readFileSync(textFile, 'utf8'));
  const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  const passed = join(folder, 'texts.json');
  writeFileSync(passed, JSON.stringify(texts));
  for (const text of texts.slice(0, 200)) {
    const keys = differences(await peerAnswer(peer, text), await worker.ask({ encode: text }));
    if (keys.length > 0) throw new Error(`${label(file)}: ${keys} differ on ${JSON.stringify(text).slice(0, 200)}`);
  }
  const ours = [];
  const theirs = [];
  for (let round = 0; round < ROUNDS; ++round) {
    ours.push((await worker.ask({ time: passed })).seconds);
    const begin = now();
    await peer.encodeBatch(texts, { addSpecialTokens: false });
    theirs.push(now() - begin);
  }
  const rate = (list) => bytes / 1e6 / median(list);
  const [a, b] = [rate(ours), rate(theirs)];
  console.log(`| ${label(file)} | ${basename(textFile)} | ${a.toFixed(1)} | ${b.toFixed(1)} | ${(a / b).toFixed(1)} |`);
}

async function loadingTimes(worker, file) {
  const { ms, error } = await worker.ask({ load: file });
  if (error) throw new Error(error);
  const begin = now();
  const peer = peerOf(file);
  console.error(`${label(file)}: loaded in ${ms.toFixed(1)} ms, the peer in ${((now() - begin) * 1e3).toFixed(1)} ms`);
  return peer;
}

const worker = new Worker();
const folder = mkdtempSync(join(tmpdir(), 'tokenizers-'));
let wrong = 0;
try {
  if (verb === 'compare') {
    for (const file of words) {
      const added = JSON.parse(readFileSync(file, 'utf8')).added_tokens?.map((token) => token.content) ?? [];
      wrong += await compare(worker, file, nastyTexts(TEXTS, SEED, added));
    }
  } else {
    console.log('| tokenizer | text | headscope MB/s | Hugging Face MB/s | times |\n|---|---|---:|---:|---:|');
    const files = words.filter((word) => word.endsWith('.json'));
    for (const file of files) {
      const peer = await loadingTimes(worker, file);
      for (const text of words.filter((word) => !word.endsWith('.json'))) await race(worker, peer, file, text, folder);
    }
  }
} finally {
  worker.end();
  rmSync(folder, { recursive: true });
}
process.exitCode = wrong > 0 ? 1 : 0;
