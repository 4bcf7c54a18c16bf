import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { AgentSettings } from '../config.ts';
import type { CanaryReply, PolicyState, RevocationState } from '../control-api.ts';
import { messageOf } from '../errors.ts';
import { createRevocations, joinRevocations, noRevocations } from '../identity/revocations.ts';
import { createListeners } from '../listeners.ts';
import type { Log } from '../log.ts';
import type { RenewalReason } from '../outcomes.ts';
import { renewalReasons } from '../outcomes.ts';
import { createControlClient } from './control-client.ts';
import type { ControlPlaneBook, ControlPlaneFacts } from './control-plane-book.ts';
import { createControlPlaneBook } from './control-plane-book.ts';
import type { ControlStream } from './control-stream.ts';
import { startControlStream } from './control-stream.ts';
import type { CrlFiles } from './crl-files.ts';
import { noCrlFiles, startCrlFiles } from './crl-files.ts';
import { startControlPlaneIdentity } from './identity-sources/control-plane.ts';
import { startFileIdentity } from './identity-sources/files.ts';
import type { RevocationSource } from './identity-sources/revoked.ts';
import type { IdentitySource, RenewalObserver } from './identity-sources/source.ts';
import { createPolicySource } from './policy-source.ts';
import type { Registry } from './registry/registry.ts';
import { createRegistry } from './registry/registry.ts';
import type { WorkloadBook } from './registry/workload-book.ts';
import { createWorkloadBook, noWorkloads } from './registry/workload-book.ts';
import type { Reporting } from './reports.ts';

/** What the sidecar is told from outside, and who tells it: the control plane, files, or nobody. */
export interface Sources {
  /** Resolves with the first identity; rejects only when `signal` is aborted. */
  identity(signal: AbortSignal): Promise<IdentitySource>;
  readonly policy: {
    /** Undefined before the first, and while the last one cannot be enforced. */
    current(): PolicyState | undefined;
    subscribe(listener: (policy: PolicyState | undefined) => void): () => void;
  };
  /** What the control plane and the files say, both together. Nothing is revoked before the first. */
  readonly revocations: RevocationSource;
  readonly registry: Registry;
  /** Empty without a control plane. */
  readonly workloads: WorkloadBook;
  isControlPlaneUp(): boolean;
  /** Undefined without a control plane. */
  controlPlane(): ControlPlaneFacts | undefined;
  /** Undefined without a control plane. */
  readonly reporting: Reporting | undefined;
  /** Has the canary port of this pod dialled from outside; undefined without a control plane. */
  readonly askCanary: ((signal: AbortSignal) => Promise<CanaryReply>) | undefined;
  close(): Promise<void>;
}

/** Counts the attempts to renew; implemented by the metrics. */
export interface RenewalCounter {
  renewalSucceeded(source: string): void;
  /** `detail` is one sentence. */
  renewalFailed(source: string, reason: RenewalReason, detail: string): void;
}

export interface SourceParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly counter: RenewalCounter;
}

/** Starts what the settings ask for. */
export function startSources(parts: SourceParts, settings: AgentSettings): Sources {
  const { clock, log } = parts;
  const { controlPlane } = settings;
  if (controlPlane === undefined) return withoutControlPlane(parts, settings);
  const book = createControlPlaneBook(clock);
  const plainClient = createControlClient(clock, {
    url: controlPlane,
    caFile: settings.controlPlaneCaFile,
    serverName: settings.controlPlaneServerName,
    tokenFile: settings.tokenFile,
    timeoutMs: settings.controlPlaneTimeoutMs,
    connectTimeoutMs: settings.connectTimeoutMs,
  });
  const client = book.watching(plainClient);
  const life = { isClosing: false, session: 0 };
  const stream = startControlStream({ clock, client, observer: streamObserver(log, life, book) });
  const registry = createRegistry(
    { clock, client, stream },
    { maxDestinations: settings.maxDestinations, idleMs: settings.destinationIdleMs },
  );
  const workloads = createWorkloadBook({ clock, log, client });
  const policy = createPolicySource(clock, stream);
  const observer = renewalObserver(parts, settings);
  const crls = crlsOf(parts, settings);
  const revocations = joinSources(pushedRevocations(stream), crls);
  const identity = (signal: AbortSignal) =>
    filesOf(settings) === undefined
      ? startControlPlaneIdentity(
          { clock, client, stream, revocations, observer },
          {
            trustDomain: settings.trustDomain,
            expected: settings.spiffeId,
            tokenFile: settings.tokenFile,
            lifetimeMs: settings.certificateLifetimeMs,
            maximumLifetimeMs: settings.maximumCertificateLifetimeMs,
            renewalFraction: settings.renewalFraction,
          },
          signal,
        )
      : identityOfFiles(parts, settings, revocations, signal);
  return {
    identity: (signal) => judging(crls, identity(signal)),
    policy,
    revocations,
    registry,
    workloads,
    isControlPlaneUp: stream.isUp,
    controlPlane: book.facts,
    reporting: { send: client.report, controlPlaneRoots: client.roots, session: () => life.session },
    askCanary: client.canary,
    async close() {
      life.isClosing = true;
      policy.close();
      await crls.close();
      await registry.close();
      await workloads.close();
      await stream.close();
      await client.close();
    },
  };
}

/** Tunnels that were declared by hand: who may connect is in the settings, and nothing is looked up. */
function withoutControlPlane(parts: SourceParts, settings: AgentSettings): Sources {
  const policy: PolicyState = { mode: 'STRICT' };
  const crls = crlsOf(parts, settings);
  return {
    identity: (signal) => judging(crls, identityOfFiles(parts, settings, crls, signal)),
    policy: {
      current: () => policy,
      subscribe(listener) {
        listener(policy);
        return () => undefined;
      },
    },
    revocations: crls,
    registry: {
      lookup: async () => ({ kind: 'unavailable', why: 'there is no control plane' }),
      heldForMs: () => undefined,
      known: () => [],
      close: async () => undefined,
    },
    workloads: noWorkloads,
    isControlPlaneUp: () => false,
    controlPlane: () => undefined,
    reporting: undefined,
    askCanary: undefined,
    close: crls.close,
  };
}

/** What was revoked stays revoked while the control plane is away. */
function pushedRevocations(stream: ControlStream): RevocationSource {
  const listeners = createListeners();
  let current = noRevocations;
  const take = (state: RevocationState) => {
    current = createRevocations(state);
    listeners.tell();
  };
  stream.subscribe({ revocationsChanged: take });
  return {
    current: () => current,
    subscribe: listeners.subscribe,
  };
}

function crlsOf({ clock, log }: SourceParts, { crlFiles, staleCrl, filePollIntervalMs }: AgentSettings): CrlFiles {
  if (crlFiles.length === 0) return noCrlFiles;
  return startCrlFiles({ clock, log }, { crlFiles, staleCrl, pollIntervalMs: filePollIntervalMs });
}

/** Joined when one of them changes: each connection asks for what is in force. */
function joinSources(...sources: readonly RevocationSource[]): RevocationSource {
  const join = () => joinRevocations(...sources.map((source) => source.current()));
  let current = join();
  for (const source of sources)
    source.subscribe(() => {
      current = join();
    });
  return {
    current: () => current,
    subscribe(listener) {
      const ends = sources.map((source) => source.subscribe(listener));
      return () => {
        for (const end of ends) end();
      };
    },
  };
}

/** The lists are in force before anybody uses the identity, by which it is known who may have signed them. */
async function judging(crls: CrlFiles, starting: Promise<IdentitySource>): Promise<IdentitySource> {
  const [source] = await Promise.all([starting, crls.read]);
  const judge = () => crls.judgeBy(source.current());
  judge();
  // Not at once: a list may end the very identity that everybody is being told of.
  source.subscribe(() => queueMicrotask(judge));
  return source;
}

function filesOf({ certificateFile, keyFile, bundleFile }: AgentSettings) {
  if (certificateFile === undefined || keyFile === undefined || bundleFile === undefined) return undefined;
  return { certificateFile, keyFile, bundleFile };
}

function identityOfFiles(
  parts: SourceParts,
  settings: AgentSettings,
  revocations: RevocationSource,
  signal: AbortSignal,
): Promise<IdentitySource> {
  const files = filesOf(settings);
  if (files === undefined) throw new TypeError('Settings without a source of certificates were accepted');
  return startFileIdentity(
    { clock: parts.clock, revocations, observer: renewalObserver(parts, settings) },
    {
      ...files,
      federatedBundles: settings.federatedBundles,
      trustDomain: settings.trustDomain,
      expected: settings.spiffeId,
      pollIntervalMs: settings.filePollIntervalMs,
    },
    signal,
  );
}

function renewalObserver({ log, counter }: SourceParts, settings: AgentSettings): RenewalObserver {
  const source = filesOf(settings) === undefined ? 'control_plane' : 'files';
  return {
    renewed({ spiffeId, generation, leaf, notAfterMs }, nextAttemptMs) {
      counter.renewalSucceeded(source);
      const facts = { spiffeId: spiffeId.uri, serial: leaf.serialNumber, notAfter: timestamp(notAfterMs) };
      const inMs = nextAttemptMs && Math.round(nextAttemptMs);
      log.info({ ...facts, generation, source, nextAttemptMs: inMs }, 'Identity renewed');
    },
    renewalFailed(reason, error, nextAttemptMs) {
      const { happened, remedy } = renewalReasons[reason];
      const detail = messageOf(error);
      counter.renewalFailed(source, reason, detail);
      log.warn({ reason, source, detail, remedy, nextAttemptMs: Math.round(nextAttemptMs) }, happened);
    },
    bundlesRefused(error) {
      log.warn({ reason: error.reason, detail: messageOf(error) }, 'Trust bundles refused, those in use are kept');
    },
  };
}

function streamObserver(log: Log, life: { readonly isClosing: boolean; session: number }, book: ControlPlaneBook) {
  return {
    streamUp() {
      life.session += 1;
      book.streamUp();
      log.info('Control plane reachable');
    },
    streamDown() {
      book.streamDown();
      if (!life.isClosing) log.warn('Control plane lost, what it last said stays in force');
    },
    streamEnded(why: string, nextAttemptMs: number) {
      book.streamEnded(why);
      log.info({ detail: why, nextAttemptMs: Math.round(nextAttemptMs) }, 'Control-plane stream ended');
    },
    lineRefused: (why: string) => log.warn({ detail: why }, 'Control-plane message refused'),
  };
}
