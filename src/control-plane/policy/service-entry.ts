import * as v from 'valibot';
import { canonicalIp } from '../../addresses.ts';
import type { AddressRange } from '../../prefix-table.ts';
import type { Read } from './finding.ts';
import { problemOf } from './finding.ts';
import { problemsOf } from './schema.ts';
import type { PolicyObject } from './scope.ts';
import type { DeclaredTransport } from './service-entry-rules.ts';
import { declaredTransport, isSpiffeId, isTcp, meaningFindings } from './service-entry-rules.ts';
import type { EndpointSpec, ServiceEntrySpec } from './service-entry-schema.ts';
import { entryRange, readableSpec, serviceEntrySchema } from './service-entry-schema.ts';

export interface EntryPort {
  readonly number: number;
  readonly name: string;
  /** Where endpoints take it, unless they say otherwise by its name. */
  readonly targetPort: number;
}

export interface EntryEndpoint {
  readonly ip: string;
  /** By the name of a port of the entry. */
  readonly ports: Readonly<Record<string, number>>;
  /** How it is reached when it is no pod of the registry; undefined where nothing says so. */
  readonly transport: DeclaredTransport | undefined;
  readonly serviceAccount: string | undefined;
  readonly zone: string | undefined;
}

/** Istio's ServiceEntry, as it is understood. */
export interface ServiceEntry {
  readonly name: string;
  readonly namespace: string;
  /** RFC 3339; absent for an object that no API server has seen. */
  readonly creationTimestamp: string | undefined;
  /** Connections are matched by these; without one the entry is of no effect. */
  readonly ranges: readonly AddressRange[];
  /** Of TCP; `every` one where they cannot be read. */
  readonly ports: readonly EntryPort[] | 'every';
  /** Namespaces that see it; `all` of them. */
  readonly exportTo: 'all' | readonly string[];
  readonly isExternal: boolean;
  /** `original`: whoever has the address that was dialled. `pods`: those that the selector selects. */
  readonly target:
    | { readonly kind: 'original' }
    | { readonly kind: 'endpoints'; readonly endpoints: readonly EntryEndpoint[] }
    | { readonly kind: 'pods'; readonly selector: Readonly<Record<string, string>> };
  /** SPIFFE IDs, of which whoever is behind it must prove one; empty is whichever identity is known otherwise. */
  readonly spiffeIds: readonly string[];
  /** One sentence why it cannot be followed as it is written: then it has no endpoint. Absent when it can. */
  readonly problem: string | undefined;
}

/** Whether a namespace sees the entry. */
export function isVisibleIn({ exportTo }: ServiceEntry, namespace: string): boolean {
  return exportTo === 'all' || exportTo.includes(namespace);
}

/** Reads a ServiceEntry; of one that cannot be followed as it is written remains which addresses it is about. Never throws. */
export function readServiceEntry(object: PolicyObject): Read<ServiceEntry> {
  const parsed = v.safeParse(serviceEntrySchema, object);
  const spec = parsed.success ? (parsed.output.spec as ServiceEntrySpec) : undefined;
  // Of the right shape it can be looked at to its end, whatever is wrong in it.
  const shaped = parsed.typed ? (parsed.output.spec as ServiceEntrySpec) : undefined;
  const findings = [
    ...problemsOf(serviceEntrySchema, object),
    ...(shaped === undefined ? [] : meaningFindings(shaped)),
  ];
  const { name, namespace, creationTimestamp } = object.metadata;
  const { addresses, ports, exportTo } = v.parse(readableSpec, object.spec);
  const problem = problemOf(findings);
  return {
    findings,
    object: {
      ...{ name, namespace, creationTimestamp, problem },
      ranges: addresses.map(entryRange).filter((range) => range !== undefined),
      ports: spec === undefined ? readablePorts(ports) : spec.ports.filter(isTcp).map(portOf),
      exportTo: visibilityOf(exportTo, namespace),
      isExternal: spec?.location !== 'MESH_INTERNAL',
      target: spec === undefined ? { kind: 'endpoints', endpoints: [] } : targetOf(spec),
      spiffeIds: (spec?.subjectAltNames ?? []).filter(isSpiffeId),
    },
  };
}

interface WrittenPort {
  readonly number: number;
  readonly name?: string | null | undefined;
  readonly targetPort?: number | null | undefined;
}

function portOf({ number, name, targetPort }: WrittenPort): EntryPort {
  return { number, name: name ?? '', targetPort: targetPort || number };
}

function readablePorts(ports: readonly WrittenPort[] | undefined): ServiceEntry['ports'] {
  return ports === undefined ? 'every' : ports.map(portOf);
}

function visibilityOf(exportTo: readonly string[], namespace: string): ServiceEntry['exportTo'] {
  if (exportTo.includes('*')) return 'all';
  return exportTo.filter((one) => one !== '~').map((one) => (one === '.' ? namespace : one));
}

function targetOf(spec: ServiceEntrySpec): ServiceEntry['target'] {
  const { resolution, endpoints, workloadSelector } = spec;
  if (workloadSelector !== undefined && workloadSelector !== null)
    return { kind: 'pods', selector: workloadSelector.labels };
  if ((resolution ?? 'NONE') === 'NONE') return { kind: 'original' };
  return { kind: 'endpoints', endpoints: (endpoints ?? []).map((one) => endpointOf(one, spec)) };
}

function endpointOf(endpoint: EndpointSpec, spec: ServiceEntrySpec): EntryEndpoint {
  return {
    ip: canonicalIp(endpoint.address) ?? endpoint.address,
    ports: endpoint.ports ?? {},
    transport: declaredTransport(endpoint, spec),
    serviceAccount: endpoint.serviceAccount || undefined,
    zone: endpoint.locality?.split('/')[1] || undefined,
  };
}
