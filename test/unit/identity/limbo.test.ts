import { describe, expect, it } from 'vitest';
import { CertificateError, readCertificate } from '../../../src/identity/certificate.ts';
import { decidePeer } from '../../../src/identity/decide-peer.ts';
import type { MadeCertificate } from '../../support/certificates.ts';
import type { Chain, LimboCase, LimboVerdict } from '../../support/limbo/chain.ts';
import { dateCases, numberCases, signatureCases } from '../../support/limbo/encodings.ts';
import { altNameCases, criticalCases, purposeCases } from '../../support/limbo/extensions.ts';
import { nameCases } from '../../support/limbo/names.ts';
import { authorityCases, graphCases, keyNameCases, lengthCases } from '../../support/limbo/paths.ts';

/** What our rules make of a chain, without OpenSSL's opinion of it. */
function judge({ leaf, intermediates, roots, trustDomain }: Chain): LimboVerdict {
  const [first] = readable([leaf]);
  if (first === undefined) return 'untrusted';
  const anchors = readable(roots);
  const decision = decidePeer(first, readable(intermediates), {
    anchorsOf: (domain) => (domain === trustDomain ? anchors : undefined),
    expectedId: undefined,
    nowMs: Date.now(),
    acceptsAbsentKeyUsage: false,
  });
  return decision.kind === 'accepted' ? 'accepted' : decision.reason;
}

function readable(certificates: readonly MadeCertificate[]) {
  return certificates.flatMap(({ der }) => {
    try {
      return [readCertificate(der)];
    } catch (error) {
      if (error instanceof CertificateError) return [];
      throw error;
    }
  });
}

function limbo(title: string, cases: readonly LimboCase[]): void {
  describe(title, () => {
    for (const [name, chain, ours] of cases)
      it(name, () => {
        expect(judge(chain())).toBe(ours);
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
