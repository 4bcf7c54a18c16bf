import type { AdminParts } from '../agent/admin.ts';
import { startAdminServer } from '../agent/admin.ts';
import type { AppHealth } from '../agent/app-health/app-health.ts';
import { createAppMetrics } from '../agent/app-metrics/app-metrics.ts';
import { configPageOf } from '../agent/config-page.ts';
import type { TimedReadiness } from '../agent/gate-times.ts';
import { startHealthServer } from '../agent/health.ts';
import type { PolicyInForce } from '../agent/policy-watch.ts';
import type { Sources } from '../agent/sources.ts';
import { strictPreviewPageOf } from '../agent/strict-preview-page.ts';
import type { AgentSettings, Origins } from '../config.ts';
import type { Places } from '../connection-places.ts';
import { startScrapeServer } from '../metrics/scrape-server.ts';
import { sharedPage } from '../metrics/shared-page.ts';
import type { DataPlane, DataPlaneParts, DataPlaneSettings } from '../proxy/data-plane.ts';
import { explainSidecar } from '../proxy/explain/explain-sidecar.ts';
import type { PodAddresses } from '../proxy/inbound/guard.ts';
import { setAsideBy, shownTraffic } from '../proxy/shown.ts';
import type { ServerGroup } from '../server-group.ts';
import { startTogether } from '../server-group.ts';
import type { Stopping } from '../stopping.ts';
import type { Books } from './books.ts';

/** What the pages show, and what can be asked on them. */
export interface PageParts {
  readonly startedAtMs: number;
  readonly books: Books;
  readonly sources: Sources;
  readonly held: AdminParts['identity'];
  policyInForce(): PolicyInForce | undefined;
  readonly readiness: TimedReadiness;
  readonly podAddresses: PodAddresses;
  readonly proxy: DataPlaneParts & { readonly registry: Sources['registry'] };
  readonly plane: DataPlane;
  readonly stopping: Stopping;
  readonly appHealth: AppHealth;
  readonly places: Places;
  /** Whether an address is the node's. */
  readonly nodes: { has(ip: string): boolean };
  /** As SIGTERM does. */
  quit(): void;
}

export interface PageSettings {
  readonly settings: AgentSettings;
  readonly origins: Origins;
  readonly plane: DataPlaneSettings;
  readonly hasIpv6: boolean;
}

/** Metrics, health and admin: all of them, or none. Throws as binding does. */
export function startPages(
  parts: PageParts,
  { settings, plane, hasIpv6, origins }: PageSettings,
): Promise<ServerGroup> {
  const { ports, metricsBind, healthBind, adminListen, appMetrics: place } = settings;
  const { appHealth, books, places, proxy, readiness } = parts;
  const { clock, log } = proxy;
  const { metrics } = books;
  const appMetrics = place && createAppMetrics({ clock, log, place, counter: metrics });
  const page = { ...sharedPage(clock, metrics), ...appMetrics };
  const usable = (ips: readonly string[]) => ips.filter((ip) => hasIpv6 || !ip.includes(':'));
  return startTogether([
    ...usable(metricsBind).map((ip) => () => startScrapeServer({ ip, port: ports.metrics }, page, appHealth, places)),
    ...usable(healthBind).map((ip) => () => startHealthServer({ ip, port: ports.health }, { readiness, log, places })),
    () => startAdminServer(adminListen, { ...adminParts(parts, settings, plane, origins), origins }),
  ]);
}

function adminParts(parts: PageParts, settings: AgentSettings, planeSettings: DataPlaneSettings, origins: Origins) {
  const {
    startedAtMs,
    books,
    sources,
    policyInForce,
    readiness,
    podAddresses,
    proxy,
    plane,
    stopping,
    places,
    nodes,
    quit,
  } = parts;
  const { accounts, callers, endpoints, failures, interception, logging, peers } = books;
  const { isControlPlaneUp, controlPlane, policy, registry, revocations } = sources;
  const { clock, drain, log } = proxy;
  const { floor } = planeSettings.inbound;
  const { podName = null, workloadNamespace: namespace = null, workloadName: workload = null } = settings;
  const pod = { name: podName, namespace, workload };
  const explained = {
    ...{ ...proxy, failures, podAddresses, isControlPlaneUp },
    setting: (name: string) => configPageOf({ settings, origins }).settings[name],
    captureProofs: () => interception.facts().proofs,
    isDraining: () => stopping.progress().stage === 'draining',
  };
  return {
    ...{ clock, log, places, startedAtMs, readiness, peers, revocations, failures, stopping, drain, logging },
    ...{ settings, isControlPlaneUp, controlPlane, quit },
    identity: parts.held,
    policy: { current: policy.current, inForce: policyInForce },
    interception: interception.facts,
    destinations: { known: registry.known, isSetAside: setAsideBy(endpoints, planeSettings) },
    ...shownTraffic(clock, accounts, plane),
    newConnections: books.lastMinute.counts,
    placesNow: () => ({ inUse: proxy.connections.inUse, most: proxy.connections.capacity }),
    strictPreview: () =>
      strictPreviewPageOf({ nowMs: clock.now(), callers, nodes, policy: policy.current(), floor, pod }),
    explain: explainSidecar(plane, explained, settings, planeSettings),
  } satisfies Omit<AdminParts, 'origins'>;
}
