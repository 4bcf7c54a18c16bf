import type { Socket } from 'node:net';
import { Client, errors } from 'undici';
import type { Address } from '../../addresses.ts';
import { formatAddress } from '../../addresses.ts';
import type { HttpProbe } from '../../app-probes.ts';
import { codeOf, messageOf, UnavailableError } from '../../errors.ts';
import type { Target } from './dial.ts';
import { dial } from './dial.ts';
import type { Hop } from './hop.ts';
import { nextHop, pathToSend, startOf } from './hop.ts';

/** Requests of one probe, the first one included. The kubelet's number. */
export const maxRequests = 10;
/** Bytes of a body that are read, as many as the kubelet reads; what follows is not waited for. */
export const maxBodyBytes = 10 * 1024;
/** Bytes of the largest header section of an answer. */
export const maxHeaderBytes = 64 * 1024;

export interface HttpProbeParts {
  readonly httpGet: HttpProbe['httpGet'];
  readonly target: Target;
  /** Of the request that asked for the probe. */
  readonly userAgent: string;
  /** Ports of the sidecar itself: a redirect to one of them would go in circles. */
  readonly reservedPorts: ReadonlySet<number>;
}

/** An answer that the probe does not count as healthy. The hooks of Kubernetes count it all the same. */
export class UnhealthyAnswer extends UnavailableError {}

/**
 * Sends a GET as the kubelet does (pkg/probe/http of Kubernetes): 200 to 399 is success; a redirect to the same host is
 * followed, one to elsewhere is success. Throws `UnhealthyAnswer` for any other answer, `UnavailableError` when there is none.
 */
export async function probeHttp(parts: HttpProbeParts, signal: AbortSignal): Promise<string> {
  const { httpGet, target, reservedPorts } = parts;
  let hop = startOf(httpGet, target.address);
  for (let requests = 1; ; requests++) {
    const { status, location } = await ask(hop, parts, signal);
    const next = nextHop(hop, status, location, reservedPorts);
    switch (next.kind) {
      case 'answer':
        if (status >= 200 && status < 400) return `${target.name} answered ${status}`;
        throw new UnhealthyAnswer(`${target.name} answered ${status}, expected 200 to 399`);
      case 'bad':
        throw new UnhealthyAnswer(`${target.name} answered ${status} with a redirect ${next.why}`);
      case 'hop':
        if (requests === maxRequests) {
          throw new UnhealthyAnswer(`${target.name} still redirects after ${maxRequests} requests`);
        }
        hop = next.hop;
        break;
      default:
        next satisfies never;
    }
  }
}

interface Answer {
  readonly status: number;
  readonly location: string | undefined;
}

/** One request on a connection of its own. */
async function ask(hop: Hop, { httpGet, target, userAgent }: HttpProbeParts, signal: AbortSignal): Promise<Answer> {
  const address = { ip: target.address.ip, port: hop.port };
  const name = hop.port === target.address.port ? target.name : formatAddress(address);
  const socket = await dial({ address, name }, hop.isTls, signal);
  const client = clientOn(socket, address, hop.isTls);
  try {
    const { statusCode, headers, body } = await client.request({
      method: 'GET',
      path: pathToSend(hop.path),
      headers: headersToSend(httpGet.httpHeaders, hop.host ?? formatAddress(address), userAgent),
      reset: true,
      signal,
    });
    await readSome(body);
    return { status: statusCode, location: [headers.location ?? []].flat()[0] };
  } catch (error) {
    throw signal.aborted ? signal.reason : new UnavailableError(answerWords(name, error), { cause: error });
  } finally {
    socket.destroy();
    await client.destroy();
  }
}

/** A client of one connection that is there already; who uses it closes both, and has the deadline. */
export function clientOn(socket: Socket, address: Address, isTls: boolean): Client {
  return new Client(`${isTls ? 'https' : 'http'}://${formatAddress(address)}`, {
    // Later, because undici forgets a request whose connection is there before it has begun to wait for it.
    connect: (_options, callback) => queueMicrotask(() => callback(null, socket)),
    allowH2: false,
    pipelining: 0,
    maxHeaderSize: maxHeaderBytes,
    headersTimeout: 0,
    bodyTimeout: 0,
  });
}

async function readSome(body: AsyncIterable<Uint8Array> & { on(event: 'error', listener: () => void): unknown }) {
  // Leaving a body before its end is an error event to undici.
  body.on('error', () => undefined);
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length >= maxBodyBytes) return;
  }
}

/** They belong to the connection, which is ours; the kubelet does not send them either, or could not mean them. */
const ours: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'content-length',
  'expect',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

function headersToSend(given: HttpProbe['httpGet']['httpHeaders'], host: string, userAgent: string): string[] {
  const names = new Set(given.map(({ name }) => name.toLowerCase()));
  const sent = given
    .filter(({ name, value }) => !ours.has(name.toLowerCase()) && !(value === '' && isRemovable(name)))
    .flatMap(({ name, value }) => [name, latin1(value)]);
  const added = { 'user-agent': userAgent, accept: '*/*' };
  for (const [name, value] of Object.entries(added)) if (!names.has(name)) sent.push(name, value);
  return ['host', latin1(host), ...sent];
}

/** An empty value takes the header away that would be sent without it. */
const isRemovable = (name: string) => ['accept', 'user-agent'].includes(name.toLowerCase());

/** The bytes of UTF-8, as the kubelet sends them. */
const latin1 = (text: string) => Buffer.from(text).toString('latin1');

/** Why a request on such a connection has no answer, in one sentence. */
export function answerWords(name: string, error: unknown): string {
  if (error instanceof errors.HeadersOverflowError) {
    return `${name} answered with headers of more than ${maxHeaderBytes / 1024} KiB`;
  }
  if (error instanceof errors.HTTPParserError) return `${name} does not answer in HTTP`;
  if (error instanceof errors.SocketError || ['ECONNRESET', 'EPIPE'].includes(codeOf(error))) {
    return `${name} closed the connection before the end of its answer`;
  }
  return `${name} did not answer (${codeOf(error) || messageOf(error)})`;
}
