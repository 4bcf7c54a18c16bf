import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import type { LogFormat } from '../../src/log.ts';
import { createLog, logFormats } from '../../src/log.ts';

function capture(format: LogFormat) {
  let text = '';
  const output = new Writable({
    write(chunk: Buffer, _, done) {
      text += chunk.toString();
      done();
    },
  });
  return { log: createLog('info', output, format), text: () => text };
}

/** Pieces of what a stranger may send: ends of lines, terminals, directions, quotes, fields, surrogates, and other text. */
const pieces = [
  ...['\n', '\r\n', '\u2028', '\u2029', '\u0085', '\v', '\0', '\u007f', '\u009b31m', '\u001b[31m', '\u001b]0;x\u0007'],
  ...['\u202e', '\u2066', '\u2069', '\u200b', '\ufeff', '"', '\\', '\\n', "'", ' ', '=', ' level=error', ' id=abc-1'],
  ...['{"level":"error"}', '2026-01-01T00:00:00.000Z error ', '\ud800', '\u{1f642}', 'spiffe://a/b', 'é', 'a'],
];

/** Numbers in [0, 1) that are the same in each run (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function hostileText(random: () => number): string {
  const length = Math.floor(random() * 12);
  return Array.from({ length }, () => pieces[Math.floor(random() * pieces.length)]).join('');
}

const steering = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

/** The fields of a line of text, as a program would read them that knows nothing but the form. */
function fieldsOf(line: string): Record<string, unknown> {
  const found = line.matchAll(/ ((?:[^\s"=]+)|"(?:[^"\\]|\\.)*")=("(?:[^"\\]|\\.)*"|\S*)/g);
  const read = (text: string) => (text.startsWith('"') ? JSON.parse(text) : text);
  return Object.fromEntries([...found].map(([, name = '', value = '']) => [read(name), read(value)]));
}

describe.each(logFormats)('a log as %s', (format) => {
  it('is one line an entry, in which nothing steers a terminal, whatever strangers have sent', () => {
    const random = numbers(7);
    for (let round = 0; round < 2000; round += 1) {
      const { log, text } = capture(format);
      log.warn({ detail: hostileText(random), deep: { [hostileText(random)]: [hostileText(random)] } }, 'Refused');
      expect(text().endsWith('\n')).toBe(true);
      const line = text().slice(0, -1);
      expect(line).not.toMatch(steering);
      expect(line.split('\n')).toHaveLength(1);
    }
  });

  it('gives back what was sent, and nothing that was not', () => {
    const random = numbers(11);
    for (let round = 0; round < 2000; round += 1) {
      const { log, text } = capture(format);
      const fields = { id: 'abc-1', detail: hostileText(random).toWellFormed(), reason: 'untrusted' };
      log.warn(fields, 'Refused');
      const read = format === 'json' ? JSON.parse(text()) : fieldsOf(text());
      expect(read).toMatchObject(fields);
      expect(Object.keys(read)).toHaveLength(format === 'json' ? 6 : 3);
    }
  });

  it('has no secret, under any name that one may have and at any depth', () => {
    const secrets = [{ token: 'hush' }, { request: { headers: { a: 'hush' } } }, { list: [{ privateKey: 'hush' }] }];
    for (const secret of secrets) {
      const { log, text } = capture(format);
      log.info({ id: 'a-1', ...secret }, 'Asked');
      expect(text()).not.toContain('hush');
      expect(text()).toContain('[redacted]');
      expect(text()).toContain('a-1');
    }
  });
});

it('is read by people as time, level, message and fields, with what to do at the end', () => {
  const { log, text } = capture('text');
  log.warn({ remedy: 'Look there', id: 'a-1', port: 80, ids: ['x y'] }, 'The peer was refused');
  expect(text()).toMatch(
    /^\d{4}-\d\d-\d\dT[\d:.]+Z warn {2}The peer was refused id=a-1 port=80 ids=\["x y"\] remedy="Look there"\n$/,
  );
});

it('has no colour, and the same text whatever reads it', () => {
  const { log, text } = capture('text');
  log.error('Failed');
  expect(text()).toMatch(/^\S+ error Failed\n$/);
});
