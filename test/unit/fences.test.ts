import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

/*
 * Every fence is climbed over, and every gap in it is walked through, by one run of Biome on a tree of breaches: one
 * breach a line. Written from the design and not from the fences, so that it shows when the two differ.
 */

const root = resolve(import.meta.dirname, '../..');
const folders = [
  'agent',
  'cli',
  'control-plane',
  'identity',
  'injector',
  'metrics',
  'policy',
  'proxy',
  'redirect',
  'sidecar',
];

interface Finding {
  readonly rule: string;
  readonly text: string;
}

class Breaches {
  readonly #lines = new Map<string, string[]>();
  #findings = new Map<string, Finding[]>();

  /** Adds one line to `file` and says where it is. */
  add(file: string, line: string): string {
    const lines = this.#lines.get(file) ?? [];
    this.#lines.set(file, [...lines, line]);
    return `${file}:${lines.length + 1}`;
  }

  lint(): void {
    const folder = mkdtempSync(join(tmpdir(), 'remora-fences-'));
    // A clone may lie anywhere, also below folders that are named like those of src/.
    const tree = join(folder, 'src/proxy/remora');
    mkdirSync(tree, { recursive: true });
    try {
      for (const file of ['biome.json', 'fences.grit', 'package.json', '.gitignore'])
        copyFileSync(join(root, file), join(tree, file));
      for (const [file, lines] of this.#lines) {
        mkdirSync(dirname(join(tree, file)), { recursive: true });
        writeFileSync(join(tree, file), `${lines.join('\n')}\n`);
      }
      const biome = join(root, 'node_modules/.bin/biome');
      const flags = ['lint', '--max-diagnostics=none', '--colors=off'];
      const { stderr } = spawnSync(biome, flags, { cwd: tree, encoding: 'utf8', maxBuffer: 2 ** 26 });
      this.#findings = findingsIn(stderr);
    } finally {
      rmSync(folder, { recursive: true });
    }
  }

  at(place: string): readonly Finding[] {
    return this.#findings.get(place) ?? [];
  }

  all(): Finding[] {
    return [...this.#findings.values()].flat();
  }
}

/** Reads the report for people: it is the only one with the reasons of denied globals in it. */
function findingsIn(report: string): Map<string, Finding[]> {
  const findings = new Map<string, Finding[]>();
  for (const [text, file, line, rule] of report.matchAll(
    /^(\S+?)(?::(\d+):\d+)? (plugin|lint\/\S+) .*\n(?:\n| .*\n)*/gm,
  )) {
    if (file === undefined || rule === undefined) continue;
    const place = `${file}:${line ?? 1}`;
    findings.set(place, [...(findings.get(place) ?? []), { rule, text }]);
  }
  return findings;
}

const breaches = new Breaches();

// ---- Folders: who may import whom, and how.

type Way = 'import' | 'import type' | 'import()';
const ways: readonly Way[] = ['import', 'import type', 'import()'];

const mayImport: Record<string, Partial<Record<string, readonly Way[]>>> = {
  'errors.ts': { identity: ways, policy: ways },
  'config/table.ts': { identity: ways, policy: ways },
  'main.ts': Object.fromEntries(
    ['sidecar.ts', 'control-plane', 'redirect', 'injector', 'cli'].map((target) => [
      target,
      ['import type', 'import()'],
    ]),
  ),
  'sidecar.ts': { sidecar: ways, agent: ways, proxy: ways, metrics: ways, identity: ways, policy: ways },
  'sidecar/books.ts': { agent: ways, proxy: ways, metrics: ways, identity: ways, policy: ways },
  'identity/leaf.ts': {},
  'policy/mode.ts': {},
  'agent/renewal.ts': { identity: ways, policy: ways },
  'agent/registry/cache.ts': { identity: ways, policy: ways },
  'proxy/relay.ts': { identity: ways, policy: ways },
  'proxy/inbound/detect.ts': { identity: ways, policy: ways },
  'metrics/families.ts': Object.fromEntries(
    ['agent', 'identity', 'policy', 'proxy'].map((target) => [target, ['import type']]),
  ),
  'control-plane/store.ts': { identity: ways, policy: ways, metrics: ways, injector: ways },
  'injector/patch.ts': {},
  'redirect/rules.ts': {},
  'cli/demo/command.ts': { policy: ways, 'control-plane': ['import type', 'import()'] },
};

const statements: Record<Way, (module: string) => string> = {
  import: (module) => `import '${module}';`,
  'import type': (module) => `import type { X } from '${module}';`,
  'import()': (module) => `import('${module}');`,
};

const folderBreaches = Object.keys(mayImport).map((importer) => {
  const home = importer.includes('/') ? importer.split('/')[0] : importer;
  const targets = [...folders, 'main.ts', 'sidecar.ts'].filter((target) => target !== home);
  const places = targets.flatMap((target) =>
    ways.map((way) => ({
      target,
      way,
      place: breaches.add(`src/${importer}`, statements[way](pathFrom(importer, target))),
    })),
  );
  return { importer, places };
});

function pathFrom(importer: string, target: string): string {
  const up = '../'.repeat(importer.split('/').length - 1) || './';
  return `${up}${target.endsWith('.ts') ? target : `${target}/thing.ts`}`;
}

// ---- Modules and globals: who may use what.

const everyFile = [
  ...Object.keys(mayImport),
  'clock.ts',
  'libc.ts',
  'identity/csr.ts',
  'identity/pkcs12.ts',
  'control-plane/ca.ts',
];
const pure = ['identity/', 'policy/'];
const nobody: readonly string[] = [];
const allBut = (...files: string[]) => everyFile.filter((file) => !files.some((prefix) => file.startsWith(prefix)));
const only = (...files: string[]) => everyFile.filter((file) => files.some((prefix) => file.startsWith(prefix)));

const mayUse: Record<string, readonly string[]> = {
  "import 'node-forge/lib/asn1.js';": ['identity/csr.ts', 'identity/pkcs12.ts', 'control-plane/ca.ts'],
  "import 'prom-client';": only('metrics/'),
  "import 'undici';": only('agent/', 'cli/'),
  "import 'koffi';": ['libc.ts'],
  "import 'koffi/indirect';": ['libc.ts'],
  "import '@kubernetes/client-node';": only('control-plane/'),
  "import 'rfc6902';": only('injector/'),
  "import 'node:process';": ['main.ts'],
  "import 'process';": ['main.ts'],
  "import 'node:timers';": ['clock.ts'],
  "import 'node:timers/promises';": ['clock.ts'],
  "import 'node:module';": nobody,
  "import 'node:net';": allBut(...pure),
  "import 'node:fs/promises';": allBut(...pure),
  "import type { Y } from 'node:net';": everyFile,
  "import 'node:crypto';": everyFile,
  "import type { Y } from '../control-api.ts';": everyFile,
  "import 'pino';": allBut(...pure),
  "export * from 'koffi';": ['libc.ts'],
  "export type Z = typeof import('koffi');": ['libc.ts'],
  'import(computed);': nobody,
  'import(`./${computed}.ts`);': nobody,
  "import('./a' + '.ts');": nobody,
  'process.exit();': ['main.ts'],
  'globalThis.process.exit();': nobody,
  'global.process.exit();': nobody,
  'Date.now();': ['clock.ts'],
  'new Date(0);': ['clock.ts'],
  'performance.now();': ['clock.ts'],
  'Math.random();': ['clock.ts'],
  'const { random } = Math;': ['clock.ts'],
  'Math.max();': everyFile,
  'setTimeout(f, 1);': ['clock.ts'],
  'setInterval(f, 1);': ['clock.ts'],
  'AbortSignal.timeout(1);': ['clock.ts'],
  'setImmediate(f);': everyFile,
  'fetch(f);': nobody,
};

const useBreaches = Object.entries(mayUse).map(([line, users]) => ({
  line,
  users: [...users].sort(),
  places: everyFile.map((file) => ({ file, place: breaches.add(`src/${file}`, line) })),
}));

// ---- The rest.

const outsideSrc = [
  'test/unit/any.test.ts',
  'test/support/any.ts',
  'bench/any.ts',
  'soak/any.ts',
  'scripts/any.mjs',
].flatMap((file) => Object.keys(mayUse).map((line) => breaches.add(file, line)));

const single = {
  'inbound from outbound': breaches.add('src/proxy/outbound/resolve.ts', "import '../inbound/detect.ts';"),
  'inbound page from outbound': breaches.add('src/proxy/outbound.ts', "import './inbound.ts';"),
  'outbound from inbound': breaches.add(
    'src/proxy/inbound/detect.ts',
    "import type { O } from '../outbound/resolve.ts';",
  ),
  'wire shapes from proxy': breaches.add('src/proxy/relay.ts', "import '../control-api.ts';"),
  'the log from identity': breaches.add('src/identity/leaf.ts', "import '../log.ts';"),
  'a test from src': breaches.add('src/proxy/relay.ts', "import '../../test/support/any.ts';"),
};

const rules = {
  'suspicious/noConsole': breaches.add('src/proxy/relay.ts', 'console.log(1);'),
  'style/noDefaultExport': breaches.add('src/proxy/relay.ts', 'export default 1;'),
  'style/noCommonJs': breaches.add('src/proxy/relay.ts', "require('./x.ts');"),
  'style/useImportType': breaches.add('src/proxy/relay.ts', "import { type T1, T2 } from './x.ts'; T2;"),
  'style/useFilenamingConvention': breaches.add('src/proxy/camelCase.ts', 'export const one = 1;').replace(/\d+$/, '1'),
  'performance/noBarrelFile': breaches.add('src/proxy/barrel.ts', "export * from './account.ts';").replace(/\d+$/, '1'),
  'correctness/useImportExtensions': breaches.add('src/agent/promises.ts', "import '../agent/account.js';"),
  'correctness/noUndeclaredDependencies': breaches.add('src/proxy/relay.ts', "import 'left-pad';"),
  'correctness/noUndeclaredDependencies in src': breaches.add('src/proxy/relay.ts', "import 'vitest';"),
  'suspicious/noImportCycles': breaches.add('src/proxy/egg.ts', "import './hen.ts';"),
  'nursery/noFloatingPromises': breaches.add(
    'src/agent/promises.ts',
    'async function later(): Promise<void> {} later();',
  ),
  'nursery/noMisusedPromises': breaches.add('src/agent/promises.ts', 'if (later()) f();'),
  'nursery/useAwaitThenable': breaches.add('src/agent/promises.ts', 'await 1;'),
  'nursery/useExhaustiveSwitchCases': breaches.add(
    'src/agent/promises.ts',
    "declare const side: 'in' | 'out'; switch (side) { case 'in': f(); }",
  ),
};
breaches.add('src/proxy/hen.ts', "import './egg.ts';");
breaches.add('src/agent/account.ts', 'export const one = 1;');

breaches.lint();

const fenceRules = ['plugin', 'lint/style/noRestrictedGlobals', 'lint/nursery/noJsRestrictedProperties'];
const fencesAt = (place: string) => breaches.at(place).filter(({ rule }) => fenceRules.includes(rule));

describe('the import fences', () => {
  test.each(folderBreaches)('$importer imports what the design lets it import', ({ importer, places }) => {
    const permitted = places
      .filter(({ place }) => fencesAt(place).length === 0)
      .map(({ target, way }) => `${way} ${target}`);
    const expected = Object.entries(mayImport[importer] ?? {}).flatMap(([target, how]) =>
      how?.map((way) => `${way} ${target}`),
    );
    expect(permitted.sort()).toEqual(expected.sort());
  });

  test.each(useBreaches)('$line is for few', ({ users, places }) => {
    const permitted = places.filter(({ place }) => fencesAt(place).length === 0).map(({ file }) => file);
    expect(permitted.sort()).toEqual(users);
  });

  test.each(Object.entries(single))('%s', (_, place) => {
    expect(fencesAt(place)).toHaveLength(1);
  });

  test('tests, benchmarks, the soak and scripts are free', () => {
    expect(outsideSrc.flatMap(fencesAt)).toEqual([]);
  });

  test('each fires at least once, and with its reason', () => {
    const config = readFileSync(join(root, 'biome.json'), 'utf8');
    const fences = readFileSync(join(root, 'fences.grit'), 'utf8');
    const globals = [...config.matchAll(/"deniedGlobals": (\{.*?\})/gs)].flatMap(([, list]) =>
      Object.values<string>(JSON.parse(list ?? '')),
    );
    const properties = [...config.matchAll(/"message": "(.*)"/g)].map(([, reason]) => reason);
    const imports = [...fences.matchAll(/why="(.*?)"\)/g)].map(([, reason]) => reason);
    const reasons = new Set([...globals, ...properties, ...imports]);
    expect(reasons.size).toBeGreaterThan(35);
    expect([...reasons].filter((reason) => !breaches.all().some(({ text }) => text.includes(reason ?? '')))).toEqual(
      [],
    );
  });

  test('no query breaks while it runs', () => {
    expect(breaches.all().filter(({ text }) => text.includes('errored'))).toEqual([]);
  });

  test('every folder of src/ is fenced', () => {
    const actual = readdirSync(join(root, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect([...folders, 'config']).toEqual(expect.arrayContaining(actual.map(({ name }) => name)));
  });
});

describe('the rules of the linter', () => {
  test.each(Object.entries(rules))('%s', (rule, place) => {
    expect(breaches.at(place).map((finding) => finding.rule)).toContain(`lint/${rule.split(' ')[0]}`);
  });
});
