import * as v from 'valibot';
import { repeatedKey } from '../repeated-key.ts';
import { writePemCertificate } from './pem.ts';
import { bundleLimits, TrustBundleError } from './trust-bundle.ts';

const anything = v.optional(v.unknown());
const bundleDocument = v.object({
  keys: v.array(v.object({ kty: anything, use: anything, x5c: anything, d: anything })),
});
type Element = v.InferOutput<typeof bundleDocument>['keys'][number];

const keyTypes: readonly unknown[] = ['EC', 'RSA', 'OKP'];

/**
 * The bundle of one trust domain as PEM, whichever form its file has: PEM stays as it is, and of a SPIFFE bundle document
 * the roots of X509-SVIDs are taken. Undefined for a document without any: whoever publishes it is trusted no more. Whether
 * they can be roots is for `parseTrustBundles`. Throws `TrustBundleError`.
 */
export function readBundle(trustDomain: string, text: string): string | undefined {
  return /^\s*\{/.test(text) ? readDocument(trustDomain, text) : text;
}

/**
 * SPIFFE Trust Domain and Bundle §4: a JWK set, of which elements without a known `kty` and `use` are ignored. One broken
 * root refuses all of it. `spiffe_sequence` is not looked at: whoever can put an older file in its place can change that too.
 */
function readDocument(trustDomain: string, text: string): string | undefined {
  const refuse = (why: string) =>
    new TrustBundleError('bad_pem', `The trust bundle of ${trustDomain} cannot be read: ${why}`);
  if (text.length > bundleLimits.characters) {
    const why = `has ${text.length} characters, at most ${bundleLimits.characters} are allowed`;
    throw new TrustBundleError('too_large', `The trust bundle of ${trustDomain} ${why}`);
  }
  const document = v.safeParse(bundleDocument, jsonIn(text));
  if (!document.success) throw refuse('it is not a SPIFFE bundle document, which is JSON with an array of keys');
  const { keys } = document.output;
  if (repeatedKey(text) !== undefined) throw refuse('an object in it has the same member twice');
  if (keys.some(({ d }) => d !== undefined)) throw refuse('it holds a private key');
  const blocks = keys.filter(isRoot).map(({ x5c }, index) => {
    const der = certificateIn(x5c);
    if (der === undefined) throw refuse(`its root ${index + 1} has no certificate in x5c`);
    return writePemCertificate(der);
  });
  return blocks.length === 0 ? undefined : blocks.join('');
}

function isRoot({ kty, use }: Element): boolean {
  return use === 'x509-svid' && keyTypes.includes(kty);
}

/** DER in base64 (RFC 7517 §4.7). There should be one value; of several the first counts (X509-SVID §6.2). */
function certificateIn(x5c: unknown): Buffer | undefined {
  const first: unknown = Array.isArray(x5c) ? x5c[0] : undefined;
  if (typeof first !== 'string' || first === '') return undefined;
  const der = Buffer.from(first, 'base64');
  return der.toString('base64') === first ? der : undefined;
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
