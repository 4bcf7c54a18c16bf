import * as v from 'valibot';
import type { RegistryObject } from '../store/objects.ts';
import { readAuthorizationPolicy } from './authorization-policy.ts';
import type { Finding } from './finding.ts';
import { problem, shown, warning } from './finding.ts';
import { readPeerAuthentication } from './peer-authentication.ts';
import { suggested } from './schema.ts';
import { policyObject, securityVersions } from './scope.ts';
import { readServiceEntry } from './service-entry.ts';

/** An object of Istio for the registry; undefined when it has no name to be known by. */
export interface ReadPolicy {
  readonly entry: RegistryObject | undefined;
  readonly findings: readonly Finding[];
}

const security = 'security.istio.io';
const networking = 'networking.istio.io';
const serviceEntryVersions: readonly string[] = ['v1', 'v1beta1', 'v1alpha3'];

/** Kinds of Istio that are none of ours. */
const unread: Readonly<Record<string, readonly string[]>> = {
  [security]: ['RequestAuthentication'],
  [networking]: [
    'DestinationRule',
    'EnvoyFilter',
    'Gateway',
    'ProxyConfig',
    'Sidecar',
    'VirtualService',
    'WorkloadEntry',
    'WorkloadGroup',
  ],
};
const read: Readonly<Record<string, readonly string[]>> = {
  [security]: ['PeerAuthentication', 'AuthorizationPolicy'],
  [networking]: ['ServiceEntry'],
};

/** Every kind of the groups of Istio that objects of policy are in, read or not. */
export const istioKinds: Readonly<Record<string, readonly string[]>> = Object.fromEntries(
  [security, networking].map((group) => [group, [...(read[group] ?? []), ...(unread[group] ?? [])]]),
);

/** What reads an object of Istio, by its API version and kind, of whichever version; undefined for every other object. */
export function policyReader(apiVersion: string, kind: string): ((object: unknown) => ReadPolicy) | undefined {
  const [group = '', version = ''] = apiVersion.split('/');
  if (group === networking && kind === 'ServiceEntry' && serviceEntryVersions.includes(version)) {
    return named((object) => {
      const { object: entry, findings } = readServiceEntry(object);
      return { entry: { kind: 'networking.istio.io/v1/ServiceEntry', object: entry }, findings };
    });
  }
  if (group !== security) return undefined;
  switch (kind) {
    case 'PeerAuthentication':
      return named((object) => {
        const { object: entry, findings } = readPeerAuthentication(object);
        return { entry: { kind: 'security.istio.io/v1/PeerAuthentication', object: entry }, findings };
      });
    case 'AuthorizationPolicy':
      return named((object) => {
        const { object: entry, findings } = readAuthorizationPolicy(object);
        return { entry: { kind: 'security.istio.io/v1/AuthorizationPolicy', object: entry }, findings };
      });
    default:
      return undefined;
  }
}

/** What people should know of an object that is not read; undefined when it has nothing to do with policy. */
export function unreadFinding(apiVersion: string, kind: string): Finding | undefined {
  const [group = ''] = apiVersion.split('/');
  const known = Object.hasOwn(read, group) ? (read[group] ?? []) : [];
  const others = Object.hasOwn(unread, group) ? (unread[group] ?? []) : [];
  if (others.includes(kind)) return warning(['kind'], `is ${kind}, which is not read and has no effect here`);
  if (known.includes(kind)) {
    const versions = serviceEntryVersions.map((version) => `${group}/${version}`);
    return problem(['apiVersion'], `is ${apiVersion}, expected one of ${versions.join(', ')}`);
  }
  if (known.length > 0)
    return problem(['kind'], `is ${kind}, which is no kind of ${group}, ${suggested(kind, [...known, ...others])}`);
  return (read[security] ?? []).includes(kind)
    ? warning(
        ['apiVersion'],
        `is ${apiVersion}, which is not read and has no effect here, expected ${securityVersions[0]}`,
      )
    : undefined;
}

function named(reader: (object: v.InferOutput<typeof policyObject>) => ReadPolicy): (object: unknown) => ReadPolicy {
  return (object) => {
    const parsed = v.safeParse(policyObject, object);
    if (parsed.success) return reader(parsed.output);
    const issue = parsed.issues[0];
    const path = (issue.path ?? []).map(({ key }) => key as string | number);
    const isMissing = issue.input === undefined;
    const why = isMissing
      ? 'is missing'
      : issue.type === 'raw_check'
        ? issue.message
        : `is ${shown(issue.input)}, expected ${issue.type === 'check' ? 'a DNS name' : issue.expected}`;
    return { entry: undefined, findings: [problem(path, why)] };
  };
}
