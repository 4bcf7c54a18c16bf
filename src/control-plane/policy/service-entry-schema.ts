import * as v from 'valibot';
import { canonicalIp, isGlobal } from '../../addresses.ts';
import { parseSpiffeId } from '../../identity/spiffe-id.ts';
import type { AddressRange } from '../../prefix-table.ts';
import { isDnsLabel, isDnsSubdomain } from '../names.ts';
import { shown } from './finding.ts';
import { choice, closed, istioObject, list, text, value } from './schema.ts';
import { blockRange } from './values.ts';

const wrong = (predicate: string) => (issue: { readonly input: unknown }) => `is ${shown(issue.input)}, ${predicate}`;

const port = v.pipe(
  v.number(wrong('expected a port')),
  v.integer(wrong('expected a port')),
  v.minValue(1, wrong('expected a port')),
  v.maxValue(65535, wrong('expected a port')),
);

/** Those of Istio, of which UDP alone is not carried over TCP. */
const protocols = [
  ...['tcp', 'udp', 'tls', 'http', 'http2', 'https', 'http_proxy'],
  ...['grpc', 'grpc-web', 'mongo', 'mysql', 'redis', 'thrift'],
];

const protocol = v.pipe(
  text,
  v.check(
    (name) => protocols.includes(name.toLowerCase()),
    wrong(`expected one of ${protocols.join(', ').toUpperCase()}`),
  ),
);

const servicePort = closed({
  number: port,
  name: v.nullish(text),
  protocol: v.nullish(protocol),
  /** 0 is what Istio writes for none. */
  targetPort: v.nullish(v.union([v.literal(0), port], wrong('expected a port'))),
});

/** An address or a CIDR of an entry; IPv4 is written as IPv4, and an address of it that is mapped into IPv6 is one of IPv4. */
export function entryRange(written: string): AddressRange | undefined {
  return blockRange(canonicalIp(written) ?? written);
}

/** Whether a text is an address or a CIDR of an entry. */
export const isEntryRange = (written: string): boolean => entryRange(written) !== undefined;

const range = v.pipe(text, v.check(isEntryRange, wrong('expected an IP address or a CIDR')));

const visibility = v.pipe(
  text,
  v.check(
    (one) => ['.', '*', '~'].includes(one) || isDnsLabel(one),
    wrong('expected ., *, ~ or the name of a namespace'),
  ),
);

const subjectAltName = v.pipe(
  value,
  v.check((name) => !name.startsWith('spiffe://') || parseSpiffeId(name).kind === 'id', wrong('which is no SPIFFE ID')),
);

const endpointAddress = v.pipe(
  text,
  v.check(
    (ip) => isGlobal(canonicalIp(ip) ?? ''),
    wrong('expected an IP address that is neither loopback, link-local nor multicast'),
  ),
);

const endpoint = closed({
  address: endpointAddress,
  ports: v.nullish(v.record(text, port)),
  labels: v.nullish(v.record(text, text)),
  locality: v.nullish(text),
  weight: v.nullish(v.pipe(v.number(wrong('expected a number')), v.integer(wrong('expected a whole number')))),
  serviceAccount: v.nullish(
    v.pipe(
      text,
      v.check((name) => name === '' || isDnsSubdomain(name), wrong('expected the name of a service account')),
    ),
  ),
});
export type EndpointSpec = v.InferOutput<typeof endpoint>;

const several = <S extends v.GenericSchema>(item: S) =>
  v.pipe(v.array(item, wrong('expected a list')), v.minLength(1, 'is an empty list, expected at least one item'));

const spec = closed({
  hosts: several(value),
  addresses: list(range),
  ports: several(servicePort),
  location: v.nullish(choice(['MESH_EXTERNAL', 'MESH_INTERNAL'])),
  resolution: v.nullish(choice(['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'])),
  endpoints: list(endpoint),
  workloadSelector: v.nullish(closed({ labels: v.record(value, text) })),
  exportTo: list(visibility),
  subjectAltNames: list(subjectAltName),
});
export type ServiceEntrySpec = v.InferOutput<typeof spec>;

/** Istio's ServiceEntry, as far as the addresses and ports of TCP connections go. */
export const serviceEntrySchema = istioObject(
  spec,
  ['v1', 'v1beta1', 'v1alpha3'].map((version) => `networking.istio.io/${version}`),
  'ServiceEntry',
);

/** Each item that can be read, of whatever the others are. */
const readableList = <S extends v.GenericSchema>(item: S) =>
  v.fallback(
    v.pipe(
      v.array(v.fallback(v.nullable(item), null)),
      v.transform((items) => items.filter((one) => one !== null)),
    ),
    [],
  );

/** What can be read of a `spec` that is not as it should be: what the entry is about. */
export const readableSpec = v.fallback(
  v.object({
    addresses: readableList(range),
    /** Undefined when one of the numbers cannot be read. */
    ports: v.fallback(v.optional(v.array(v.object({ number: port }))), undefined),
    exportTo: v.pipe(v.optional(v.unknown(), null), v.transform(readableVisibility)),
  }),
  { addresses: [], ports: undefined, exportTo: ['*'] },
);

/** By default everybody, as in Istio; what cannot be read counts as the namespace of the entry. */
function readableVisibility(given: unknown): readonly string[] {
  if (given === undefined || given === null) return ['*'];
  if (!Array.isArray(given)) return ['.'];
  return given.length === 0 ? ['*'] : given.map((one) => (v.is(visibility, one) ? one : '.'));
}
