import { createPublicKey, verify } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createCsr, createKey } from '../../../src/identity/csr.ts';
import { elements, fieldsOf, readBits, readOid, readSmallInteger, tags } from '../../../src/identity/der.ts';
import { workloadSpiffeId } from '../../../src/identity/spiffe-id.ts';

const id = workloadSpiffeId('cluster.local', 'shop', 'web');

function derOf(pem: string): Buffer {
  return Buffer.from(pem.replaceAll(/-----.*-----|\s/g, ''), 'base64');
}

describe('createCsr', () => {
  const key = createKey();
  const der = derOf(createCsr(key, id));
  const [request] = elements(der);
  const [info, algorithm, signature] = elements(request!.content);

  it('is PEM with lines of 64 letters', () => {
    const lines = createCsr(key, id).trimEnd().split('\n');
    expect(lines[0]).toBe('-----BEGIN CERTIFICATE REQUEST-----');
    expect(lines.at(-1)).toBe('-----END CERTIFICATE REQUEST-----');
    expect(Math.max(...lines.slice(1, -1).map((line) => line.length))).toBe(64);
  });

  it('is signed by its own key with ecdsa-with-SHA256', () => {
    // The signed bytes are the first element as it stands, its tag and length included.
    const signed = der.subarray(der.length - request!.content.length, der.indexOf(Buffer.from(algorithm!.content)) - 2);
    expect(readOid(fieldsOf(algorithm!.content).next(tags.oid))).toBe('1.2.840.10045.4.3.2');
    expect(verify('sha256', signed, createPublicKey(key), readBits(signature!))).toBe(true);
  });

  it('has an empty subject, our public key and exactly one URI', () => {
    const fields = fieldsOf(info!.content);
    expect(readSmallInteger(fields.next(tags.integer))).toBe(0);
    expect(fields.next(tags.sequence).content).toHaveLength(0);
    const spki = createPublicKey(key).export({ type: 'spki', format: 'der' });
    expect(spki.includes(Buffer.from(fields.next(tags.sequence).content))).toBe(true);
    const attributes = Buffer.from(fields.any().content);
    expect(attributes.toString('latin1').split(id.uri)).toHaveLength(2);
    const uriName = Buffer.concat([Buffer.of(0x30, id.uri.length + 2, 0x86, id.uri.length), Buffer.from(id.uri)]);
    expect(attributes.includes(uriName)).toBe(true);
    fields.end();
  });

  it('fits the longest ID', () => {
    const long = workloadSpiffeId('cluster.local', 'n'.repeat(63), 'a'.repeat(1900));
    expect(derOf(createCsr(key, long)).includes(long.uri)).toBe(true);
  });
});

describe('createKey', () => {
  it('makes another P-256 key each time', () => {
    const [one, two] = [createKey(), createKey()];
    expect(one.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
    expect(one.equals(two)).toBe(false);
  });
});
