import type { IncomingMessage, ServerResponse } from 'node:http';
import { canonicalIp } from '../../addresses.ts';
import type { AppProbe, AppProbes } from '../../app-probes.ts';
import { appProbePrefix, ownerOf } from '../../app-probes.ts';
import { messageOf, UnavailableError } from '../../errors.ts';
import type { Drain } from '../../lifecycle.ts';
import type { Log } from '../../log.ts';
import { version } from '../../version.ts';
import { UnhealthyAnswer } from './http.ts';
import { createPlaces } from './places.ts';
import type { ProbeParts } from './run.ts';
import { runProbe } from './run.ts';

export interface AppHealthParts extends ProbeParts {
  readonly log: Log;
  readonly probes: AppProbes;
  /** Keeps the sidecar up while a hook runs: without it an application would be ended in the middle of its preStop. */
  readonly drain: Pick<Drain, 'track'>;
}

export interface AppHealth {
  /** Answers a request below `/app-health/` and returns true; leaves any other alone and returns false. */
  answer(request: IncomingMessage, response: ServerResponse): boolean;
  /** Ends the probes that run; their callers get nothing. */
  close(): void;
}

/** A hook that fails without an answer is logged at most this often for each path; anybody can ask for it. Milliseconds. */
const hookLogIntervalMs = 10_000;

/**
 * Runs the probes of the applications for whoever asks, which is anybody who reaches the port: only those that were
 * declared, only against the address of this pod that was asked, one run for each request. 200 or 503 with one sentence.
 */
export function createAppHealth(parts: AppHealthParts): AppHealth {
  const probes = new Map(Object.entries(parts.probes));
  const places = createPlaces();
  const running = new Set<AbortController>();
  const logHook = createHookLog(parts);

  const run = async (path: string, probe: AppProbe, request: IncomingMessage, response: ServerResponse) => {
    const ip = canonicalIp(request.socket.localAddress ?? '');
    const { container, isHook } = ownerOf(path) ?? { container: '', isHook: false };
    if (ip === undefined) return reply(response, 503, 'The request did not arrive on an address that can be probed');
    const leave = places.take(path, canonicalIp(request.socket.remoteAddress ?? '') ?? '');
    if (typeof leave === 'string') return reply(response, 503, leave);
    const gone = new AbortController();
    running.add(gone);
    const force = () => gone.abort(new Error('The probe is not waited for any longer'));
    // Also after the answer, when it no longer does anything.
    response.once('close', force);
    const untrack = isHook ? parts.drain.track(() => response.destroy()) : () => undefined;
    try {
      const errand = { container, ip, userAgent: userAgentOf(request) };
      reply(response, 200, await runProbe(parts, probe, errand, gone.signal));
    } catch (error) {
      if (gone.signal.aborted) return void response.destroy();
      if (!(error instanceof UnavailableError)) throw error;
      if (isHook && !(error instanceof UnhealthyAnswer)) {
        // To a hook any answer is success: only a connection without one tells that the application gave none.
        logHook(path, error);
        return void response.destroy();
      }
      reply(response, 503, error.message);
    } finally {
      untrack();
      running.delete(gone);
      leave();
    }
  };

  return {
    answer(request, response) {
      const path = request.url?.split('?', 1)[0] ?? '';
      if (!path.startsWith(appProbePrefix)) return false;
      response.on('error', () => undefined);
      const probe = probes.get(path);
      if (probe === undefined) reply(response, 404, 'No probe has this path');
      else if (request.method !== 'GET' && request.method !== 'HEAD') {
        reply(response.setHeader('allow', 'GET, HEAD'), 405, 'Probes are asked for, expected GET');
      } else {
        run(path, probe, request, response).catch((error: unknown) => {
          parts.log.error({ path, detail: messageOf(error) }, 'Probe failed unexpectedly');
          reply(response, 503, 'The probe could not be run; the log says why');
        });
      }
      return true;
    },
    close() {
      for (const gone of running) gone.abort(new Error('The sidecar is shutting down'));
    },
  };
}

function reply(response: ServerResponse, status: number, sentence: string): void {
  if (response.headersSent || response.destroyed) return;
  response
    .writeHead(status, {
      'content-type': 'text/plain; charset=utf-8',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    .end(`${sentence}\n`);
}

const kubeletAgent = /^kube-(?:probe|lifecycle)\/[\w.+-]{1,32}$/;

/** The kubelet's own words, because applications leave them out of their logs; anybody else's are not passed on. */
function userAgentOf({ headers }: IncomingMessage): string {
  const given = headers['user-agent'] ?? '';
  return kubeletAgent.test(given) ? given : `remora/${version}`;
}

function createHookLog({ clock, log }: AppHealthParts): (path: string, error: Error) => void {
  const loggedMs = new Map<string, number>();
  return (path, error) => {
    const nowMs = clock.monotonic();
    if (nowMs - (loggedMs.get(path) ?? Number.NEGATIVE_INFINITY) < hookLogIntervalMs) return;
    loggedMs.set(path, nowMs);
    log.warn({ path, detail: error.message }, 'Hook of the application failed');
  };
}
