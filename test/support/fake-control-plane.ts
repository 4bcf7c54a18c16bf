import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { CertificateSpec, MadeCertificate } from './certificates.ts';
import { makeAuthority, makeCertificate, purposes } from './certificates.ts';

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly authorization: string | undefined;
  readonly body: string;
  readonly response: ServerResponse;
}

export type Answer = (request: SeenRequest) => void | Promise<void>;

/** An HTTPS server in the place of the control plane, which answers as the test says. */
export interface FakeControlPlane {
  readonly url: string;
  /** The root that its certificate chains to. */
  readonly caPem: string;
  /** Whole requests, in the order of their arrival. */
  readonly requests: readonly SeenRequest[];
  /** TCP connections so far. */
  readonly connections: readonly Socket[];
  answer: Answer;
  /** Resolves with the first request at `index` or later that was received whole. */
  request(index: number): Promise<SeenRequest>;
  close(): Promise<void>;
}

export interface FakeControlPlaneOptions {
  readonly root?: MadeCertificate;
  /** What differs in the certificate of the server. */
  readonly certificate?: CertificateSpec;
  readonly answer?: Answer;
  /** Zero takes a free one. */
  readonly port?: number;
}

export function json(value: unknown, status = 200, headers: Record<string, string> = {}): Answer {
  return ({ response }) =>
    void response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(value));
}

/** A server certificate for localhost. */
export function makeServingCertificate(root: MadeCertificate, spec: CertificateSpec = {}): MadeCertificate {
  return makeCertificate({
    issuer: root,
    sans: [{ dns: 'localhost' }, { ip: [127, 0, 0, 1] }],
    extendedKeyUsage: [purposes.serverAuth],
    ...spec,
  });
}

export async function startFakeControlPlane(options: FakeControlPlaneOptions = {}): Promise<FakeControlPlane> {
  const root = options.root ?? makeAuthority({ subject: 'control plane root' });
  const certificate = makeServingCertificate(root, options.certificate);
  const requests: SeenRequest[] = [];
  const connections: Socket[] = [];
  const waiting: (() => void)[] = [];

  const server = createServer({
    cert: certificate.pem,
    key: certificate.key.export({ type: 'pkcs8', format: 'pem' }),
    minVersion: 'TLSv1.3',
  });
  const plane = {
    url: '',
    caPem: root.pem,
    requests,
    connections,
    answer: options.answer ?? (({ response }) => void response.writeHead(500).end()),
    async request(index: number) {
      while (requests.length <= index) await new Promise<void>((resolve) => waiting.push(resolve));
      return requests[index]!;
    },
    async close() {
      for (const socket of connections) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  server.on('connection', (socket: Socket) => connections.push(socket.on('error', () => undefined)));
  server.on('tlsClientError', () => undefined);
  server.on('request', (message: IncomingMessage, response: ServerResponse) => {
    response.on('error', () => undefined);
    void receive(message, response).then((request) => {
      requests.push(request);
      for (const wake of waiting.splice(0)) wake();
      return plane.answer(request);
    });
  });
  await once(server.listen(options.port ?? 0, '127.0.0.1'), 'listening');
  plane.url = `https://localhost:${(server.address() as AddressInfo).port}`;
  return plane;
}

async function receive(message: IncomingMessage, response: ServerResponse): Promise<SeenRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return {
    method: message.method ?? '',
    path: message.url ?? '',
    authorization: message.headers.authorization,
    body: Buffer.concat(chunks).toString(),
    response,
  };
}
