import { neverGlobalRanges } from '../../addresses.ts';
import { reservedOutbound, sidecarPorts } from '../../ports.ts';
import type { AddressRange } from '../../prefix-table.ts';
import { holdsRange, parseRange } from '../../prefix-table.ts';
import type { Finding } from './finding.ts';
import { problem, shown, warning } from './finding.ts';
import { exportedLimits } from './registered.ts';
import type { EndpointSpec, ServiceEntrySpec } from './service-entry-schema.ts';
import { entryRange } from './service-entry-schema.ts';

export type DeclaredTransport = 'hbone' | 'direct' | 'plaintext';

const tunnelLabel = 'networking.istio.io/tunnel';
const tlsModeLabel = 'security.istio.io/tlsMode';

export const isSpiffeId = (name: string): boolean => name.startsWith('spiffe://');

/** Everything but UDP is carried over TCP. */
export function isTcp({ protocol }: { readonly protocol?: string | null | undefined }): boolean {
  return protocol?.toLowerCase() !== 'udp';
}

/** How an endpoint is reached that is no pod. As in Istio, whoever has an identity speaks mutual TLS unless its label says otherwise. */
export function declaredTransport(
  { labels, serviceAccount }: Pick<EndpointSpec, 'labels' | 'serviceAccount'>,
  { location, subjectAltNames }: Pick<ServiceEntrySpec, 'location' | 'subjectAltNames'>,
): DeclaredTransport | undefined {
  if (labels?.[tunnelLabel] === 'http') return 'hbone';
  const mode = labels?.[tlsModeLabel];
  if (mode !== undefined) return mode === 'istio' ? 'direct' : 'plaintext';
  if (location !== 'MESH_INTERNAL') return 'plaintext';
  return serviceAccount || subjectAltNames?.some(isSpiffeId) ? 'direct' : undefined;
}

/** What the fields mean together: what contradicts itself or cannot be followed is a problem, what is of no effect a warning. */
export function meaningFindings(spec: ServiceEntrySpec): readonly Finding[] {
  return [
    ...matchFindings(spec),
    ...portFindings(spec),
    ...targetFindings(spec),
    ...(spec.endpoints ?? []).flatMap((endpoint, index) => endpointFindings(endpoint, index, spec)),
    ...identityFindings(spec),
    ...visibilityFindings(spec),
  ];
}

function matchFindings({ addresses, resolution, ports }: ServiceEntrySpec): readonly Finding[] {
  const isByName = resolution?.includes('DNS') === true;
  const path = ['spec', 'addresses'];
  if (addresses === undefined || addresses === null || addresses.length === 0)
    return [warning(path, 'is missing: connections are matched by address, so that this entry is of no effect')];
  const mostRanges = Math.min(exportedLimits.ranges, Math.floor(exportedLimits.pairs / ports.length));
  return [
    ...(addresses.length > mostRanges
      ? [problem(path, `has ${addresses.length} items, expected ${mostRanges} at most for as many ports`)]
      : []),
    ...(isByName
      ? [
          problem(
            ['spec', 'resolution'],
            `is ${shown(resolution)}, and names are not looked up; expected NONE or STATIC`,
          ),
        ]
      : []),
    ...addresses.flatMap((one, index) =>
      isNowhere(entryRange(one))
        ? [
            warning(
              [...path, index],
              `is ${shown(one)}, which is loopback, link-local or multicast: it is never matched`,
            ),
          ]
        : [],
    ),
  ];
}

const nowhere = neverGlobalRanges.map(parseRange).filter((range) => range !== undefined);

/** Whether no address of it can be anybody's on the network. */
function isNowhere(range: AddressRange | undefined): boolean {
  return range !== undefined && nowhere.some((one) => holdsRange(one, range));
}

const reserved = reservedOutbound(sidecarPorts);

function portFindings({ ports }: ServiceEntrySpec): readonly Finding[] {
  const numbers = ports.map(({ number }) => number);
  const names = ports.map(({ name }) => name || undefined);
  return ports.flatMap(({ number, name, protocol, targetPort }, index) => {
    const path = ['spec', 'ports', index];
    return [
      ...(numbers.indexOf(number) < index
        ? [problem([...path, 'number'], `is ${number}, which another port is too`)]
        : []),
      ...(name && names.indexOf(name) < index
        ? [problem([...path, 'name'], `is ${shown(name)}, as another port is named`)]
        : []),
      ...(isTcp({ protocol }) ? [] : [warning([...path, 'protocol'], 'is UDP, which is not captured')]),
      ...(reserved.has(number)
        ? [warning([...path, 'number'], `is ${number}, which is a port of the sidecar: it is never matched`)]
        : []),
      ...(targetPort && reserved.has(targetPort)
        ? [problem([...path, 'targetPort'], `is ${targetPort}, which is a port of a sidecar`)]
        : []),
    ];
  });
}

function targetFindings({ resolution, endpoints, workloadSelector, ports }: ServiceEntrySpec): readonly Finding[] {
  const hasEndpoints = endpoints !== undefined && endpoints !== null && endpoints.length > 0;
  const isStatic = resolution === 'STATIC';
  const selected = workloadSelector?.labels;
  if (selected !== undefined) {
    const path = ['spec', 'workloadSelector'];
    if (hasEndpoints) return [problem(path, 'stands beside endpoints, expected one of them')];
    if (!isStatic) return [problem(path, 'needs resolution STATIC')];
    if (Object.keys(selected).length === 0)
      return [problem([...path, 'labels'], 'is empty, expected at least one label')];
    return [];
  }
  if (isStatic && !hasEndpoints)
    return [warning(['spec', 'endpoints'], 'is missing, and resolution is STATIC: nobody is reached')];
  if (hasEndpoints && !isStatic && !resolution?.includes('DNS'))
    return [problem(['spec', 'endpoints'], 'needs resolution STATIC, since NONE goes where the application dials')];
  const moved = isStatic ? -1 : ports.findIndex(({ number, targetPort }) => targetPort && targetPort !== number);
  if (moved !== -1)
    return [
      problem(
        ['spec', 'ports', moved, 'targetPort'],
        'needs resolution STATIC, since NONE goes where the application dials',
      ),
    ];
  return [];
}

function endpointFindings(endpoint: EndpointSpec, index: number, spec: ServiceEntrySpec): readonly Finding[] {
  const path = ['spec', 'endpoints', index];
  const { labels, ports, serviceAccount, weight } = endpoint;
  const mode = labels?.[tlsModeLabel];
  const tunnel = labels?.[tunnelLabel];
  const names = spec.ports.map(({ name }) => name);
  const transport = declaredTransport(endpoint, spec);
  const isMutual = transport === 'hbone' || transport === 'direct';
  const hasIdentity = Boolean(serviceAccount) || spec.subjectAltNames?.some(isSpiffeId) === true;
  return [
    ...(mode === undefined || mode === 'istio' || mode === 'disabled'
      ? []
      : [problem([...path, 'labels', tlsModeLabel], `is ${shown(mode)}, expected istio or disabled`)]),
    ...(tunnel === undefined || tunnel === 'http'
      ? []
      : [problem([...path, 'labels', tunnelLabel], `is ${shown(tunnel)}, expected http`)]),
    ...(mode === 'disabled' && (tunnel !== undefined || hasIdentity)
      ? [problem([...path, 'labels', tlsModeLabel], 'is "disabled", while the entry says who has to be proved there')]
      : []),
    ...(spec.location !== 'MESH_INTERNAL' && (isMutual || serviceAccount)
      ? [problem(path, 'speaks mutual TLS of the mesh, and location is not MESH_INTERNAL')]
      : []),
    ...(isMutual && !hasIdentity
      ? [warning(path, 'declares mutual TLS and nobody who is to be proved: it is used only where it is a pod')]
      : []),
    ...(transport === undefined
      ? [
          warning(
            path,
            `is in the mesh, and nothing says how it is reached: it is used only where it is a pod; ${tlsModeLabel} is istio or disabled`,
          ),
        ]
      : []),
    ...Object.entries(ports ?? {}).flatMap(([name, number]) => [
      ...(names.includes(name) ? [] : [problem([...path, 'ports', name], 'is no port of the entry')]),
      ...(reserved.has(number)
        ? [problem([...path, 'ports', name], `is ${number}, which is a port of a sidecar`)]
        : []),
    ]),
    ...(weight ? [warning([...path, 'weight'], 'is not looked at: connections go where fewest are open')] : []),
  ];
}

function identityFindings({
  location,
  subjectAltNames,
  resolution,
  workloadSelector,
}: ServiceEntrySpec): readonly Finding[] {
  const path = ['spec', 'subjectAltNames'];
  const names = subjectAltNames ?? [];
  const ids = names.filter(isSpiffeId);
  const isInternal = location === 'MESH_INTERNAL';
  const isOriginal = (resolution ?? 'NONE') === 'NONE' && !workloadSelector;
  if (!isInternal && ids.length > 0)
    return [problem(path, 'names an identity of the mesh, and location is not MESH_INTERNAL')];
  return [
    ...(ids.length < names.length
      ? [warning(path, 'has names that are no SPIFFE IDs: what the application negotiates itself is not looked at')]
      : []),
    ...(isInternal && isOriginal && ids.length !== 1
      ? [problem(path, 'has to be one SPIFFE ID, where the entry is in the mesh and its resolution is NONE')]
      : []),
  ];
}

function visibilityFindings({ exportTo }: ServiceEntrySpec): readonly Finding[] {
  const names = exportTo ?? [];
  const alone = names.find((one) => one === '*' || one === '~');
  if (alone === undefined || names.length === 1) return [];
  return [problem(['spec', 'exportTo'], `has ${alone} beside others, expected it alone`)];
}
