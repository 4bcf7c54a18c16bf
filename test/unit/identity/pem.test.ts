import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PemError, readPemCertificates, writePemCertificate } from '../../../src/identity/pem.ts';

const one = writePemCertificate(Buffer.from('one'));
const long = writePemCertificate(Buffer.alloc(200, 0x41));
const begin = '-----BEGIN CERTIFICATE-----';
const end = '-----END CERTIFICATE-----';

describe('readPemCertificates', () => {
  it('reads what writePemCertificate wrote, in its order', () => {
    expect(readPemCertificates(one + long)).toEqual([Buffer.from('one'), Buffer.alloc(200, 0x41)]);
    expect(readPemCertificates('')).toEqual([]);
  });

  it.each([
    ['a last block that is cut', `${one}${begin}\nAAAA\n`],
    ['a last block that has only begun', `${one}${begin}`],
    ['an end without a beginning', `${one}${end}\n`],
    ['an end before a beginning', `${end}\n${begin}\n`],
    ['a block between an end and a beginning', `${end}\nAAAA\n${begin}\n`],
    ['a block between two beginnings', `${begin}\nAAAA\n${begin}\n`],
    ['two beginnings', `${begin}\nAAAA\n${begin}\nAAAA\n${end}\n`],
    ['two ends', `${begin}\nAAAA\n${end}\n${end}\n`],
    ['an end of another kind', `${begin}\nAAAA\n-----END PRIVATE KEY-----\n`],
    ['base64 of a wrong length', `${begin}\nAAA\n${end}\n`],
    ['padding in the middle', `${begin}\nAA==AAAA\n${end}\n`],
    ['a space within base64', `${begin}\nAA AA\n${end}\n`],
    ['a header within a block', `${begin}\nProc-Type: 4,ENCRYPTED\n\nAAAA\n${end}\n`],
    ['nothing in a block', `${begin}\n${end}\n`],
    ['a boundary with words behind it', `${begin} AAAA\n${end}\n`],
    ['a boundary without its dashes', `${one}END CERTIFICATE\n`],
    ['a boundary without its dashes behind other words', `${one}the BEGIN of END X509 CRL\n`],
    ['a boundary without its dashes behind another one', `${one}BEGIN END: BEGIN PRIVATE KEY\n`],
    ['base64 outside of a block', `${'A'.repeat(64)}\n${one}`],
  ])('B2: refuses %s', (_, text) => {
    expect(() => readPemCertificates(text)).toThrow(PemError);
  });

  it('reads lines of any length, empty lines and the line ends of Windows', () => {
    expect(readPemCertificates(`${begin}\r\nAAAA\r\n\r\nAA==\r\n${end}`)).toEqual([Buffer.alloc(4)]);
    expect(readPemCertificates(`\n ${begin}\n ${'A'.repeat(400)}\n ${end}\n`)).toEqual([Buffer.alloc(300)]);
  });
});

it('takes no longer for a line that begins a boundary again and again than for any other', () => {
  const line = 'BEGIN '.repeat(1_000_000);
  const startedMs = performance.now();
  expect(readPemCertificates(`${line}\n${one}`)).toHaveLength(1);
  expect(performance.now() - startedMs).toBeLessThan(5000);
});

describe('PEM, whatever the text is', () => {
  const contents = fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { minLength: 1, maxLength: 4 });
  const words = fc.constantFrom('', '\n', 'subject=CN = root\n', '# words\r\n', ' \t\n');
  const write = (parts: readonly Uint8Array[], between: string) =>
    parts.map((part) => between + writePemCertificate(part)).join('');

  it('reads back every block that was written, with words between them', () => {
    fc.assert(
      fc.property(contents, words, (parts, between) => {
        expect(readPemCertificates(write(parts, between)).map((der) => Uint8Array.from(der))).toEqual(parts);
      }),
    );
  });

  it('throws nothing but PemError', () => {
    const line = fc.oneof(
      fc.string(),
      fc.constantFrom(begin, end, '-----BEGIN X509 CRL-----', '-----END PRIVATE KEY-----', 'AAAA', 'AA==', '-----'),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 8 }), (lines) => {
        try {
          readPemCertificates(lines.join('\n'));
          return true;
        } catch (error) {
          return error instanceof PemError;
        }
      }),
      { numRuns: 1000 },
    );
  });

  it('B2: never reads fewer blocks than were written because a line was lost', () => {
    fc.assert(
      fc.property(contents, fc.nat(), (parts, which) => {
        const lines = write(parts, '').trimEnd().split('\n');
        const lost = which % lines.length;
        const text = lines.filter((_, index) => index !== lost).join('\n');
        try {
          return readPemCertificates(text).length === parts.length;
        } catch (error) {
          return error instanceof PemError;
        }
      }),
    );
  });
});
