import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createTestAuthority } from '../test/support/identities.ts';

/** The name that HAProxy and nginx compare; Remora compares the SPIFFE ID of the same certificate. */
export const serverName = 'api.bench.test';
export const spiffeIdOf = (name: string) => `spiffe://cluster.local/ns/bench/sa/${name}`;
/** What every contender is held to, and what Remora agrees on by itself. */
export const tlsVersion = 'TLSv1.3';
export const cipher = 'TLS_AES_256_GCM_SHA384';

/** PEM files of one end. */
export interface EndFiles {
  readonly certificate: string;
  readonly key: string;
  /** Certificate and key in one file, as HAProxy reads them. */
  readonly both: string;
  readonly roots: string;
}

/** Writes one root and the identities of both ends into `folder`: P-256, valid for an hour, the same for every contender. */
export function writeCertificates(folder: string): { readonly client: EndFiles; readonly server: EndFiles } {
  const authority = createTestAuthority('cluster.local');
  const roots = join(folder, 'roots.pem');
  writeFileSync(roots, authority.bundlePem);
  const writeEnd = (name: string): EndFiles => {
    const sans = [{ uri: spiffeIdOf(name) }, { dns: `${name}.bench.test` }];
    const { key, chainPem } = authority.issue({ id: spiffeIdOf(name), sans });
    const keyPem = key.export({ type: 'pkcs8', format: 'pem' }).toString();
    const path = (end: string) => join(folder, `${name}.${end}`);
    writeFileSync(path('pem'), chainPem);
    writeFileSync(path('key'), keyPem);
    writeFileSync(path('both.pem'), chainPem + keyPem);
    return { certificate: path('pem'), key: path('key'), both: path('both.pem'), roots };
  };
  return { client: writeEnd('web'), server: writeEnd('api') };
}
