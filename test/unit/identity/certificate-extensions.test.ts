import { describe, expect, it } from 'vitest';
import { readExtensions } from '../../../src/identity/certificate-extensions.ts';
import { DerError } from '../../../src/identity/der.ts';
import { extension } from '../../support/certificates.ts';
import {
  bitString,
  boolean,
  context,
  der,
  integer,
  octetString,
  oid,
  sequence,
  tags,
} from '../../support/der-writer.ts';

const unknown = '1.3.6.1.4.1.99999.1';
const host = context(6, false, Buffer.from('a'));
const read = (...extensions: Uint8Array[]) => readExtensions(sequence(...extensions));
const constraints = (value: Uint8Array) => extension('2.5.29.30', true, value);

/** OpenSSL reads no further than the wrapping of most extensions; what is in them is ours to read. */
describe('readExtensions', () => {
  it('finds nothing in a certificate without extensions', () => {
    expect(readExtensions(undefined)).toEqual({
      isAuthority: false,
      pathLength: undefined,
      keyUsage: undefined,
      purposes: undefined,
      uris: [],
      nameConstraints: undefined,
      subjectKeyId: undefined,
      authorityKeyId: undefined,
      unknownCritical: undefined,
    });
    expect(read()).toEqual(readExtensions(undefined));
  });

  it.each<[string, Uint8Array[]]>([
    ['an extension that is a SET', [der(tags.set, oid(unknown), octetString())]],
    ['an extension with something behind its value', [sequence(oid(unknown), octetString(), octetString())]],
    ['an extension without a value', [sequence(oid(unknown))]],
    [
      'an extension that is there twice',
      [extension(unknown, false, octetString()), extension(unknown, false, octetString())],
    ],
    ['a subtree that is a SET', [constraints(sequence(context(0, true, der(tags.set, host))))]],
    ['an excluded subtree that is a SET', [constraints(sequence(context(1, true, der(tags.set, host))))]],
    ['a subtree without a name', [constraints(sequence(context(0, true, sequence())))]],
    ['a subtree with something behind its name', [constraints(sequence(context(0, true, sequence(host, host))))]],
    [
      'name constraints with something behind them',
      [constraints(sequence(context(0, true, sequence(host)), integer(0)))],
    ],
    [
      'basic constraints with something behind them',
      [extension('2.5.29.19', true, sequence(boolean(true), integer(0), integer(0)))],
    ],
    ['a key identifier that is no SEQUENCE', [extension('2.5.29.35', false, octetString())]],
    ['an own key identifier that is no OCTET STRING', [extension('2.5.29.14', false, sequence())]],
    ['a key usage that is no BIT STRING', [extension('2.5.29.15', true, octetString(Buffer.of(0, 4)))]],
    ['purposes that are a SET', [extension('2.5.29.37', false, der(tags.set, oid('1.2.3')))]],
    ['a purpose that is an INTEGER', [extension('2.5.29.37', false, sequence(integer(1)))]],
  ])('C15: refuses %s', (_, extensions) => {
    expect(() => read(...extensions)).toThrow(DerError);
  });

  it('C15: says which extension is there twice', () => {
    const twice = extension('2.5.29.15', true, bitString(Buffer.of(4), 2));
    expect(() => read(twice, twice)).toThrow(new DerError('The extension 2.5.29.15 is there twice'));
  });

  it.each([
    ['2.5.29.15', true],
    ['2.5.29.17', true],
    ['2.5.29.19', true],
    ['2.5.29.30', true],
    ['2.5.29.32', true],
    ['2.5.29.37', true],
    ['2.5.29.14', false],
    ['2.5.29.35', false],
    ['2.5.29.36', false],
    ['2.5.29.31', false],
    [unknown, false],
  ])('C15: %s may be critical: %j', (type, isUnderstood) => {
    const values: Readonly<Record<string, Uint8Array>> = {
      '2.5.29.15': bitString(Buffer.of(4), 2),
      '2.5.29.30': sequence(context(0, true, sequence(host))),
      '2.5.29.14': octetString(Buffer.of(0xab)),
    };
    const value = values[type] ?? sequence();
    expect(read(extension(type, true, value)).unknownCritical).toBe(isUnderstood ? undefined : type);
    expect(read(extension(type, false, value)).unknownCritical).toBeUndefined();
    expect(read(sequence(oid(type), boolean(false), octetString(value))).unknownCritical).toBeUndefined();
  });

  it('C30: reads the identifiers of keys', () => {
    const ids = read(
      extension('2.5.29.14', false, octetString(Buffer.of(0xab, 1))),
      extension('2.5.29.35', false, sequence(context(0, false, Buffer.of(0xcd)), context(2, false, Buffer.of(7)))),
    );
    expect(ids).toMatchObject({ subjectKeyId: 'ab01', authorityKeyId: 'cd' });
    expect(read(extension('2.5.29.35', false, sequence())).authorityKeyId).toBeUndefined();
  });

  it('C32: knows the kinds of names by the numbers of their tags', () => {
    const names = (...list: Uint8Array[]) => read(extension('2.5.29.17', false, sequence(...list))).uris;
    const uri = context(6, false, Buffer.from('x:y'));
    for (const tag of [0, 3, 4, 5]) {
      expect(names(context(tag, true), uri)).toEqual(['x:y']);
      expect(() => names(context(tag, false), uri)).toThrow(DerError);
    }
    for (const tag of [1, 2, 6, 7, 8]) {
      expect(names(context(tag, false), uri)).toHaveLength(tag === 6 ? 2 : 1);
      expect(() => names(context(tag, true), uri)).toThrow(DerError);
    }
    for (const tag of [9, 30]) expect(() => names(context(tag, false))).toThrow(DerError);
    expect(() => names(uri, octetString())).toThrow(DerError);
  });
});
