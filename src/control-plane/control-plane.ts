import type { Address } from '../addresses.ts';
import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { FederatedBundle } from '../config/federated-bundle.ts';
import { admissionResults, answerAdmission } from '../injector/admission.ts';
import type { InjectionSettings } from '../injector/settings.ts';
import type { Log } from '../log.ts';
import { createControlPlaneMetrics } from '../metrics/control-plane-metrics.ts';
import { watchAccounts } from './account-watch.ts';
import { refuseSecond } from './admin-server.ts';
import { createApi } from './api.ts';
import type { ApiServer } from './api-server.ts';
import { startApiServer } from './api-server.ts';
import type { Authority } from './authority.ts';
import { createCanaryDialler } from './canary.ts';
import type { ListenAddress } from './listen.ts';
import { startMetricsServer } from './metrics-server.ts';
import { openAuthority } from './open-authority.ts';
import type { RotationSettings } from './open-rotation.ts';
import { openRotation } from './open-rotation.ts';
import { defaultRootNamespace } from './policy/not-in-force.ts';
import { defaultTrustDomain } from './policy/own-domain.ts';
import { countPolicyObjects } from './policy/policy-counts.ts';
import { watchRegistered } from './policy/registered-watch.ts';
import { createPublication } from './publication.ts';
import { refusals } from './refusals.ts';
import type { RevocationSettings } from './revocation/revocations.ts';
import { openRevocations } from './revocation/revocations.ts';
import { replaceRevokedIssuer } from './revoked-issuer.ts';
import { fingerprintOf, phaseOf, trustedRoots } from './root-set.ts';
import type { ServingCertificate } from './serving-certificate.ts';
import { keepServingCertificate } from './serving-certificate.ts';
import type { SidecarBook } from './sidecar-book.ts';
import { createSidecarBook } from './sidecar-book.ts';
import { lockStateDirectory } from './state-directory.ts';
import { directoryStoreDefaults, openDirectoryStore } from './store/directory.ts';
import { noObjects } from './store/objects.ts';
import type { Store } from './store/store.ts';
import { fixedStore } from './store/store.ts';
import { createStreams } from './streams.ts';
import type { TokenRequest } from './token-issuer.ts';
import { openTrustBundles } from './trust-bundles.ts';
import type { WebhookParts } from './webhook.ts';
import { createWebhook, webhookLimits } from './webhook.ts';

/** Where the root and the key of tokens are: made by this process, or read from a directory that somebody else keeps. */
export type AuthorityKeySource =
  /** They end with the process. */
  | { readonly kind: 'memory' }
  | { readonly kind: 'state'; readonly directory: string }
  | { readonly kind: 'authority'; readonly directory: string };

export interface ControlPlaneSettings extends RevocationSettings, RotationSettings {
  readonly trustDomain: string;
  readonly listen: ListenAddress;
  readonly metricsListen: ListenAddress;
  readonly keys: AuthorityKeySource;
  /** A directory of Kubernetes YAML; undefined is a registry that knows nothing. */
  readonly registry?: string | undefined;
  /** It may have no object at the start; until it has one nobody is permitted anything. */
  readonly isRegistryOptional?: boolean | undefined;
  /** Lifetime of workload certificates: the default and the longest. */
  readonly certificateLifetimeMs: number;
  /** A request for less gets this. */
  readonly minimumCertificateLifetimeMs: number;
  /** DNS names and addresses of the API besides localhost. */
  readonly servingNames: readonly string[];
  /** By default `spiffe://<trust domain>`. */
  readonly tokenIssuer?: string | undefined;
  /** A JWK set, whose keys tokens are reviewed with instead of the embedded issuer's. */
  readonly tokenKeysFile?: string | undefined;
  /** The injector's webhook; undefined is none. */
  readonly webhook?: { readonly listen: ListenAddress; readonly injection: InjectionSettings } | undefined;
  /** The roots of other trust domains, which sidecars are told to trust beside this one's. */
  readonly federatedBundles: readonly FederatedBundle[];
  /** How long a sidecar may use an answer of discovery while this control plane is away; seconds. */
  readonly destinationTtlSeconds: number;
  /** What Istio's metrics call this cluster. */
  readonly clusterName: string;
  /** The namespace whose policies hold for the whole mesh. */
  readonly rootNamespace: string;
}

export const controlPlaneDefaults = {
  trustDomain: defaultTrustDomain,
  keys: { kind: 'memory' },
  certificateLifetimeMs: 3_600_000,
  minimumCertificateLifetimeMs: 10_000,
  servingNames: [],
  federatedBundles: [],
  crlFiles: [],
  staleCrl: 'accept',
  destinationTtlSeconds: 300,
  clusterName: 'Kubernetes',
  rootNamespace: defaultRootNamespace,
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
  /** Undefined without a webhook. */
  readonly webhookAddress: Address | undefined;
  /** What sidecars trust now, for the API and for each other. */
  readonly rootPem: string;
  /** For the metrics: the event loop ran something so much later than it was due. */
  eventLoopLagged(lagSeconds: number): void;
  /** A token of the embedded issuer, which is of no use here when the settings name other keys for tokens. */
  mintToken(request: TokenRequest): Promise<string>;
  /** Ends streams, lets requests finish, releases every port. Idempotent. */
  close(): Promise<void>;
}

/** Resolves when every port is bound. Throws `RemoraError` for what the operator can act on, and leaves nothing open then. */
export async function startControlPlane(
  collaborators: ControlPlaneCollaborators,
  settings: ControlPlaneSettings,
): Promise<ControlPlane> {
  const { clock, log } = collaborators;
  if (settings.adminSocket !== undefined) await refuseSecond(settings.adminSocket);
  await using opened = new AsyncDisposableStack();
  const { keys, trustDomain } = settings;
  if (keys.kind === 'state')
    opened.adopt(await lockStateDirectory(keys.directory, trustDomain, clock.now()), (one) => one.close());
  const { authority, place, tokens, reviewer, tokenKeys } = opened.adopt(
    await openAuthority({ clock, log }, settings),
    (one) => one.close(),
  );
  const store = collaborators.store ?? opened.adopt(await openRegistry(settings, { clock, log }), (one) => one.close());
  const bundles = opened.adopt(await openTrustBundles({ clock, log, authority }, settings.federatedBundles), (one) =>
    one.close(),
  );
  const revocations = opened.adopt(await openRevocations({ clock, log, bundles }, settings), (one) => one.close());
  opened.defer(watchRegistered({ log, store }));
  const publication = opened.adopt(createPublication({ bundles, store, revocations }, settings), (one) => one.close());
  const book = openBook(clock, authority, settings);
  const streams = createStreams({ clock, publication, book });
  const metrics = createControlPlaneMetrics(
    {
      certificates: ['issued', ...Object.keys(refusals)],
      admissions: settings.webhook === undefined ? [] : admissionResults,
    },
    {
      rootNotAfterMs: () => authority.rootNotAfterMs,
      roots: () => trustedRoots(authority.roots).length,
      openStreams: () => streams.open,
      policies: () => countPolicyObjects(store.current(), settings.rootNamespace),
      revocations: revocations.facts,
    },
  );
  const serving = keepServingCertificate({ authority, clock, log }, settings.servingNames);
  opened.defer(() => serving.close());
  opened.defer(replaceRevokedIssuer({ authority, revocations, log }));

  let isStopping = false;
  const canary = createCanaryDialler({ clock, store });
  const accounts = opened.adopt(watchAccounts({ clock, log, authority, book, store }), (one) => one.close());
  const parts = { clock, log, authority, publication, streams, reviewer, metrics, book, revocations, canary, accounts };
  const api = createApi({ ...parts, jwks: () => tokenKeys().jwks, isStopping: () => isStopping });
  const metricsServer = opened.adopt(await startMetricsServer(metrics, settings.metricsListen), (one) => one.close());
  const apiServer = opened.adopt(await startApiServer({ clock, serving, api }, settings.listen), (one) => {
    isStopping = true;
    const closed = one.close();
    streams.close();
    return closed;
  });
  const webhookServer = await startWebhook({ clock, log, serving, metrics }, settings);
  if (webhookServer !== undefined) opened.adopt(webhookServer, (one) => one.close());
  const admin = { clock, log, authority, book, place, revocations, store };
  opened.adopt(await openRotation(admin, settings), (one) => one.close());

  const all = opened.move();
  let closing: Promise<void> | undefined;
  const { address: apiAddress } = apiServer;
  const { address: metricsAddress } = metricsServer;
  const webhookAddress = webhookServer?.address;
  log.info({ ...facts(authority, settings), apiAddress, metricsAddress, webhookAddress }, 'Control plane ready');
  return {
    apiAddress,
    metricsAddress,
    webhookAddress,
    get rootPem() {
      return authority.rootPem;
    },
    mintToken: tokens.mint,
    eventLoopLagged: metrics.eventLoopLagged,
    close: () => {
      closing ??= all.disposeAsync();
      return closing;
    },
  };
}

/** An authority that was there before may have issued certificates that this process knows nothing of. */
function openBook(
  clock: Clock,
  authority: Authority,
  { keys, certificateLifetimeMs }: ControlPlaneSettings,
): SidecarBook {
  return createSidecarBook(clock, {
    trustedRoots: () => trustedRoots(authority.roots).map(fingerprintOf),
    unknownForMs: keys.kind === 'memory' ? 0 : certificateLifetimeMs,
  });
}

async function startWebhook(
  { clock, log, serving, metrics }: Pick<WebhookParts, 'clock' | 'log' | 'metrics'> & { serving: ServingCertificate },
  { webhook }: ControlPlaneSettings,
): Promise<ApiServer | undefined> {
  if (webhook === undefined) return undefined;
  const { listen, injection } = webhook;
  const api = createWebhook({ clock, log, metrics, admit: (review) => answerAdmission(review, injection) });
  return startApiServer({ clock, serving, api }, listen, webhookLimits);
}

async function openRegistry(
  { registry, isRegistryOptional: isOptional, rootNamespace, trustDomain, federatedBundles }: ControlPlaneSettings,
  { clock, log }: ControlPlaneCollaborators,
): Promise<Store> {
  const trustDomains = [trustDomain, ...federatedBundles.map((one) => one.trustDomain)];
  if (registry !== undefined)
    return openDirectoryStore(
      { clock, log },
      { path: registry, isOptional, rootNamespace, trustDomains, ...directoryStoreDefaults },
    );
  log.warn('No registry is given, every destination is unknown');
  return fixedStore(noObjects);
}

function facts({ root, roots, rootNotAfterMs, trustDomain }: Authority, { keys }: ControlPlaneSettings) {
  return {
    trustDomain,
    rootFingerprint: fingerprintOf(root),
    rootNotAfter: timestamp(rootNotAfterMs),
    rotation: phaseOf(roots),
    state: keys.kind === 'memory' ? keys.kind : keys.directory,
  };
}
