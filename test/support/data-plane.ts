import { Writable } from 'node:stream';
import type { Address } from '../../src/addresses.ts';
import type { Clock } from '../../src/clock.ts';
import { systemClock } from '../../src/clock.ts';
import type { PolicyState } from '../../src/control-api.ts';
import type { Identity } from '../../src/identity/identity.ts';
import type { Revocations } from '../../src/identity/revocations.ts';
import { noRevocations } from '../../src/identity/revocations.ts';
import type { Drain } from '../../src/lifecycle.ts';
import { createDrain } from '../../src/lifecycle.ts';
import { createLog } from '../../src/log.ts';
import type { Accounts, Observer } from '../../src/proxy/account.ts';
import { createAccounts } from '../../src/proxy/account.ts';
import type { DataPlane, DataPlaneParts, DataPlaneSettings } from '../../src/proxy/data-plane.ts';
import { startDataPlane } from '../../src/proxy/data-plane.ts';
import { createDeclaredGuard } from '../../src/proxy/inbound/guard.ts';
import { createEndpointBook } from '../../src/proxy/outbound/endpoint-book.ts';
import type { RecentFailures } from '../../src/proxy/recent-failures.ts';
import { createRecentFailures } from '../../src/proxy/recent-failures.ts';
import { createRefusalLines } from '../../src/proxy/refusal-lines.ts';
import { createSlots } from '../../src/proxy/slots.ts';

/** One thing that the data plane told its observer. */
export type Observed = { readonly event: keyof Observer; readonly args: readonly unknown[] };

export interface RunningDataPlane extends DataPlane {
  readonly observed: Observed[];
  /** Resolves with the next that is observed and matches. */
  observation(match: (observed: Observed) => boolean): Promise<Observed>;
  /** The log lines, parsed. */
  readonly lines: Record<string, unknown>[];
  readonly drain: Drain;
  readonly accounts: Accounts;
  readonly failures: RecentFailures;
  /** What it was started with. */
  readonly parts: DataPlaneParts;
  readonly settings: DataPlaneSettings;
  identity: Identity;
  policy: PolicyState | undefined;
  revocations: Revocations;
  /** Resolves with the first line, past or future, that has these values. */
  line(match: Record<string, unknown>): Promise<Record<string, unknown>>;
  stop(): void;
}

export interface DataPlaneOptions {
  readonly identity: Identity;
  readonly clock?: Clock;
  readonly deliveries?: readonly Address[];
  readonly allowedPeers?: readonly string[];
  /** Tunnels of a client: what is dialled at which peer, through the HBONE port `hbonePort`. */
  readonly declared?: readonly { readonly target: Address; readonly peer: string }[];
  readonly hbonePort?: number;
  readonly parts?: Partial<DataPlaneParts>;
  adjust?(settings: DataPlaneSettings): DataPlaneSettings;
}

/** The data plane of a sidecar in this process, without capture: real sockets on loopback, every port chosen by the kernel. */
export async function runDataPlane(options: DataPlaneOptions): Promise<RunningDataPlane> {
  const clock = options.clock ?? systemClock;
  const observed: Observed[] = [];
  const { lines, output, line } = collectLines();
  const watchers = new Set<(one: Observed) => void>();
  const observer = recorder((one) => {
    observed.push(one);
    for (const watch of watchers) watch(one);
  });
  const observation = (match: (one: Observed) => boolean) =>
    new Promise<Observed>((resolve) => {
      const watch = (one: Observed) => {
        if (!match(one)) return;
        watchers.delete(watch);
        resolve(one);
      };
      watchers.add(watch);
    });
  const drain = createDrain(clock);
  const state = {
    identity: options.identity,
    policy: { mode: 'STRICT' } as PolicyState | undefined,
    revocations: noRevocations,
  };
  const log = createLog('info', output);
  const refusals = createRefusalLines({ counter: observer, log, clock });
  const failures = createRecentFailures();
  const accounts = createAccounts({ observer, refusals, failures, log, clock });
  const parts: DataPlaneParts = {
    clock,
    log,
    refusals,
    accounts,
    observer,
    drain,
    connections: createSlots(10_000),
    identity: { current: () => state.identity },
    revocations: { current: () => state.revocations },
    policy: { current: () => state.policy },
    guard: createDeclaredGuard(options.deliveries ?? []),
    endpoints: createEndpointBook({ clock, log, counter: observer }),
    registry: { lookup: () => Promise.reject(new Error('No registry in this test')) },
    originalDestination: () => undefined,
    ...options.parts,
  };
  const usual = settingsOf(options);
  const settings = options.adjust?.(usual) ?? usual;
  const plane = await startDataPlane(parts, settings);
  // Not spread: the accessors must stay accessors.
  return Object.defineProperties(
    { ...plane },
    Object.getOwnPropertyDescriptors({
      observed,
      observation,
      lines,
      line,
      drain,
      accounts,
      failures,
      parts,
      settings,
      get identity() {
        return state.identity;
      },
      set identity(identity: Identity) {
        state.identity = identity;
      },
      get policy() {
        return state.policy;
      },
      set policy(policy: PolicyState | undefined) {
        state.policy = policy;
      },
      get revocations() {
        return state.revocations;
      },
      set revocations(revocations: Revocations) {
        state.revocations = revocations;
      },
      stop() {
        plane.retireInbound();
        plane.retireOutbound();
        void drain.finish(0);
        plane.destroy();
      },
    }),
  ) as RunningDataPlane;
}

const anyPort = { ip: '127.0.0.1', port: 0 };

function settingsOf(options: DataPlaneOptions): DataPlaneSettings {
  const common = {
    keepAliveMs: 30_000,
    idleTimeoutMs: Number.POSITIVE_INFINITY,
    halfCloseTimeoutMs: 60_000,
    connectTimeoutMs: 5_000,
    handshakeTimeoutMs: 10_000,
  };
  const capacity = { streamWindowBytes: 65_536, tunnelWindowBytes: 16 * 1024 * 1024, maxStreams: 256 };
  const tunnel = { ...capacity, idleTimeoutMs: 300_000, maxAgeMs: 3_600_000, openTimeoutMs: 10_000 };
  return {
    listen: {
      outbound: [],
      inbound: [],
      hbone: [anyPort],
      declared: (options.declared ?? []).map(({ target, peer }) => ({
        listen: anyPort,
        target: { host: target.ip, port: target.port },
        peer,
        via: undefined,
      })),
      maxConnections: 10_000,
    },
    inbound: {
      ...common,
      ...capacity,
      servedIdleTimeoutMs: 600_000,
      deliverFrom: 'unbound',
      floor: { minimumMode: 'STRICT', allowedPeers: options.allowedPeers && new Set(options.allowedPeers) },
    },
    outbound: {
      ...common,
      hbonePort: options.hbonePort ?? 0,
      reservedPorts: new Set(),
      probeAnswer: '',
      meshNetworks: { has: () => false },
      resolveTimeoutMs: 5_000,
      rules: { policy: 'ALLOW_ANY', minimum: 'plaintext', self: { isOwnAddress: () => false, spiffeId: () => '' } },
    },
    tunnels: { ...common, ...tunnel },
    maxHandshakes: 16,
    peerCertificateGraceMs: 600_000,
  };
}

/** A record is kept to the end of the test, and must not keep tunnels and identities with it. */
function withoutProof(arg: unknown): unknown {
  return typeof arg === 'object' && arg !== null && 'proof' in arg ? { ...arg, proof: undefined } : arg;
}

function recorder(record: (one: Observed) => void): Observer {
  return new Proxy({} as Observer, {
    get:
      (_target, event: keyof Observer) =>
      (...args: unknown[]) =>
        record({ event, args: args.map(withoutProof) }),
  });
}

function collectLines() {
  const lines: Record<string, unknown>[] = [];
  const waiting = new Set<() => void>();
  const output = new Writable({
    write(chunk: Buffer, _encoding, done) {
      for (const text of chunk.toString().split('\n')) if (text !== '') lines.push(JSON.parse(text));
      for (const check of waiting) check();
      done();
    },
  });
  const line = (match: Record<string, unknown>) =>
    new Promise<Record<string, unknown>>((resolve) => {
      const check = () => {
        const found = lines.find((candidate) =>
          Object.entries(match).every(([key, value]) => candidate[key] === value),
        );
        if (found === undefined) return;
        waiting.delete(check);
        resolve(found);
      };
      waiting.add(check);
      check();
    });
  return { lines, output, line };
}
