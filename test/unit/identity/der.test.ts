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
    ['an indefinite length before many bytes', bytes(0x30, 0x80, ...new Array<number>(200).fill(0))],
    ['a length that is cut behind its first byte', bytes(0x04, 0x83, 0xff, 0xff)],
    [
      'a length in three bytes where two are enough',
      bytes(0x04, 0x83, 0, 0xff, 0xff, ...new Array<number>(65535).fill(0)),
    ],
    ['a tag of more than one byte and no content', bytes(0x1f, 0x00)],
    ['a length in more bytes than needed', bytes(0x04, 0x81, 0x01, 0xff)],
    ['a length with a leading zero', bytes(0x04, 0x82, 0x00, 0x80, ...new Array<number>(128).fill(0))],
    ['a length of four bytes', bytes(0x04, 0x84, 0, 0, 0, 1, 0)],
    ['a length of 127 bytes', bytes(0x04, 0xff)],
    ['a length of 127 bytes that are there', bytes(0x04, 0xff, ...new Array<number>(127).fill(0xff))],
    ['a length of four bytes, far beyond what is there', bytes(0x04, 0x84, 1, 0, 0, 0, 0)],
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

  it('says what is wrong', () => {
    expect(() => readDer(bytes(), tags.integer)).toThrow(new DerError('An element has tag none, expected 2'));
    expect(() => readDer(integer(1), tags.sequence)).toThrow(new DerError('An element has tag 2, expected 48'));
    expect(() => readDer(Buffer.concat([integer(1), integer(1)]), tags.integer)).toThrow('Bytes follow an element');
    expect(new DerError('')).toMatchObject({ name: 'DerError' });
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

  it('reads the numbers of an OBJECT IDENTIFIER up to 2³², also with zeros in the middle, and 64 bytes of them', () => {
    for (const text of ['1.2.16385', '1.2.2097152', `1.2.${2 ** 32}`])
      expect(readOid(readDer(oid(text), tags.oid))).toBe(text);
    expect(() => readOid(readDer(oid(`1.2.${2 ** 32 + 1}`), tags.oid))).toThrow(DerError);
    expect(readOid(element(6, 0x2a, ...new Array<number>(63).fill(1)))).toBe(`1.2${'.1'.repeat(63)}`);
  });

  it.each([
    ['is empty', []],
    ['is padded at its beginning', [0x80, 0x01]],
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
    '260101000000Z0',
    '0260101000000Z',
  ])('refuses the UTCTime %j', (text) => {
    expect(() => readTime(element(tags.utcTime, ...Buffer.from(text)))).toThrow(DerError);
  });

  it.each([
    '260101000000Z',
    '20260101000000Z0',
    '020260101000000Z',
    '20260101000000',
    '20260101000000.5Z',
    '20261301000000Z',
  ])('refuses the GeneralizedTime %j', (text) => {
    expect(() => readTime(element(tags.generalizedTime, ...Buffer.from(text)))).toThrow(DerError);
  });

  it('refuses a date of another type', () => {
    expect(() => readTime(element(tags.oid, ...Buffer.from('20260101000000Z')))).toThrow(DerError);
  });
});

describe('every reader, whatever the bytes are', () => {
  const readers: Readonly<Record<string, (input: Uint8Array) => unknown>> = {
    elements: all,
    readDer: (input) => readDer(input, input[0] ?? 0),
    fieldsOf: (input) => {
      const fields = fieldsOf(input);
      return [fields.optional(tags.integer), fields.any(), fields.optional(tags.sequence), fields.end()];
    },
    readBoolean: (content) => readBoolean({ tag: tags.boolean, content }),
    readSmallInteger: (content) => readSmallInteger({ tag: tags.integer, content }),
    readOid: (content) => readOid({ tag: tags.oid, content }),
    readBits: (content) => readBits({ tag: tags.bitString, content }),
    readUtcTime: (content) => readTime({ tag: tags.utcTime, content }),
    readGeneralizedTime: (content) => readTime({ tag: tags.generalizedTime, content }),
  };
  const attempt = (read: (input: Uint8Array) => unknown, input: Uint8Array) => {
    try {
      return { value: JSON.stringify(read(input)) };
    } catch (error) {
      return { error };
    }
  };
  /** Bytes that are mostly DER, so that more than the first tag is read. */
  const nested = fc.letrec<{ element: Uint8Array }>((tie) => ({
    element: fc.oneof(
      { depthSize: 'small' },
      fc.uint8Array({ maxLength: 12 }),
      fc.uint8Array({ maxLength: 12 }).map((content) => der(tags.octetString, content)),
      fc.constantFrom('260230000000Z', '20260101000000Z', '260101000000Z', '1', 'Z').map((text) => Buffer.from(text)),
      fc.array(tie('element'), { maxLength: 4 }).map((parts) => sequence(...parts)),
    ),
  })).element;

  it.each(Object.entries(readers))(
    'C23: %s throws nothing but DerError, and reads nothing outside of what it is given',
    (_, read) => {
      fc.assert(
        fc.property(
          nested,
          fc.uint8Array({ maxLength: 9 }),
          fc.uint8Array({ maxLength: 9 }),
          (input, before, behind) => {
            const alone = attempt(read, Buffer.from(input));
            if (alone.error !== undefined) expect(alone.error).toBeInstanceOf(DerError);
            const within = Buffer.concat([before, input, behind]);
            const view = within.subarray(before.length, before.length + input.length);
            expect(attempt(read, view).value).toBe(alone.value);
          },
        ),
        { numRuns: 300 },
      );
    },
  );

  it('C23: reads back what was written, byte for byte', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 30 }), fc.uint8Array({ maxLength: 300 }))), (parts) => {
        const found = all(Buffer.concat(parts.map(([tag, content]) => der(tag, content))));
        expect(found.map(({ tag, content }) => [tag, Uint8Array.from(content)])).toEqual(parts);
      }),
    );
  });

  it('C31: reads exactly the dates of the calendar', () => {
    const two = (max: number) => fc.integer({ min: 0, max }).map((value) => String(value).padStart(2, '0'));
    const texts = fc.tuple(two(99), two(99), two(13), two(32), two(25), two(61), two(61));
    fc.assert(
      fc.property(texts, ([century, year, month, day, hour, minute, second]) => {
        const iso = `${century}${year}-${month}-${day}T${hour}:${minute}:${second}`;
        const ms = Date.UTC(2000, Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
        const real = new Date(ms);
        real.setUTCFullYear(Number(century + year), Number(month) - 1, Number(day));
        const isReal = !Number.isNaN(real.getTime()) && real.toISOString() === `${iso}.000Z`;
        const content = Buffer.from(`${iso.replace(/[-:T]/g, '')}Z`);
        const read = attempt((input) => readTime({ tag: tags.generalizedTime, content: input }), content);
        expect(read.value).toBe(isReal ? String(real.getTime()) : undefined);
      }),
      { numRuns: 2000 },
    );
  });
});
