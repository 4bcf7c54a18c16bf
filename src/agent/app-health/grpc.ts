import type { ClientHttp2Stream, IncomingHttpHeaders } from 'node:http2';
import { connect } from 'node:http2';
import { formatAddress } from '../../addresses.ts';
import { codeOf, UnavailableError } from '../../errors.ts';
import type { Target } from './dial.ts';
import { dial } from './dial.ts';
import { healthRequest, healthStatus, maxMessageBytes } from './grpc-health.ts';

/**
 * Calls grpc.health.v1.Health/Check over plaintext HTTP/2 (the gRPC health checking protocol, as the kubelet's
 * pkg/probe/grpc does); SERVING is success. Throws `UnavailableError`.
 */
export async function probeGrpc(
  target: Target,
  service: string,
  userAgent: string,
  signal: AbortSignal,
): Promise<string> {
  const socket = await dial(target, false, signal);
  const authority = formatAddress(target.address);
  const session = connect(`http://${authority}`, {
    createConnection: () => socket,
    settings: { enablePush: false },
    maxSettings: 32,
    maxHeaderListPairs: 64,
  });
  // Streams and the deadline tell what happened to it.
  session.on('error', () => undefined);
  try {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      'user-agent': userAgent,
      te: 'trailers',
    });
    stream.end(healthRequest(service));
    return judge(target.name, await readReply(target.name, stream, signal));
  } finally {
    session.destroy();
    socket.destroy();
  }
}

interface Reply {
  readonly httpStatus: number;
  readonly grpcStatus: string | undefined;
  readonly body: Buffer;
}

async function readReply(name: string, stream: ClientHttp2Stream, signal: AbortSignal): Promise<Reply> {
  const { promise, resolve, reject } = Promise.withResolvers<Reply>();
  const fail = (why: string) => reject(signal.aborted ? signal.reason : new UnavailableError(`${name} ${why}`));
  const chunks: Buffer[] = [];
  let length = 0;
  let httpStatus = 0;
  let grpcStatus: string | undefined;
  const readStatus = (headers: IncomingHttpHeaders) => {
    grpcStatus = [headers['grpc-status'] ?? []].flat()[0] ?? grpcStatus;
  };
  stream.on('response', (headers) => {
    httpStatus = headers[':status'] ?? 0;
    // An answer of trailers alone has it here.
    readStatus(headers);
  });
  stream.on('trailers', readStatus);
  stream.on('data', (chunk: Buffer) => {
    length += chunk.length;
    if (length > maxMessageBytes) fail(`answered with more than ${maxMessageBytes / 1024} KiB`);
    else chunks.push(chunk);
  });
  stream.once('error', (error) => fail(`does not answer in gRPC (${codeOf(error)})`));
  stream.once('close', () => {
    if (httpStatus === 0 || stream.rstCode !== 0) fail('closed the connection before the end of its answer');
    else resolve({ httpStatus, grpcStatus, body: Buffer.concat(chunks) });
  });
  return promise;
}

/** Status codes of gRPC: a method that nobody implements, and those that need no number to be understood. */
const unimplemented = '12';

function judge(name: string, { httpStatus, grpcStatus, body }: Reply): string {
  if (httpStatus !== 200) throw new UnavailableError(`${name} answered ${httpStatus}, expected 200 and a gRPC status`);
  if (grpcStatus === unimplemented) throw new UnavailableError(`${name} does not implement grpc.health.v1.Health`);
  if (grpcStatus !== '0') {
    const shown = /^\d{1,3}$/.test(grpcStatus ?? '') ? `gRPC status ${grpcStatus}` : 'no gRPC status';
    throw new UnavailableError(`${name} answered with ${shown}, expected 0`);
  }
  const status = healthStatus(body);
  if (status === undefined) throw new UnavailableError(`${name} does not answer in grpc.health.v1`);
  if (status !== 'SERVING') throw new UnavailableError(`${name} is ${status}, expected SERVING`);
  return `${name} is SERVING`;
}
