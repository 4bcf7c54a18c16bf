import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { createInterface } from 'node:readline';
import type { StreamMessage } from '../../src/control-api.ts';
import { paths } from '../../src/control-api.ts';
import type { ControlPlane } from '../../src/control-plane/control-plane.ts';
import type { TokenRequest } from '../../src/control-plane/token-issuer.ts';

export interface ApiReply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** Undefined when the body is not JSON. */
  readonly json: unknown;
}

export interface ApiRequest {
  readonly method?: string;
  readonly token?: string | undefined;
  readonly headers?: Record<string, string>;
  /** An object is sent as JSON. */
  readonly body?: unknown;
}

export const webPod: TokenRequest = { namespace: 'shop', serviceAccount: 'web', pod: 'web-0' };

type Server = Pick<ControlPlane, 'apiAddress' | 'rootPem'> & {
  /** That the certificate must be for; localhost by default. */
  readonly servername?: string;
};

function open(
  { apiAddress, rootPem, servername = 'localhost' }: Server,
  path: string,
  { method, token, headers, body }: ApiRequest,
) {
  const options: RequestOptions & { ca: string; servername: string } = {
    host: apiAddress.ip,
    port: apiAddress.port,
    path,
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    ca: rootPem,
    servername,
    headers: { ...(token !== undefined && { authorization: `Bearer ${token}` }), ...headers },
  };
  const request = httpsRequest({ ...options, agent: false });
  const bytes = typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
  request.end(bytes);
  return request;
}

/** One call over a connection of its own, whose certificate is checked against the root. */
export async function call(server: Server, path: string, options: ApiRequest = {}): Promise<ApiReply> {
  const request = open(server, path, options);
  // Behind an answer that came early nobody reads the rest of the body.
  request.on('error', () => undefined);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  return { status: response.statusCode ?? 0, headers: response.headers, text, json: parse(text) };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export interface OpenStream {
  readonly response: IncomingMessage;
  /** The next lines, `count` of them. */
  take(count: number): Promise<readonly StreamMessage[]>;
  /** Resolves with the lines not yet taken when the server has ended the stream cleanly; rejects when it was cut. */
  rest(): Promise<readonly StreamMessage[]>;
  destroy(): void;
}

/** A stream that was accepted. */
export async function openStream(
  server: Server,
  token: string,
  destinations: readonly string[] = [],
): Promise<OpenStream> {
  const request = open(server, paths.stream, { token, body: { destinations } });
  request.on('error', () => undefined);
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  if (response.statusCode !== 200) throw new Error(`the stream was refused with ${response.statusCode}`);
  const lines = createInterface({ input: response })[Symbol.asyncIterator]();
  let failure: Error | undefined;
  response.on('error', (error) => {
    failure = error;
  });
  const next = async () => {
    const { done, value } = await lines.next();
    return done ? undefined : (JSON.parse(value) as StreamMessage);
  };
  return {
    response,
    async take(count) {
      const taken: StreamMessage[] = [];
      while (taken.length < count) {
        const message = await next();
        if (message === undefined) throw new Error(`the stream ended after ${taken.length} of ${count} lines`);
        taken.push(message);
      }
      return taken;
    },
    async rest() {
      const taken: StreamMessage[] = [];
      for (let message = await next(); message !== undefined; message = await next()) taken.push(message);
      if (failure !== undefined || !response.complete) throw failure ?? new Error('the stream was cut');
      return taken;
    },
    destroy: () => void response.destroy(),
  };
}
