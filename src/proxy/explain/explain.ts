import { canonicalIp, formatAddress, parseAddress } from '../../addresses.ts';
import type { ShownConnection, ShownFailure } from '../../admin-api.ts';
import { timestamp } from '../../clock.ts';
import type { ExplainPage, InboundPage, OutboundPage, ShownOutbound } from '../../explain-api.ts';
import { parseSpiffeId } from '../../identity/spiffe-id.ts';
import type { DeclaredTunnel } from '../outbound/declared.ts';
import type { Names } from '../outbound/names.ts';
import { shownConnection } from '../shown.ts';
import { callerAt } from './caller.ts';
import type { DeclaredExplainSettings } from './declared.ts';
import { explainDeclared, isListener, tunnelFor, tunnelThatCarried } from './declared.ts';
import type { Caller, InboundExplainParts, InboundExplainSettings } from './inbound.ts';
import { explainInbound } from './inbound.ts';
import type { LookedUp } from './lookup.ts';
import type { OutboundExplainParts } from './outbound.ts';
import { allowed, explainOutbound } from './outbound.ts';
import type { Question } from './question.ts';
import { parseQuestion } from './question.ts';

export interface ExplainParts extends OutboundExplainParts, InboundExplainParts {
  readonly names: Names;
  lookUp(host: string, timeoutMs: number): Promise<LookedUp>;
}

export interface ExplainSettings {
  readonly outbound: DeclaredExplainSettings;
  readonly inbound: InboundExplainSettings;
  readonly declared: readonly DeclaredTunnel[];
}

/** Answers `GET /explain`: 400 and one sentence for what is no question. */
export type Explain = (query: URLSearchParams) => Promise<{ readonly status: number; readonly body: string | object }>;

interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Two such waits, for a name and for what it leads to, are less than those who ask are patient for; milliseconds. */
export const longestWaitMs = 6_000;

/**
 * Explains connections by the code that carries them. Changes nothing and dials nobody; asks the control plane as a
 * connection would, for at most as long.
 */
export function createExplain(parts: ExplainParts, { outbound, inbound, declared }: ExplainSettings): Explain {
  const waitMs = Math.min(outbound.resolveTimeoutMs, longestWaitMs);
  const settings = {
    ...outbound,
    resolveTimeoutMs: waitMs,
    connectTimeoutMs: Math.min(outbound.connectTimeoutMs, longestWaitMs),
  };
  const now = () => timestamp(parts.clock.now());

  const explainTo = async (asked: HostPort): Promise<OutboundPage> => {
    const page = { kind: 'to', now: now(), to: formatAddress({ ip: asked.host, port: asked.port }) } as const;
    const tunnel = tunnelFor(asked, declared);
    // Whoever dials the target of a tunnel itself is captured as everybody else, where anything is captured.
    if (tunnel !== undefined && (inbound.capture === undefined || isListener(asked, tunnel.listen)))
      return { ...page, destinations: [await explainDeclared(tunnel, parts, settings)] };
    const found = await addressesOf(asked.host);
    if (found.kind === 'failed') return { ...page, destinations: [], lookupFailure: found.why };
    return { ...page, destinations: await Promise.all(found.ips.map((ip) => explainAddress(ip, asked.port))) };
  };

  const addressesOf = async (host: string): Promise<LookedUp> => {
    const ip = canonicalIp(host);
    return ip === undefined ? parts.lookUp(host, waitMs) : { kind: 'addresses', ips: [ip] };
  };

  const explainAddress = (ip: string, port: number): Promise<ShownOutbound> | ShownOutbound => {
    const address = { ip, port };
    if (inbound.capture !== undefined) return explainOutbound(address, inbound.capture.rules, parts, settings);
    return nothingCaptured(formatAddress(address), settings);
  };

  const explainFrom = async (caller: Caller, port: number | undefined): Promise<InboundPage> => {
    const ip = caller.kind === 'plaintext' && inbound.hasControlPlane ? caller.ip : undefined;
    const known = ip === undefined ? null : await callerAt(ip, parts, settings);
    return { kind: 'from', now: now(), ...explainInbound(caller, port, known, parts, inbound) };
  };

  const explainAgain = async (line: ShownFailure | ShownConnection): Promise<OutboundPage | InboundPage | null> => {
    const destination = line.originalDestination === undefined ? undefined : parseAddress(line.originalDestination);
    if (line.direction === 'inbound') {
      const caller = callerOf(line);
      return caller && (await explainFrom(caller, destination?.port));
    }
    if (destination === undefined) return null;
    const tunnel = inbound.capture === undefined ? tunnelThatCarried(destination, declared) : undefined;
    return explainTo(tunnel?.target ?? { host: destination.ip, port: destination.port });
  };

  const liveConnection = (id: string): ShownConnection | undefined => {
    for (const one of parts.accounts.live()) if (one.id === id) return shownConnection(one, parts.clock.now());
    return undefined;
  };

  const explainId = async (id: string): Promise<ExplainPage> => {
    const failure = parts.failures.find(id);
    const connection = liveConnection(id);
    const line = connection ?? failure;
    const again = line === undefined ? null : await explainAgain(line);
    return { kind: 'id', now: now(), id, ...(connection ? { connection } : failure && { failure }), again };
  };

  const pageOf = async (question: Exclude<Question, { kind: 'problem' }>): Promise<ExplainPage> => {
    switch (question.kind) {
      case 'to':
        return explainTo(question);
      case 'from':
        return explainFrom(question.caller, question.port);
      case 'id':
        return explainId(question.id);
      default:
        return question satisfies never;
    }
  };

  return async (query) => {
    const question = parseQuestion(query);
    if (question.kind === 'problem') return { status: 400, body: `${question.why}\n` };
    return { status: 200, body: await pageOf(question) };
  };
}

/** Null when its identity is none that can be asked about. */
function callerOf(line: ShownFailure | ShownConnection): Caller | null {
  const shown = line.peerId ?? ('presentedId' in line ? line.presentedId : undefined);
  // Whose handshake with the tunnel's port failed before he showed anything is no caller in plaintext.
  if (shown === undefined && line.originalDestination === undefined) return null;
  if (shown === undefined) return { kind: 'plaintext', ip: parseAddress(line.peerAddress)?.ip };
  const parsed = parseSpiffeId(shown);
  return parsed.kind === 'id' ? { kind: 'identity', id: parsed.id, ip: parseAddress(line.peerAddress)?.ip } : null;
}

function nothingCaptured(name: string, settings: DeclaredExplainSettings): ShownOutbound {
  return {
    destination: name,
    verdict: {
      kind: 'not_carried',
      sentence: `${name} would not pass this sidecar: it captures nothing, and has no tunnel for it`,
    },
    capture: null,
    registry: null,
    ...allowed(settings),
    endpoints: [],
    endpointsNotShown: 0,
    keptAt: null,
    recentFailures: [],
  };
}
