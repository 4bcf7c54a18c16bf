import { globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  applicationScrapeFailures,
  closedReasons,
  deniedReasons,
  handshakeReasons,
  outputBlocked,
  proofResults,
  readinessGates,
  renewalReasons,
} from '../../src/outcomes.ts';
import type { Reached } from '../support/reasons-reached.ts';
import { reached, unreached } from '../support/reasons-reached.ts';

const root = resolve(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(root, path), 'utf8');

/** Why a line is suppressed is why it would have been written, save for this. */
const lists = {
  handshake: Object.keys(handshakeReasons),
  denied: Object.keys(deniedReasons),
  closed: Object.keys(closedReasons),
  renewal: Object.keys(renewalReasons),
  proof: [...proofResults],
  gate: [...readinessGates],
  suppressed: [outputBlocked],
  application: Object.keys(applicationScrapeFailures),
} as const;

/** What makes an outcome of each list, besides a literal that says so. */
const makers: Readonly<Record<string, string>> = {
  handshake: 'HandshakeError',
  denied: 'DeniedError',
  closed: 'ConnectionError|abort|cut|finish|watchIdle',
  renewal: 'RenewalError',
};

/** Whether code makes this outcome, as far as a text can tell. */
function makes(source: string, list: string, reason: string): boolean {
  const outcome = `kind: '${list}',\\s+reason: '${reason}'`;
  return new RegExp(`\\b(?:${makers[list] ?? 'nothing'})\\([^()']*'${reason}'|${outcome}`).test(source);
}

/** Whether the words stand in code, and not in a comment alone. */
function says(source: string, words: string): boolean {
  return source.split('\n').some((line) => line.includes(words) && !/^\s*(?:\/\/|\/?\*)/.test(line));
}

interface Books {
  readonly lists: Readonly<Record<string, readonly string[]>>;
  readonly reached: Readonly<Record<string, Readonly<Record<string, Reached>>>>;
  readonly unreached: Readonly<Record<string, Readonly<Record<string, string>>>>;
  readonly sources: readonly string[];
  /** Throws when there is no such file. */
  test(file: string): string;
}

/** What does not fit between the lists, the catalogue, the tests and the code, one sentence each. */
function problems(books: Books): string[] {
  const found: string[] = [];
  for (const [list, reasons] of Object.entries(books.lists)) {
    const rows = books.reached[list] ?? {};
    const exceptions = books.unreached[list] ?? {};
    for (const reason of reasons) {
      const isRow = Object.hasOwn(rows, reason);
      if (isRow === Object.hasOwn(exceptions, reason))
        found.push(`${list} ${reason} is ${isRow ? 'reached and' : 'neither reached nor'} excepted`);
    }
    for (const name of [...Object.keys(rows), ...Object.keys(exceptions)])
      if (!reasons.includes(name)) found.push(`${list} ${name} is no reason`);
    for (const [reason, [file, words]] of Object.entries(rows)) {
      if (!words.includes(reason)) found.push(`${list} ${reason}: the words do not name it`);
      if (!file.endsWith('.test.ts')) found.push(`${list} ${reason}: ${file} is no test`);
      else if (!says(books.test(file), words)) found.push(`${list} ${reason}: ${file} does not say ${words}`);
    }
    for (const reason of Object.keys(exceptions))
      if (books.sources.some((source) => makes(source, list, reason)))
        found.push(`${list} ${reason} is made after all`);
  }
  return found;
}

const sources = globSync('src/**/*.ts', { cwd: root }).map(read);

it('are reached by a test, each of them, or it is said why not', () => {
  expect(problems({ lists, reached, unreached, sources, test: (file) => read(join('test', file)) })).toEqual([]);
});

describe('the check itself', () => {
  const fitting: Books = {
    lists: { denied: ['one', 'two'] },
    reached: { denied: { one: ['a.test.ts', "reason: 'one'"] } },
    unreached: { denied: { two: 'waits' } },
    sources: ["throw new DeniedError('one', 'x')"],
    test: () => "expect(line).toMatchObject({ reason: 'one' });\n// reason: 'two'",
  };

  it('accepts what fits', () => {
    expect(problems(fitting)).toEqual([]);
  });

  it.each<[string, Partial<Books>, string]>([
    [
      'a reason that nobody knows of',
      { lists: { denied: ['one', 'two', 'three'] } },
      'denied three is neither reached nor excepted',
    ],
    [
      'one that is both',
      { unreached: { denied: { one: 'waits', two: 'waits' } } },
      'denied one is reached and excepted',
    ],
    ['a row for what is gone', { unreached: { denied: { two: 'waits', old: 'waits' } } }, 'denied old is no reason'],
    [
      'words that name another reason',
      { reached: { denied: { one: ['a.test.ts', 'expect(line)'] } } },
      'denied one: the words do not name it',
    ],
    [
      'words that are gone from the test',
      { test: () => 'expect(line)' },
      "denied one: a.test.ts does not say reason: 'one'",
    ],
    ['words in a comment', { test: () => "  // reason: 'one'" }, "denied one: a.test.ts does not say reason: 'one'"],
    [
      'a file that is no test',
      { reached: { denied: { one: ['a.ts', "reason: 'one'"] } } },
      'denied one: a.ts is no test',
    ],
    [
      'an exception that is thrown',
      { sources: ["throw new DeniedError(\n  'two',\n  'x')"] },
      'denied two is made after all',
    ],
    [
      'an exception that is returned',
      { sources: ["return { kind: 'denied', reason: 'two', detail }"] },
      'denied two is made after all',
    ],
  ])('finds %s', (_, change, problem) => {
    expect(problems({ ...fitting, ...change })).toContain(problem);
  });
});

describe('what makes an outcome is known', () => {
  it.each([
    ['denied', 'self_call'],
    ['closed', 'eof'],
    ['closed', 'idle'],
    ['closed', 'half_close_timeout'],
    ['closed', 'drain_deadline'],
    ['closed', 'tunnel_lost'],
    ['renewal', 'ttl_too_long'],
    ['handshake', 'plaintext_in_strict'],
  ])('of %s %s', (list, reason) => {
    expect(sources.some((source) => makes(source, list, reason))).toBe(true);
  });
});
