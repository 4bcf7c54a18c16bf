import type { NamedWorkload } from '../../src/control-api.ts';
import type { LiveConnection } from '../../src/proxy/account.ts';

/* Two pods of a mesh as the registry names them, and connections between them. */

export const ips = { web: '10.0.0.1', api: '10.0.0.2' };
export const ids = { web: 'spiffe://cluster.local/ns/shop/sa/web', api: 'spiffe://cluster.local/ns/stock/sa/api' };

export const namedWorkload = (name: 'web' | 'api', more: Partial<NamedWorkload> = {}): NamedWorkload => ({
  address: ips[name],
  name: `${name}-deployment`,
  namespace: name === 'web' ? 'shop' : 'stock',
  serviceAccount: name,
  app: `${name}-app`,
  version: 'v1',
  canonicalName: name,
  canonicalRevision: 'r1',
  cluster: 'east',
  services: [{ port: 8080, service: `${name}.${name === 'web' ? 'shop' : 'stock'}` }],
  ...more,
});

type Facts = LiveConnection['facts'];
const connection = (direction: LiveConnection['direction'], facts: Partial<Facts>, peerIp: string): LiveConnection => ({
  id: 'id',
  direction,
  peerAddress: { ip: peerIp, port: 40000 },
  openedAtMs: 0,
  facts: {
    transport: 'hbone',
    security: 'mutual_tls',
    originalDestination: { ip: ips.api, port: 8080 },
    ...facts,
  },
  bytes: { bytesSent: 3, bytesReceived: 7 },
  proof: undefined,
});

/** From `web` to the Service of `api`, as `web` has it: the application dialled the Service. */
export const outbound = (facts: Partial<Facts> = {}): LiveConnection =>
  connection(
    'outbound',
    {
      originalDestination: { ip: '10.96.0.1', port: 80 },
      endpoint: { ip: ips.api, port: 8080 },
      service: 'api.stock',
      peerId: ids.api,
      localId: ids.web,
      ...facts,
    },
    '127.0.0.1',
  );

/** The same connection, as `api` has it. */
export const inbound = (facts: Partial<Facts> = {}, peerIp = ips.web): LiveConnection =>
  connection('inbound', { peerId: ids.web, localId: ids.api, ...facts }, peerIp);

export const plaintext = {
  transport: 'plaintext',
  security: 'plaintext',
  peerId: undefined,
  localId: undefined,
} as const;
