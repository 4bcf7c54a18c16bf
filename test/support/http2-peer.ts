import { once } from 'node:events';
import type { ClientHttp2Session } from 'node:http2';
import { connect } from 'node:http2';
import type { Socket } from 'node:net';
import * as tls from 'node:tls';
import type { TestAuthority } from './identities.ts';

/** A peer with an identity of the authority, over Node.js's own HTTP/2 client: a session whose settings have been exchanged. */
export async function http2Peer(
  socket: Socket,
  authority: TestAuthority,
  serviceAccount: string,
): Promise<ClientHttp2Session> {
  const { key, chainPem } = authority.issue({ id: `ns/shop/sa/${serviceAccount}` });
  const secured = tls.connect({
    socket,
    key: key.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: chainPem,
    ca: authority.bundlePem,
    ALPNProtocols: ['h2'],
    checkServerIdentity: () => undefined,
  });
  await once(secured, 'secureConnect');
  const session = connect('https://peer.invalid', { createConnection: () => secured });
  session.on('error', () => undefined);
  await once(session, 'remoteSettings');
  return session;
}
