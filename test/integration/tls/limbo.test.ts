import { createSecureContext } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { parseTrustBundles, TrustBundleError } from '../../../src/identity/trust-bundle.ts';
import type { MadeCertificate } from '../../support/certificates.ts';
import { createTestIdentity, spiffeId } from '../../support/identities.ts';
import type { Chain, LimboCase, LimboVerdict } from '../../support/limbo/chain.ts';
import { dateCases, numberCases, signatureCases } from '../../support/limbo/encodings.ts';
import { altNameCases, criticalCases, purposeCases } from '../../support/limbo/extensions.ts';
import { nameCases } from '../../support/limbo/names.ts';
import { authorityCases, graphCases, keyNameCases, lengthCases } from '../../support/limbo/paths.ts';
import type { Role } from './handshake.ts';
import { mesh, present, roles, verdict } from './handshake.ts';

/** Lets a stranger show what OpenSSL would not send by itself. */
const careless = { ciphers: 'DEFAULT:@SECLEVEL=0' };

async function show(role: Role, { leaf, intermediates, roots, trustDomain }: Chain): Promise<LimboVerdict> {
  const local = identityWith(roots.map(({ pem }) => pem).join(''), trustDomain);
  if (local === undefined) return 'bundle';
  if (![leaf, ...intermediates].every(isReadable)) return 'unreadable';
  const chainPem = [leaf, ...intermediates].map(({ pem }) => pem).join('');
  const expectedId = spiffeId(`spiffe://${trustDomain}/ns/shop/sa/peer`);
  return verdict(await present(role, { key: leaf.key, chainPem }, { local, expectedId }, careless));
}

function isReadable({ pem }: MadeCertificate): boolean {
  try {
    return createSecureContext({ cert: pem }) !== undefined;
  } catch {
    return false;
  }
}

/** Ourselves, with these roots beside our own; undefined when they cannot be roots. */
function identityWith(roots: string, trustDomain: string) {
  const own =
    mesh.trustDomain === trustDomain
      ? { [trustDomain]: mesh.bundlePem + roots }
      : { [mesh.trustDomain]: mesh.bundlePem, [trustDomain]: roots };
  try {
    return createTestIdentity(mesh, { namespace: 'shop', serviceAccount: 'web', bundles: parseTrustBundles(own) });
  } catch (error) {
    if (error instanceof TrustBundleError) return undefined;
    throw error;
  }
}

function limbo(title: string, cases: readonly LimboCase[]): void {
  describe(title, () => {
    for (const [name, chain, ours, handshake = ours] of cases)
      it(name, async () => {
        const shown = chain();
        for (const role of roles) expect(await show(role, shown)).toBe(handshake);
      });
  });
}

limbo('C8: which certificate is the issuer', graphCases);
limbo('C10: who may issue', authorityCases);
limbo('C12: the length of a path', lengthCases);
limbo('C13: purposes', purposeCases);
limbo('C15: critical extensions', criticalCases);
limbo('C17: name constraints', nameCases);
limbo('C21: signatures', signatureCases);
limbo('C23: numbers and versions', numberCases);
limbo('C30: names of keys', keyNameCases);
limbo('C31: dates', dateCases);
limbo('C32: the names of a leaf', altNameCases);
