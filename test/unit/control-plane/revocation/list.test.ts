import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { maxReplyBytes } from '../../../../src/control-api.ts';
import type { RevocationList } from '../../../../src/control-plane/revocation/list.ts';
import {
  listLimits,
  normalSerial,
  parseRevocationList,
  printRevocationList,
  RevocationListError,
  stateOf,
} from '../../../../src/control-plane/revocation/list.ts';
import { readCertificate } from '../../../../src/identity/certificate.ts';
import { makeCertificate } from '../../../support/certificates.ts';

const when = '2026-11-22T10:00:00.000Z';
const web = 'spiffe://cluster.local/ns/shop/sa/web';
const parse = (value: unknown) => parseRevocationList(JSON.stringify(value));
const refusal = (text: string) => {
  try {
    parseRevocationList(text);
  } catch (error) {
    if (error instanceof RevocationListError) return error.message;
    throw error;
  }
  return 'accepted';
};

describe('a serial', () => {
  it.each([
    ['4A0B', '4A0B'],
    ['4a:0b', '4A0B'],
    ['serial=4A0B', '4A0B'],
    ['0x4a0b', '4A0B'],
    ['00:4A:0B', '4A0B'],
    ['a0b', '0A0B'],
    ['5', '05'],
    ['0', '00'],
    ['000', '00'],
    [' 4A0B\n', '4A0B'],
  ])('%j is %s', (text, serial) => {
    expect(normalSerial(text)).toBe(serial);
  });

  it.each(['', ' ', '-05', '4g', '4A 0B', ':4A', '4A:', '4A::0B', 'web', 'serial=', '0x', 'F'.repeat(43), '4A\n0B'])(
    '%j is none',
    (text) => {
      expect(normalSerial(text)).toBeUndefined();
    },
  );

  it.each([[1], [0x7f], [0, 0x80], [0, 0xa0, 0x0b], [0x4a, ...Array.from({ length: 19 }, () => 0)]])(
    'is written as our rules and OpenSSL read it in a certificate: %j',
    (...bytes) => {
      const { der } = makeCertificate({ serial: Uint8Array.from(bytes) });
      const { serial } = readCertificate(der);
      expect(normalSerial(serial)).toBe(serial);
      expect(normalSerial(new X509Certificate(der).serialNumber)).toBe(serial);
    },
  );
});

describe('a list', () => {
  it('is read as it was printed, and pushed with its serials of whichever issuer', () => {
    const list: RevocationList = {
      certificates: new Map([
        ['4A0B', { when, reason: 'the key was on a laptop' }],
        ['05', { when }],
      ]),
      identities: new Map([[web, { when }]]),
    };
    expect(parseRevocationList(printRevocationList(list))).toEqual(list);
    expect(stateOf(list)).toEqual({ certificates: [{ serials: ['4A0B', '05'] }], identities: [web] });
  });

  it('may be written by hand: each part may be missing, and a serial is normalised', () => {
    expect(stateOf(parse({}))).toEqual({ certificates: [], identities: [] });
    expect(stateOf(parse({ certificates: [{ serial: '00:4a', when }] })).certificates).toEqual([{ serials: ['4A'] }]);
  });

  it.each([
    ['', 'it is not JSON, expected {"certificates":[…],"identities":[…]}'],
    ['{"certificates":[', 'it is not JSON, expected {"certificates":[…],"identities":[…]}'],
    ['null', 'the whole is not as expected: an object'],
    ['{"serials":[]}', 'serials is not known'],
    ['{"certificates":{}}', 'certificates is not as expected: a list'],
    [`{"certificates":[{"serial":"4A","when":"${when}","note":"x"}]}`, 'certificates.0.note is not known'],
    ['{"certificates":[{"serial":"4A"}]}', 'certificates.0.when is missing'],
    [
      '{"certificates":[{"serial":"4A","when":"yesterday"}]}',
      /^certificates\.0\.when is not as expected: a time such as/,
    ],
    [
      `{"certificates":[{"serial":"xyz","when":"${when}"}]}`,
      /^certificates\.0\.serial is not as expected: its hexadecimal/,
    ],
    [
      `{"identities":[{"spiffeId":"web","when":"${when}"}]}`,
      /^identities\.0\.spiffeId is not as expected: a SPIFFE ID/,
    ],
    [`{"identities":[{"spiffeId":"${web}","when":"${when}","reason":"a\\nb"}]}`, /^identities\.0\.reason is not as/],
    ['{"identities":[],"identities":[]}', 'a key stands twice in one object, and one of them would be lost'],
    [`{"identities":[{"spiffeId":"${web}","spiffeId" :"${web}","when":"${when}"}]}`, /^a key stands twice/],
  ])('is refused as a whole, with what is wrong: %s', (text, why) => {
    expect(refusal(text)).toEqual(typeof why === 'string' ? why : expect.stringMatching(why));
  });

  it('takes what looks like a key within a text for a text', () => {
    const identities = [{ spiffeId: web, when, reason: 'see "when": \\"serial": {"x":1}' }];
    expect(parse({ identities }).identities.get(web)?.reason).toBe(identities[0]?.reason);
  });

  it('is full before it takes more than half of a message, and says so', () => {
    const of = (count: number): RevocationList => ({
      certificates: new Map(
        Array.from({ length: count }, (_, index) => [
          `4${index.toString(16).toUpperCase().padStart(39, '0')}`,
          { when },
        ]),
      ),
      identities: new Map(),
    });
    expect(() => printRevocationList(of(3_040))).not.toThrow();
    expect(() => printRevocationList(of(3_050))).toThrow('the list is full');
    expect(listLimits.pushedBytes * 2).toBeLessThanOrEqual(maxReplyBytes);
    const certificates = [...of(3_050).certificates].map(([serial]) => ({ serial, when }));
    expect(() => parse({ certificates })).toThrow(/^it is more than the 131072 bytes/);
  });
});
