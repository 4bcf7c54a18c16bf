import { networkInterfaces } from 'node:os';
import { canonicalIp } from '../../addresses.ts';
import { createCaptureRules } from '../../capture-scope.ts';
import type { Clock } from '../../clock.ts';
import type { AgentSettings } from '../../config.ts';
import type { CanaryReply } from '../../control-api.ts';
import type { Readiness } from '../../lifecycle.ts';
import type { Log } from '../../log.ts';
import { watchInterception } from '../gates.ts';
import type { InterceptionBook } from '../interception-book.ts';
import type { Audit } from './audit.ts';
import { startAudit } from './audit.ts';
import { createCanary } from './canary.ts';
import { listenOnCanaryPort } from './canary-listener.ts';
import type { CapturedConnection } from './look.ts';
import { createLooker } from './look.ts';
import { ownInodes } from './own-sockets.ts';
import { readSocketTable } from './socket-table.ts';

export interface InterceptionWatchParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly readiness: Readiness;
  readonly book: InterceptionBook;
  /** Undefined without a control plane. */
  readonly askCanary: ((signal: AbortSignal) => Promise<CanaryReply>) | undefined;
}

/** Everything that watches whether the redirect rules are there and nothing goes around them. */
export interface InterceptionWatch {
  /** What inbound capture answers on the canary port. */
  canaryAnswer(): string | undefined;
  /** From when on captured connections are accepted. `fail` is called when this process must not go on. */
  start(captured: () => Iterable<CapturedConnection>, fail: (error: Error) => void): void;
  stop(): Promise<void>;
}

/** Without capture there is nothing to watch, and the gate is open. */
export function createInterceptionWatch(
  parts: InterceptionWatchParts,
  settings: AgentSettings,
  surroundings: { readonly hasIpv6: boolean; readonly probeAnswer: string },
): InterceptionWatch {
  const { clock, log, book } = parts;
  const canary = canaryOf(parts, settings);
  const ends: (() => void)[] = [];
  let audit: Audit | undefined;
  const startAll = (captured: () => Iterable<CapturedConnection>) => {
    const sources = {
      sockets: readSockets,
      ownInodes: () => ownInodes(clock),
      captured,
      rules: () => currentRules(settings),
      capturePort: settings.ports.outbound,
      pause: () => clock.sleep(0),
    };
    audit = startAudit({ clock, log, book, look: createLooker(sources) });
    canary?.start();
  };
  return {
    canaryAnswer: () => canary?.answer(),
    start(captured, fail) {
      if (canary !== undefined) ends.push(listenOnCanaryPort(log, surroundings.hasIpv6).close);
      // Before the rules are there, everything goes around the sidecar; what began then is older than they are.
      const proved = () => audit ?? startAll(captured);
      ends.push(watchInterception(clock, settings, surroundings, { ...parts, proved }, fail));
    },
    async stop() {
      for (const end of ends) end();
      audit?.stop();
      await canary?.close();
    },
  };
}

/** None where nothing inbound is to be captured, or nobody could dial. */
function canaryOf({ clock, log, book, askCanary }: InterceptionWatchParts, settings: AgentSettings) {
  const { capture, includeInboundPorts } = settings;
  if (!capture || askCanary === undefined || includeInboundPorts.length === 0) return undefined;
  const isOwnAddress = (ip: string) => ownAddresses().has(ip);
  return createCanary({ clock, log, book, ask: askCanary, isOwnAddress });
}

async function readSockets(visit: Parameters<typeof readSocketTable>[1]): Promise<boolean> {
  const isIpv4Whole = await readSocketTable('/proc/net/tcp', visit);
  return (await readSocketTable('/proc/net/tcp6', visit)) && isIpv4Whole;
}

function currentRules(settings: AgentSettings) {
  const own = ownAddresses();
  return createCaptureRules(settings, settings.ports, (ip) => own.has(ip));
}

function ownAddresses(): ReadonlySet<string> {
  const all = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return new Set(all.flatMap(({ address }) => canonicalIp(address.replace(/%.*$/, '')) ?? []));
}
