import type { GenericSchema, InferOutput } from 'valibot';
import type { Clock } from '../clock.ts';
import type {
  CanaryReply,
  CertificateReply,
  CertificateRequest,
  Destination,
  NamedWorkload,
  Report,
} from '../control-api.ts';
import { canaryReply, certificateReply, destinationsReply, paths, workloadsReply } from '../control-api.ts';
import { RenewalError } from '../errors.ts';
import { version } from '../version.ts';
import type { ControlConnectionSettings } from './control-connection.ts';
import { createControlConnection } from './control-connection.ts';
import { withDeadline } from './deadline.ts';
import type { Reply } from './reply.ts';
import { failureOf, parseReply, readText, refusalOf, refuseEncoding } from './reply.ts';
import { readToken } from './token-file.ts';

/**
 * The calls of the control plane. Each has one deadline over everything, and throws `RenewalError` or the reason of the
 * signal. The bearer token and the CA file are read anew for each call; the token is sent to nobody but a server whose
 * certificate was verified, and never along a redirect.
 */
export interface ControlClient {
  certificate(request: CertificateRequest, signal?: AbortSignal): Promise<CertificateReply>;
  destinations(addresses: readonly string[], signal?: AbortSignal): Promise<readonly Destination[]>;
  /** The pods at IP addresses, at most `maxWorkloads`; those that are none are left out. */
  workloads(addresses: readonly string[], signal?: AbortSignal): Promise<readonly NamedWorkload[]>;
  /** Resolves when the control plane has accepted; the bytes then come until it ends, fails, or the signal is aborted. */
  stream(destinations: readonly string[], signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  report(report: Report, signal?: AbortSignal): Promise<void>;
  /** Has the canary port of this pod dialled. */
  canary(signal?: AbortSignal): Promise<CanaryReply>;
  /** SHA-256 of each root that the control plane is trusted by now, lower-case hexadecimal. */
  roots(): Promise<readonly string[]>;
  close(): Promise<void>;
}

export interface ControlClientSettings extends ControlConnectionSettings {
  readonly tokenFile: string;
  /** Deadline of one whole call; of the beginning of a stream. */
  readonly timeoutMs: number;
}

export function createControlClient(clock: Clock, settings: ControlClientSettings): ControlClient {
  const { url, tokenFile, timeoutMs } = settings;
  const connection = createControlConnection(settings);

  const send = async (path: string, body: unknown, token: string, signal: AbortSignal): Promise<Reply> => {
    const dispatcher = await connection.dispatcher();
    return dispatcher.request({
      origin: url,
      path,
      method: 'POST',
      headers: {
        authorization: `Bearer ${token}`,
        'content-type': 'application/json',
        accept: 'application/json',
        'accept-encoding': 'identity',
        'user-agent': `remora/${version}`,
      },
      body: JSON.stringify(body),
      signal,
    });
  };

  /** A reply with status 200, or 202 where nothing is answered; a token that was replaced while it was being refused is tried once more. */
  const accepted = async (path: string, body: unknown, signal: AbortSignal): Promise<Reply> => {
    const tried = [await readToken(tokenFile)];
    for (;;) {
      const token = tried.at(-1) ?? '';
      const reply = await send(path, body, token, signal);
      if (reply.statusCode === 200 || reply.statusCode === 202) return reply;
      const refusal = await refusalOf(reply, clock, tried);
      const freshToken = await readToken(tokenFile);
      if (refusal.reason !== 'http_401' || tried.length > 1 || freshToken === token) throw refusal;
      tried.push(freshToken);
    }
  };

  /** The signal given to `work` is aborted when the call has failed, so that nothing of it is left behind. */
  const call = async <T>(path: string, signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>) => {
    const late = () => new RenewalError('timeout', `${url}${path} did not answer within ${timeoutMs} ms`);
    try {
      return await withDeadline(clock, timeoutMs, late, signal, work);
    } catch (error) {
      throw signal?.aborted ? signal.reason : failureOf(error, url);
    }
  };

  const ask = <S extends GenericSchema>(path: string, body: unknown, schema: S, signal?: AbortSignal) =>
    call(path, signal, async (inner): Promise<InferOutput<S>> => {
      const text = await readText(await accepted(path, body, inner));
      return parseReply(schema, text);
    });

  return {
    certificate: (request, signal) => ask(paths.certificates, request, certificateReply, signal),
    async destinations(addresses, signal) {
      const { destinations } = await ask(paths.destinations, { addresses }, destinationsReply, signal);
      return destinations;
    },
    async workloads(addresses, signal) {
      const { workloads } = await ask(paths.workloads, { addresses }, workloadsReply, signal);
      return workloads;
    },
    async stream(destinations, signal) {
      const reply = await call(paths.stream, signal, (inner) => accepted(paths.stream, { destinations }, inner));
      return bodyOf(reply, url, signal);
    },
    report: (report, signal) =>
      call(paths.reports, signal, async (inner) => void (await readText(await accepted(paths.reports, report, inner)))),
    canary: (signal) => ask(paths.canary, {}, canaryReply, signal),
    roots: connection.roots,
    close: () => connection.close(),
  };
}

/** The bytes of a reply that has no end of its own. Throws `RenewalError`, or the reason of the signal. */
async function* bodyOf(reply: Reply, url: string, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const body = reply.body.on('error', () => undefined);
  const drop = () => void body.destroy();
  signal.addEventListener('abort', drop, { once: true });
  try {
    signal.throwIfAborted();
    refuseEncoding(reply);
    yield* body as AsyncIterable<Uint8Array>;
    signal.throwIfAborted();
  } catch (error) {
    throw signal.aborted ? signal.reason : failureOf(error, url);
  } finally {
    signal.removeEventListener('abort', drop);
    drop();
  }
}
