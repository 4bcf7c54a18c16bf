import type { IncomingMessage } from 'node:http';
import type { JSONWebKeySet } from 'jose';
import type { Clock } from '../clock.ts';
import { timestamp } from '../clock.ts';
import type { CertificateReply, Destination } from '../control-api.ts';
import {
  canaryRequest,
  certificateRequest,
  destinationsRequest,
  maxReplyBytes,
  maxReportBytes,
  maxRequestBytes,
  paths,
  report,
  streamRequest,
  workloadsRequest,
} from '../control-api.ts';
import { workloadSpiffeId } from '../identity/spiffe-id.ts';
import type { Log } from '../log.ts';
import type { AccountWatch } from './account-watch.ts';
import type { Authority } from './authority.ts';
import { bundleDocument } from './bundle-document.ts';
import type { CanaryDialler } from './canary.ts';
import { readCertificateRequest } from './certificate-request.ts';
import type { Publication } from './publication.ts';
import { Refusal } from './refusals.ts';
import { refusalOf, replyTooLarge, sendJson } from './replies.ts';
import { readBody } from './request-body.ts';
import type { Call, Route } from './router.ts';
import type { SidecarBook } from './sidecar-book.ts';
import type { Streams } from './streams.ts';
import type { TokenReviewer, Workload } from './token-review.ts';

export interface ApiParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly authority: Authority;
  readonly publication: Publication;
  readonly streams: Streams;
  readonly book: SidecarBook;
  readonly canary: CanaryDialler;
  readonly accounts: Pick<AccountWatch, 'look'>;
  readonly reviewer: TokenReviewer;
  readonly revocations: { isIdentityRevoked(spiffeId: string): boolean };
  /** The keys of the tokens that are accepted now. */
  jwks(): JSONWebKeySet;
  readonly metrics: { certificateRequested(result: string): void };
  isStopping(): boolean;
}

/** Every path of the API. */
export function createCalls(parts: ApiParts): ReadonlyMap<string, Route> {
  const { authority, book, jwks, publication, streams } = parts;
  const open = (content: () => unknown): Route => ({
    method: 'GET',
    handle: async ({ response }) => sendJson(response, content()),
  });
  const proved = (handle: (call: Call, workload: Workload) => Promise<void>): Route => ({
    method: 'POST',
    handle: async (call) => handle(call, await authenticate(parts.reviewer, call.request)),
  });
  return new Map<string, Route>([
    [paths.health, open(() => ({ status: 'ok' }))],
    [paths.bundle, open(() => bundleDocument(authority))],
    [paths.jwks, open(jwks)],
    [paths.certificates, { method: 'POST', handle: (call) => countedCertificate(parts, call) }],
    [
      paths.destinations,
      proved(async ({ request, response }, workload) => {
        const { addresses } = await readBody(request, destinationsRequest, { bytes: maxRequestBytes });
        sendJson(response, { destinations: answersTo(addresses, workload, publication) });
      }),
    ],
    [
      paths.workloads,
      proved(async ({ request, response }) => {
        const { addresses } = await readBody(request, workloadsRequest, { bytes: maxRequestBytes });
        const workloads = addresses.map(publication.workloadAt).filter((one) => one !== undefined);
        sendJson(response, { workloads });
      }),
    ],
    [
      paths.reports,
      proved(async ({ request, response }, workload) => {
        book.reported(workload, await readBody(request, report, { bytes: maxReportBytes }));
        response.writeHead(202).end();
      }),
    ],
    [
      paths.canary,
      proved(async ({ request, response }, workload) => {
        await readBody(request, canaryRequest, { bytes: maxRequestBytes });
        sendJson(response, await parts.canary.dial(workload));
      }),
    ],
    [
      paths.stream,
      proved(async ({ request, response }, workload) => {
        const { destinations } = await readBody(request, streamRequest, { bytes: maxRequestBytes });
        if (parts.isStopping())
          throw new Refusal('stopping', 'Expected another replica', { headers: { 'retry-after': '1' } });
        streams.start(response, workload, destinations);
      }),
    ],
  ]);
}

/** Stops at the first answer that is too much, before a thousand large ones have been made. */
function answersTo(addresses: readonly string[], workload: Workload, publication: Publication): readonly Destination[] {
  let bytes = 0;
  return addresses.map((address) => {
    const answer = publication.destination(address, workload);
    bytes += Buffer.byteLength(JSON.stringify(answer));
    if (bytes > maxReplyBytes) throw replyTooLarge();
    return answer;
  });
}

async function authenticate(reviewer: TokenReviewer, request: IncomingMessage): Promise<Workload> {
  const review = await reviewer.reviewToken(request.headers.authorization);
  if (review.kind === 'workload') return review.workload;
  // RFC 6750 3: without credentials no error code, with bad ones `invalid_token`.
  const error = review.reason === 'token_missing' ? '' : ' error="invalid_token"';
  const headers = review.reason === 'token_not_bound' ? {} : { 'www-authenticate': `Bearer${error}` };
  throw new Refusal(review.reason, review.why, { headers });
}

async function countedCertificate(parts: ApiParts, call: Call): Promise<void> {
  try {
    await issueCertificate(parts, call);
    parts.metrics.certificateRequested('issued');
  } catch (error) {
    parts.metrics.certificateRequested(refusalOf(error).reason);
    throw error;
  }
}

/** The identity is that of the token; of the request only the key is used. */
async function issueCertificate(parts: ApiParts, { request, response }: Call): Promise<void> {
  const { authority, book, clock, log, publication, revocations } = parts;
  const workload = await authenticate(parts.reviewer, request);
  const { namespace, serviceAccount, pod, podUid } = workload;
  const { csr, ttlSeconds } = await readBody(request, certificateRequest, { bytes: maxRequestBytes });
  const read = readCertificateRequest(csr);
  if (read.kind === 'refused') throw new Refusal('csr_invalid', read.why);
  const spiffeId = workloadSpiffeId(authority.trustDomain, namespace, serviceAccount);
  if (revocations.isIdentityRevoked(spiffeId.uri))
    throw new Refusal('identity_revoked', `${spiffeId.uri} gets no certificate until that is lifted`);
  const lifetimeMs = ttlSeconds === undefined ? undefined : ttlSeconds * 1000;
  const issued = authority.issueWorkload(read.publicKey, spiffeId, lifetimeMs);
  const { certificate, chainPem, notAfterMs, rootFingerprint } = issued;
  book.issued(workload, rootFingerprint, notAfterMs);
  log.info(
    {
      serial: certificate.serialNumber,
      spiffeId: spiffeId.uri,
      pod: `${namespace}/${pod}`,
      podUid,
      root: rootFingerprint,
      notAfter: timestamp(notAfterMs),
    },
    'Certificate issued',
  );
  parts.accounts.look({ namespace, podName: pod, podUid, serviceAccount });
  sendJson(response, {
    certificateChain: chainPem,
    trustBundles: publication.trustBundles(),
    serverTime: timestamp(clock.now()),
  } satisfies CertificateReply);
}
