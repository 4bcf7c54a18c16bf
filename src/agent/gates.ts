import type { Clock, Timer } from '../clock.ts';
import type { AgentSettings } from '../config.ts';
import { ConfigurationError } from '../errors.ts';
import type { Identity } from '../identity/identity.ts';
import { remainingMs, whyOver } from '../identity/identity.ts';
import type { Readiness } from '../lifecycle.ts';
import { createReadiness } from '../lifecycle.ts';
import type { Log } from '../log.ts';
import { gateRemedies } from '../outcomes.ts';
import type { IdentitySource } from './identity-sources/source.ts';
import type { Family } from './interception.ts';
import { startInterceptionProbe } from './interception.ts';
import type { InterceptionBook } from './interception-book.ts';

/** Says each time when the sidecar becomes ready or is no longer. */
export function loggedReadiness(log: Log): Readiness {
  const readiness = createReadiness();
  readiness.open('not_draining');
  return {
    ...readiness,
    open(gate) {
      const wasReady = readiness.isReady();
      readiness.open(gate);
      if (!wasReady && readiness.isReady()) log.info('Ready');
    },
    close(gate, why) {
      if (readiness.isReady()) log.warn({ gate, detail: why, remedy: gateRemedies[gate] }, 'Not ready');
      readiness.close(gate, why);
    },
  };
}

/** Keeps the gate `identity` open while the certificate is valid. */
export function watchExpiry(clock: Clock, source: IdentitySource, readiness: Readiness): void {
  let timer: Timer | undefined;
  const watch = (identity: Identity) => {
    timer?.cancel();
    const leftMs = remainingMs(identity, clock.now());
    if (leftMs <= 0) return readiness.close('identity', whyOver(identity));
    readiness.open('identity');
    // Looked at again before its end: the wall clock may be set, and the machine suspended.
    timer = clock.after(Math.min(leftMs, expiryCheckIntervalMs), () => watch(source.current()));
  };
  watch(source.current());
  source.subscribe(watch);
}

const expiryCheckIntervalMs = 5_000;

/**
 * Keeps the gate `interception` open while a dial proves that the rules are there; without capture there are none. Calls
 * `proved` each time that one does.
 */
export function watchInterception(
  clock: Clock,
  settings: AgentSettings,
  { hasIpv6, probeAnswer }: { hasIpv6: boolean; probeAnswer: string },
  {
    readiness,
    book,
    proved,
  }: { readonly readiness: Readiness; readonly book: Pick<InterceptionBook, 'proved'>; proved(): void },
  fail: (error: Error) => void,
): () => void {
  if (!settings.capture) {
    readiness.open('interception');
    return () => undefined;
  }
  const families: readonly Family[] = hasIpv6 ? ['ipv4', 'ipv6'] : ['ipv4'];
  const broken = new Map<Family, string>();
  const probe = startInterceptionProbe(clock, families, probeAnswer, (family, result) => {
    if (result.kind === 'not-recognised') return fail(new ConfigurationError(unrecognised(settings)));
    book.proved({ family, direction: 'outbound', isOk: result.kind === 'captured' });
    if (result.kind === 'captured') proved();
    if (result.kind === 'captured') broken.delete(family);
    else broken.set(family, result.why);
    const why = [...broken].map(([name, text]) => `${name}: ${text}`).join('; ');
    if (broken.size === 0) readiness.open('interception');
    else
      readiness.close(
        'interception',
        `Outbound connections are not captured: the dial that the redirect rules lead back to this sidecar did not come back (${why})`,
      );
  });
  return probe.stop;
}

function unrecognised({ rulesUid, rulesGid }: AgentSettings): string {
  return `The redirect rules do not let this process out, expected it to run as the uid and gid that they were made for (rulesUid=${rulesUid}, rulesGid=${rulesGid}): what it dials would come back to it`;
}
