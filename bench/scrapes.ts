import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { smallAnswer, startBackend } from './backend.ts';
import { writeCertificates } from './certificates.ts';
import { startRemora } from './contenders/remora.ts';
import { BenchError } from './errors.ts';
import { measure } from './measure.ts';
import { endPrograms } from './programs.ts';
import { whenReady } from './ready.ts';
import type { Spread } from './statistics.ts';
import { percentile, ratioSpread, spreadOf } from './statistics.ts';

/*
 * Whether scrapes disturb connections: 1000 requests a second go through two sidecars while nobody scrapes, while 50 scrapers
 * ask two other sidecars every 100 ms, and while they ask these two. The second shows what the scrapers take of the machine.
 *
 *   node bench/scrapes.ts [rounds, 5] [seconds, 3]
 */

const rounds = Number(process.argv[2] ?? 5);
const seconds = Number(process.argv[3] ?? 3);
const scrapers = 50;
const everyMs = 100;

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)
  process.once(signal, () => process.exit(code));

const folder = mkdtempSync(join(tmpdir(), 'remora-bench-'));
process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
const files = writeCertificates(folder);
const backend = await startBackend(folder);
const start = async (name: string) => {
  const own = join(folder, name);
  mkdirSync(own);
  const contender = await startRemora({ folder: own, ...files, backendPort: backend.port });
  await whenReady(contender);
  return contender;
};
const carriers = await start('carriers');
const bystanders = await start('bystanders');

const load = { kind: 'fixed-rate', connections: 16, ratePerSecond: 1000, ...smallAnswer } as const;
const variant = (name: string, scraped: readonly number[]) => ({
  ...{ name, scraped, pages: 0 },
  ...{ medians: [] as number[], worst: [] as number[], cpu: [] as number[] },
});
const quiet = variant('nobody', []);
const variants = [
  quiet,
  variant('two other sidecars', bystanders.metricsPorts),
  variant('these two sidecars', carriers.metricsPorts),
];

try {
  for (let round = 0; round < rounds; round += 1)
    for (let turn = 0; turn < variants.length; turn += 1) await measureOne(variants[(round + turn) % variants.length]);
  print();
} catch (error) {
  if (!(error instanceof BenchError)) throw error;
  console.error(`bench: ${error.message}`);
  process.exitCode = 1;
} finally {
  await endPrograms();
}

async function measureOne(variant = quiet): Promise<void> {
  const { name, scraped, medians, worst, cpu } = variant;
  const scraping = scrape(scraped);
  const { latenciesMs, cpuSeconds } = await measure({ name, load, metrics: [] }, carriers, backend, seconds);
  medians.push(percentile(latenciesMs, 50));
  worst.push(percentile(latenciesMs, 99));
  cpu.push((cpuSeconds / seconds) * 100);
  variant.pages += await scraping.end();
}

function print(): void {
  const shown = ({ median, min, max }: Spread) =>
    `${median.toPrecision(3)} (${min.toPrecision(3)}–${max.toPrecision(3)})`;
  console.log('| scraped | p50, ms | ratio | p99, ms | ratio | CPU of both, % of a core | pages |');
  console.log('|---|---|---|---|---|---|---|');
  for (const { name, medians, worst, cpu, pages } of variants) {
    const ofMedians = [spreadOf(medians), ratioSpread(medians, quiet.medians)];
    const ofWorst = [spreadOf(worst), ratioSpread(worst, quiet.worst)];
    const cells = [...ofMedians, ...ofWorst, spreadOf(cpu)].map(shown);
    console.log(`| ${[name, ...cells, pages].join(' | ')} |`);
  }
}

/** Asks until it is told to end, each scraper over a connection that stays; resolves then with the number of pages. */
function scrape(ports: readonly number[]): { end(): Promise<number> } {
  // No more than 32 connections of one address are taken.
  const agents = [2, 3].map((last) => new Agent({ keepAlive: true, localAddress: `127.0.0.${last}` }));
  let [isOver, pages] = [false, 0];
  const page = (port: number, agent: Agent) =>
    new Promise<void>((resolve, reject) => {
      const request = get({ host: '127.0.0.1', port, path: '/metrics', agent }, (response) => {
        if (response.statusCode !== 200) reject(new Error(`A scrape was answered with ${response.statusCode}`));
        response.resume().once('end', resolve);
      });
      request.once('error', reject);
    });
  const scraper = async (number: number, port: number, agent: Agent) => {
    await wait((number * everyMs) / scrapers);
    while (!isOver) {
      const begunMs = performance.now();
      await page(port, agent);
      pages += 1;
      await wait(Math.max(0, begunMs + everyMs - performance.now()));
    }
  };
  const running = ports.flatMap((port) =>
    Array.from({ length: scrapers }, (_, number) => {
      const agent = agents[number % agents.length];
      return agent === undefined ? undefined : scraper(number, port, agent);
    }),
  );
  return {
    async end() {
      isOver = true;
      await Promise.all(running);
      for (const agent of agents) agent.destroy();
      return pages;
    },
  };
}
