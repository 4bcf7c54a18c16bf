import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import * as tls from 'node:tls';
import { meshAuthority } from './loopback-mesh.ts';
import type { RawPeer, RawPeerOptions } from './raw-http2.ts';
import { createRawPeer } from './raw-http2.ts';

/** One tunnel to a peer that is made of frames, inside real mutual TLS. */
export interface RawTunnel {
  readonly peer: RawPeer;
  readonly wire: tls.TLSSocket;
}

const credentials = (serviceAccount: string): tls.SecureContextOptions => {
  const { key, chainPem } = meshAuthority.issue({ id: `ns/shop/sa/${serviceAccount}` });
  return { key: key.export({ type: 'pkcs8', format: 'pem' }), cert: chainPem, ca: meshAuthority.bundlePem };
};
const ofServer = credentials('api');
const ofClient = credentials('web');

/** In the place of the sidecar `api`; `onTunnel` is told of each tunnel, in order. */
export async function startRawServer(onTunnel: (tunnel: RawTunnel, number: number) => void, options?: RawPeerOptions) {
  const tunnels: RawTunnel[] = [];
  const server = tls.createServer({ ...ofServer, requestCert: true, ALPNProtocols: ['h2'] }, (wire) => {
    const tunnel = { peer: createRawPeer(wire, 'server', options), wire };
    tunnels.push(tunnel);
    onTunnel(tunnel, tunnels.length - 1);
  });
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as AddressInfo).port,
    tunnels: tunnels as readonly RawTunnel[],
    close() {
      server.close();
      for (const { wire } of tunnels) wire.destroy();
    },
  };
}

/** In the place of the sidecar `web`, towards the port for tunnels of a real one. */
export async function dialRawTunnel(port: number, options?: RawPeerOptions): Promise<RawTunnel> {
  const wire = tls.connect({
    host: '127.0.0.1',
    port,
    ...ofClient,
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
  });
  wire.on('error', () => undefined);
  await once(wire, 'secureConnect');
  return { peer: createRawPeer(wire, 'client', options), wire };
}
