import type { IncomingMessage, RequestListener } from 'node:http';
import * as v from 'valibot';
import type { Clock } from '../clock.ts';
import type { Admission, AdmissionDecision, AdmissionResult } from '../injector/admission.ts';
import type { Log } from '../log.ts';
import type { ApiLimits } from './api-server.ts';
import { apiLimits } from './api-server.ts';
import type { ShapeLimits } from './json-shape.ts';
import { createLineLimit } from './line-limit.ts';
import { Refusal } from './refusals.ts';
import { sendJson } from './replies.ts';
import { readBody } from './request-body.ts';
import type { Call, Route } from './router.ts';
import { createRouter } from './router.ts';
import type { PlaceLimits } from './webhook-places.ts';
import { createPlaces } from './webhook-places.ts';

/** An API server takes no request above 3 MiB, and wraps the pod in a little more; bytes. */
export const maxAdmissionBytes = 4 * 1024 * 1024;
/** A pod of 1.5 MiB, more than etcd takes, has about 100,000 when it is all variables and who manages them. */
export const admissionShape = { levels: 128, containers: 250_000 } as const satisfies ShapeLimits;
/** Of the reply: a patch holds what is added, and not the pod; bytes. */
export const maxAdmissionReplyBytes = 1024 * 1024;

/** 32 MiB of bodies, one of which is parsed at a time. */
export const webhookPlaces = { requests: 64, bytes: 32 * 1024 * 1024 } as const satisfies PlaceLimits;

/** An API server waits for 10 s unless it is told otherwise, and must have its answer by then. */
export const webhookLimits: ApiLimits = {
  ...apiLimits,
  connections: 512,
  handshakeMs: 5_000,
  headersMs: 5_000,
  requestMs: 5_000,
  /** Longer than the 90 s for which an API server keeps a connection, so that it is never closed under its next request. */
  keepAliveMs: 120_000,
};

/** More pods than this are not made in a second; strangers can ask for more. */
const linesPerSecond = 100;

export const webhookPaths = { inject: '/inject', health: '/healthz' } as const;

export interface WebhookParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: { admissionDecided(result: AdmissionResult, seconds: number): void };
  /** Pure; its argument is whatever was sent. */
  admit(review: unknown): Admission;
}

/**
 * Answers AdmissionReviews. Whoever calls is not authenticated, and learns what the injector makes of a pod that they
 * bring, nothing else.
 */
export function createWebhook(parts: WebhookParts, limits: PlaceLimits = webhookPlaces): RequestListener {
  const { clock, metrics } = parts;
  const places = createPlaces(limits);
  const logDecision = createDecisionLog(parts);

  const measured = async (call: Call): Promise<void> => {
    const startedMs = clock.monotonic();
    let result: AdmissionResult = 'failed';
    try {
      const decision = await inItsPlace(call, () => answer(parts, call));
      result = decision.result;
      logDecision(decision);
    } finally {
      metrics.admissionDecided(result, (clock.monotonic() - startedMs) / 1000);
    }
  };
  const inItsPlace = async <T>({ request }: Call, work: () => Promise<T>): Promise<T> => {
    const leave = places.take(request.socket.remoteAddress ?? '', announcedBytes(request));
    if (leave === undefined) {
      const headers = { 'retry-after': '1', connection: 'close' };
      throw new Refusal('too_many_requests', 'Expected the same request a second later', { headers });
    }
    try {
      return await work();
    } finally {
      leave();
    }
  };
  return createRouter(
    parts,
    new Map<string, Route>([
      [webhookPaths.inject, { method: 'POST', handle: measured }],
      [webhookPaths.health, { method: 'GET', handle: async ({ response }) => sendJson(response, { status: 'ok' }) }],
    ]),
  );
}

/** A length that is not announced may become the longest; one that is too long is refused before it is read. */
function announcedBytes({ headers }: IncomingMessage): number {
  const announced = Number(headers['content-length'] ?? maxAdmissionBytes);
  return announced > maxAdmissionBytes ? 0 : announced;
}

async function answer({ admit }: WebhookParts, { request, response }: Call): Promise<AdmissionDecision> {
  const review = await readBody(request, v.unknown(), { bytes: maxAdmissionBytes, shape: admissionShape });
  const { reply, decision } = admit(review);
  // An API server takes another status for a webhook that is broken, which a question that it cannot have asked deserves.
  const status = decision.result === 'failed' ? 400 : 200;
  sendJson(response, reply, { status, maxBytes: maxAdmissionReplyBytes });
  return decision;
}

function createDecisionLog({ clock, log }: WebhookParts): (decision: AdmissionDecision) => void {
  const limit = createLineLimit<AdmissionResult>(clock, linesPerSecond);
  return (decision) => {
    const { result, isDryRun, ...names } = decision;
    const line = limit(result);
    if (line === undefined) return;
    const fields = { outcome: result, ...names, ...(isDryRun === true && { dryRun: true }), ...line };
    log[result === 'refused' || result === 'failed' ? 'warn' : 'info'](fields, 'Pod reviewed');
  };
}
