import type { SecureContextOptions } from 'node:tls';
import { canonicalIp } from '../addresses.ts';
import type { Clock, Timer } from '../clock.ts';
import { timestamp } from '../clock.ts';
import { messageOf } from '../errors.ts';
import type { Log } from '../log.ts';
import type { Authority } from './authority.ts';
import { newKeyPair } from './authority.ts';
import type { SubjectName } from './ca.ts';

/** Key and chain for a TLS server. */
export type ServingPair = Required<Pick<SecureContextOptions, 'cert' | 'key'>>;

/** The certificate that the API and the webhook show, renewed by itself. */
export interface ServingCertificate {
  readonly current: ServingPair;
  /** Calls `use` with each later one, until `close`; several may ask. */
  onRenewal(use: (pair: ServingPair) => void): void;
  close(): void;
}

const lifetimeMs = 86_400_000;
/** Compared with the wall clock this often: one long timer would not see that the machine was suspended. */
const checkIntervalMs = 60_000;

/** Every control plane can be reached under these, whatever else it is called. */
const alwaysNames = ['localhost', '127.0.0.1', '::1'];

/** `names` are DNS names and IP literals. Renews at half of a day and when the root changes; a renewal that fails is tried again a minute later. */
export function keepServingCertificate(
  { authority, clock, log }: { readonly authority: Authority; readonly clock: Clock; readonly log: Log },
  names: readonly string[],
): ServingCertificate {
  const subjects = [...new Set([...alwaysNames, ...names])].map(subjectName);
  const users = new Set<(pair: ServingPair) => void>();
  let issuedMs = 0;
  let timer: Timer | undefined;

  const issue = (): ServingPair => {
    const { publicKey, privateKey } = newKeyPair();
    const { certificate, chainPem, notAfterMs } = authority.issueServing(publicKey, subjects, lifetimeMs);
    issuedMs = clock.now();
    log.info({ serial: certificate.serialNumber, notAfter: timestamp(notAfterMs) }, 'Serving certificate issued');
    return { cert: chainPem, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) };
  };
  const check = () => {
    timer = clock.after(checkIntervalMs, check);
    const ageMs = clock.now() - issuedMs;
    if (ageMs < 0 || ageMs >= lifetimeMs / 2) renew();
  };
  const renew = () => {
    try {
      current = issue();
      for (const use of users) use(current);
    } catch (error) {
      issuedMs = 0;
      log.error({ why: messageOf(error) }, 'The serving certificate cannot be renewed');
    }
  };

  let current = issue();
  timer = clock.after(checkIntervalMs, check);
  const unsubscribe = authority.subscribe(renew);
  return {
    get current() {
      return current;
    },
    onRenewal: (use) => void users.add(use),
    close() {
      unsubscribe();
      timer?.cancel();
    },
  };
}

function subjectName(name: string): SubjectName {
  const ip = canonicalIp(name);
  return ip === undefined ? { kind: 'dns', name } : { kind: 'ip', ip };
}
