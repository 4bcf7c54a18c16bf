import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Der } from '../../../src/identity/der.ts';
import {
  DerError,
  elements,
  fieldsOf,
  readBits,
  readBoolean,
  readDer,
  readOid,
  readSmallInteger,
  readTime,
  tags,
} from '../../../src/identity/der.ts';
import { bitString, der, integer, oid, sequence, time } from '../../support/der-writer.ts';

const bytes = (...values: number[]) => Uint8Array.from(values);
const all = (input: Uint8Array) => [...elements(input)];
const element = (tag: number, ...content: number[]): Der => ({ tag, content: bytes(...content) });

describe('elements', () => {
  it('reads one element behind the other without copying them', () => {
    const input = Buffer.concat([integer(5), sequence(integer(6))]);
    const [first, second] = all(input);
    expect(first).toEqual({ tag: tags.integer, content: Buffer.of(5) });
    expect(second?.content.buffer).toBe(input.buffer);
  });

  it.each([
    ['an indefinite length', bytes(0x30, 0x80, 0, 0)],
    ['a length in more bytes than needed', bytes(0x04, 0x81, 0x01, 0xff)],
    ['a length with a leading zero', bytes(0x04, 0x82, 0x00, 0x80, ...new Array<number>(128).fill(0))],
    ['a length of four bytes', bytes(0x04, 0x84, 0, 0, 0, 1, 0)],
    ['a length of 127 bytes', bytes(0x04, 0xff)],
    ['an element longer than its holder', bytes(0x04, 0x05, 1, 2)],
    ['a cut length', bytes(0x04, 0x82, 0x01)],
    ['no length', bytes(0x04)],
    ['a tag of more than one byte', bytes(0x1f, 0x81, 0x00, 0x00)],
  ])('C23: refuses %s', (_, input) => {
    expect(() => all(input)).toThrow(DerError);
  });

  it('accepts every length at the edges of its encodings', () => {
    for (const length of [0, 1, 127, 128, 255, 256, 65535, 65536]) {
      expect(all(der(tags.octetString, Buffer.alloc(length)))[0]?.content.length).toBe(length);
    }
  });

  it('C23: is bounded and never throws anything but DerError, whatever the bytes are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (input) => {
        try {
          const found = all(input);
          return found.reduce((sum, { content }) => sum + content.length + 2, 0) <= input.length + found.length * 3;
        } catch (error) {
          return error instanceof DerError;
        }
      }),
    );
  });

  it('C23: reads nested sequences one level at a time, so that no depth overflows the stack', () => {
    let input = sequence();
    for (let level = 1; level < 3000; level++) input = sequence(input);
    let depth = 0;
    for (let next = all(input)[0]; next !== undefined; next = all(next.content)[0]) depth += 1;
    expect(depth).toBe(3000);
  });
});

describe('readDer and fieldsOf', () => {
  it('C23: refuses bytes behind the element', () => {
    expect(() => readDer(Buffer.concat([integer(1), Buffer.of(0)]), tags.integer)).toThrow(DerError);
    expect(() => readDer(Buffer.concat([integer(1), integer(2)]), tags.integer)).toThrow(DerError);
  });

  it('refuses nothing at all and another tag', () => {
    expect(() => readDer(bytes(), tags.integer)).toThrow(DerError);
    expect(() => readDer(integer(1), tags.sequence)).toThrow(DerError);
  });

  it('takes fields in order, skips what is optional, and minds what is left', () => {
    const fields = fieldsOf(Buffer.concat([integer(1), oid('1.2.3')]));
    expect(fields.optional(tags.boolean)).toBeUndefined();
    expect(readSmallInteger(fields.next(tags.integer))).toBe(1);
    expect(() => fields.end()).toThrow(DerError);
    expect(readOid(fields.any())).toBe('1.2.3');
    fields.end();
    expect(() => fields.any()).toThrow(DerError);
  });
});

describe('values', () => {
  it('reads a BOOLEAN of 00 and FF and no other', () => {
    expect(readBoolean(element(1, 0))).toBe(false);
    expect(readBoolean(element(1, 0xff))).toBe(true);
    for (const wrong of [element(1, 1), element(1), element(1, 0xff, 0)])
      expect(() => readBoolean(wrong)).toThrow(DerError);
  });

  it('reads a small INTEGER', () => {
    for (const value of [0, 1, 127, 128, 255, 256, 2 ** 31 - 1]) {
      expect(readSmallInteger(readDer(integer(value), tags.integer))).toBe(value);
    }
    for (const wrong of [
      element(2),
      element(2, 0x80),
      element(2, 0, 1),
      element(2, 0, 0x80, 0, 0, 0),
      element(2, 0xff),
    ]) {
      expect(() => readSmallInteger(wrong)).toThrow(DerError);
    }
  });

  it('reads an OBJECT IDENTIFIER', () => {
    for (const text of ['1.2.840.113549.1.1.11', '2.5.29.17', '0.9.2342', '2.999.3', '1.3.6.1.4.1.311.60.2.1.3']) {
      expect(readOid(readDer(oid(text), tags.oid))).toBe(text);
    }
  });

  it.each([
    ['is empty', []],
    ['is cut', [0x2a, 0x86]],
    ['is padded', [0x2a, 0x80, 0x01]],
    ['has a number above 2³²', [0x2a, 0x9f, 0xff, 0xff, 0xff, 0x7f]],
    ['is longer than 64 bytes', [0x2a, ...new Array<number>(64).fill(1)]],
  ])('refuses an OBJECT IDENTIFIER that %s', (_, content) => {
    expect(() => readOid(element(6, ...content))).toThrow(DerError);
  });

  it('reads a BIT STRING and refuses wrong unused bits', () => {
    expect([...readBits(readDer(bitString(Buffer.of(0x80), 7), tags.bitString))]).toEqual([0x80]);
    expect([...readBits(element(3, 0))]).toEqual([]);
    for (const wrong of [element(3), element(3, 1), element(3, 8, 0), element(3, 7, 0xc0)]) {
      expect(() => readBits(wrong)).toThrow(DerError);
    }
  });

  it('reads both kinds of date to the second', () => {
    for (const text of [
      '1950-01-01T00:00:00Z',
      '1999-12-31T23:59:59Z',
      '2026-02-28T12:34:56Z',
      '2049-12-31T23:59:59Z',
      '2050-01-01T00:00:00Z',
      '9999-12-31T23:59:59Z',
    ]) {
      const [found] = all(time(Date.parse(text)));
      expect(readTime(found!)).toBe(Date.parse(text));
    }
  });

  it.each([
    '2601010000Z',
    '260101000000',
    '260101000000+0100',
    '261301000000Z',
    '260101250000Z',
    '26010100000.0Z',
    '',
    'aaaaaaaaaaaaZ',
    '20260101000000Z',
  ])('refuses the UTCTime %j', (text) => {
    expect(() => readTime(element(tags.utcTime, ...Buffer.from(text)))).toThrow(DerError);
  });

  it.each(['260101000000Z', '20260101000000', '20260101000000.5Z', '20261301000000Z'])(
    'refuses the GeneralizedTime %j',
    (text) => {
      expect(() => readTime(element(tags.generalizedTime, ...Buffer.from(text)))).toThrow(DerError);
    },
  );

  it('refuses a date of another type', () => {
    expect(() => readTime(element(tags.oid, ...Buffer.from('20260101000000Z')))).toThrow(DerError);
  });
});
