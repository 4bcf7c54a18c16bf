import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { Stryker } from '@stryker-mutator/core';
import { stringify } from 'yaml';
import type { Survivor } from './survivors.ts';
import { compareSurvivors, parseSurvivors, survivorAt } from './survivors.ts';

/*
 * `npm run mutate`: changes the code of the deciders below, one thing at a time, and sees whether a test fails.
 * docs/mutation.md says how to read what comes out.
 *
 *   npm run mutate -- [FILE...]
 */

const root = resolve(import.meta.dirname, '..');
const all = [
  'src/agent/identity-sources/bundles.ts',
  'src/agent/identity-sources/revoked.ts',
  'src/agent/renewal-timetable.ts',
  'src/backoff.ts',
  'src/control-plane/root-set.ts',
  'src/control-plane/rotation-rules.ts',
  'src/proxy/proof.ts',
  'src/proxy/proofs.ts',
  'src/proxy/transport/hbone/proof-timetable.ts',
  ...[
    'bundle-document',
    'certificate',
    'certificate-extensions',
    'certificate-strength',
    'crl',
    'crl-fields',
    'crl-lists',
    'decide-peer',
    'der',
    'federation',
    'identity',
    'revocations',
    'spiffe-id',
    'trust-bundle',
    'trust-path',
    'tunnel-proof',
    'verify-peer',
  ].map((name) => `src/identity/${name}.ts`),
  ...['address-bits', 'authorize', 'facts', 'judge', 'mode', 'pattern', 'policy-index', 'rule', 'weight'].map(
    (name) => `src/policy/${name}.ts`,
  ),
];

type Mutant = Awaited<ReturnType<Stryker['runMutationTest']>>[number];

const files = process.argv.slice(2).length === 0 ? all : process.argv.slice(2);
const unknown = files.filter((file) => !all.includes(file));
if (unknown.length > 0) {
  console.error(`mutate: ${unknown.join(', ')}: expected some of\n  ${all.join('\n  ')}`);
  process.exitCode = 2;
} else {
  process.chdir(root);
  // What went wrong is in Stryker's own lines by then.
  const sources = new Map(files.map((file) => [file, readFileSync(file, 'utf8')]));
  const results = await mutants().catch((error: Error) => console.error(`mutate: ${error.message}`));
  process.exitCode = results === undefined ? 1 : report(results, sources);
}

async function mutants(): Promise<Mutant[]> {
  const folder = mkdtempSync(join(tmpdir(), 'remora-mutation-'));
  try {
    const configFile = 'mutation/stryker.config.json';
    const stryker = new Stryker({ configFile, mutate: [...files], tempDirName: folder });
    return await stryker.runMutationTest();
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Prints the score of each file and what differs from the list; returns the exit code. */
function report(results: readonly Mutant[], sources: ReadonlyMap<string, string>): number {
  const survivors: Survivor[] = [];
  for (const [file, source] of sources) {
    const mutants = results.filter(({ fileName }) => relative(root, resolve(fileName)) === file);
    const count = (...statuses: readonly string[]) => mutants.filter(({ status }) => statuses.includes(status)).length;
    const alive = mutants.filter(({ status }) => status === 'Survived' || status === 'NoCoverage');
    survivors.push(...alive.map(({ location, replacement }) => survivorAt(file, source, location, replacement)));
    // A runtime error is a test file that cannot even be read after the change.
    const killed = count('Killed', 'Timeout', 'RuntimeError');
    console.log(`${file}: ${killed} of ${killed + alive.length} killed`);
  }
  const list = readFileSync(join(import.meta.dirname, 'survivors.yaml'), 'utf8');
  const { unlisted, gone } = compareSurvivors(survivors, parseSurvivors(list), files);
  say('Listed in mutation/survivors.yaml, and killed or no longer there', gone);
  say('Alive, and not listed in mutation/survivors.yaml', unlisted);
  console.log(`${survivors.length - unlisted.length} survivors are listed, ${unlisted.length} are not`);
  return unlisted.length === 0 ? 0 : 1;
}

function say(title: string, survivors: readonly Survivor[]): void {
  if (survivors.length > 0) console.log(`${title}:\n\n${stringify(survivors, { lineWidth: 0 })}`);
}
