import type { Address } from '../addresses.ts';
import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import { tokenAudience } from '../control-api.ts';
import type { Log } from '../log.ts';
import { createControlPlaneMetrics } from '../metrics/control-plane-metrics.ts';
import { createApi } from './api.ts';
import { startApiServer } from './api-server.ts';
import { writeFileAtomically } from './atomic-file.ts';
import type { Authority } from './authority.ts';
import { createAuthority } from './authority.ts';
import type { ListenAddress } from './listen.ts';
import { startMetricsServer } from './metrics-server.ts';
import { createPublication } from './publication.ts';
import { refusals } from './refusals.ts';
import { createReportBook } from './report-book.ts';
import { keepServingCertificate } from './serving-certificate.ts';
import { createAuthorityKeys, openStateDirectory } from './state-directory.ts';
import { directoryStoreDefaults, openDirectoryStore } from './store/directory.ts';
import { noObjects } from './store/objects.ts';
import type { Store } from './store/store.ts';
import { fixedStore } from './store/store.ts';
import { createStreams } from './streams.ts';
import type { TokenRequest } from './token-issuer.ts';
import { createTokenIssuer, defaultTokenIssuer } from './token-issuer.ts';
import { createTokenReviewer } from './token-review.ts';

export interface ControlPlaneSettings {
  readonly trustDomain: string;
  readonly listen: ListenAddress;
  readonly metricsListen: ListenAddress;
  /** Where root and token key are kept; undefined keeps them in memory, so that they end with the process. */
  readonly stateDirectory?: string | undefined;
  /** A directory of Kubernetes YAML; undefined is a registry that knows nothing. */
  readonly registry?: string | undefined;
  /** Lifetime of workload certificates: the default and the longest. */
  readonly certificateLifetimeMs: number;
  /** A request for less gets this. */
  readonly minimumCertificateLifetimeMs: number;
  /** DNS names and addresses of the API besides localhost. */
  readonly servingNames: readonly string[];
  /** By default `spiffe://<trust domain>`. */
  readonly tokenIssuer?: string | undefined;
  /** Where to write the root for sidecars, PEM. */
  readonly writeRoot?: string | undefined;
  /** How long a sidecar may use an answer of discovery while this control plane is away; seconds. */
  readonly destinationTtlSeconds: number;
}

export const controlPlaneDefaults = {
  trustDomain: 'cluster.local',
  certificateLifetimeMs: 3_600_000,
  minimumCertificateLifetimeMs: 10_000,
  servingNames: [],
  destinationTtlSeconds: 300,
} as const satisfies Partial<ControlPlaneSettings>;

export interface ControlPlaneCollaborators {
  readonly clock: Clock;
  readonly log: Log;
  /** Instead of the registry of the settings; whoever gives it closes it. */
  readonly store?: Store;
}

/** A control plane that serves. */
export interface ControlPlane {
  readonly apiAddress: Address;
  readonly metricsAddress: Address;
  /** What sidecars trust, for the API and for each other. */
  readonly rootPem: string;
  /** A token of the embedded issuer. */
  mintToken(request: TokenRequest): Promise<string>;
  /** Ends streams, lets requests finish, releases both ports. Idempotent. */
  close(): Promise<void>;
}

/** Resolves when both ports are bound. Throws `RemoraError` for what the operator can act on, and leaves nothing open then. */
export async function startControlPlane(
  collaborators: ControlPlaneCollaborators,
  settings: ControlPlaneSettings,
): Promise<ControlPlane> {
  const { clock, log } = collaborators;
  await using opened = new AsyncDisposableStack();
  const { authority, tokens, reviewer } = await openAuthority(clock, settings);
  const store = collaborators.store ?? opened.adopt(await openRegistry(settings, { clock, log }), (one) => one.close());
  const publication = opened.adopt(createPublication({ authority, store }, settings), (one) => one.close());
  const streams = createStreams({ clock, publication });
  const metrics = createControlPlaneMetrics(['issued', ...Object.keys(refusals)], {
    rootNotAfterMs: authority.rootNotAfterMs,
    openStreams: () => streams.open,
  });
  const serving = keepServingCertificate({ authority, clock, log }, settings.servingNames);
  opened.defer(() => serving.close());

  let isStopping = false;
  const { jwks } = tokens;
  const parts = { clock, log, authority, publication, streams, reviewer, jwks, metrics, reports: createReportBook() };
  const api = createApi({ ...parts, isStopping: () => isStopping });
  const metricsServer = opened.adopt(await startMetricsServer(metrics, settings.metricsListen), (one) => one.close());
  const apiServer = opened.adopt(await startApiServer({ clock, serving, api }, settings.listen), (one) => {
    isStopping = true;
    const closed = one.close();
    streams.close();
    return closed;
  });
  if (settings.writeRoot !== undefined) await writeFileAtomically(settings.writeRoot, authority.rootPem, 0o644);

  const all = opened.move();
  let closing: Promise<void> | undefined;
  const { address: apiAddress } = apiServer;
  const { address: metricsAddress } = metricsServer;
  log.info({ ...facts(authority, settings), apiAddress, metricsAddress }, 'Control plane ready');
  return {
    apiAddress,
    metricsAddress,
    rootPem: authority.rootPem,
    mintToken: tokens.mint,
    close: () => {
      closing ??= all.disposeAsync();
      return closing;
    },
  };
}

async function openAuthority(clock: Clock, settings: ControlPlaneSettings) {
  const { trustDomain, stateDirectory, tokenIssuer: issuer = defaultTokenIssuer(trustDomain) } = settings;
  const { root, tokenKey } =
    stateDirectory === undefined
      ? createAuthorityKeys(trustDomain, clock.now())
      : await openStateDirectory(stateDirectory, trustDomain, clock.now());
  const authority = createAuthority(root, clock, {
    trustDomain,
    lifetimeMs: settings.certificateLifetimeMs,
    minimumLifetimeMs: settings.minimumCertificateLifetimeMs,
  });
  const tokens = await createTokenIssuer(tokenKey, issuer, clock);
  return {
    authority,
    tokens,
    reviewer: createTokenReviewer({ issuer, audience: tokenAudience, jwks: tokens.jwks }, clock),
  };
}

async function openRegistry(
  { registry }: ControlPlaneSettings,
  { clock, log }: ControlPlaneCollaborators,
): Promise<Store> {
  if (registry !== undefined) return openDirectoryStore({ clock, log }, { path: registry, ...directoryStoreDefaults });
  log.warn('No registry is given, every destination is unknown');
  return fixedStore(noObjects);
}

function facts({ root, rootNotAfterMs, trustDomain }: Authority, { stateDirectory = 'memory' }: ControlPlaneSettings) {
  return {
    trustDomain,
    rootFingerprint: root.fingerprint256,
    rootNotAfter: timestamp(rootNotAfterMs),
    state: stateDirectory,
  };
}
