import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { maxShownConnections } from '../../src/agent/admin.ts';
import { maxMessageBytes } from '../../src/agent/app-health/grpc-health.ts';
import { maxBodyBytes, maxHeaderBytes, maxRequests } from '../../src/agent/app-health/http.ts';
import { placeLimits } from '../../src/agent/app-health/places.ts';
import { appMetricsLimits } from '../../src/agent/app-metrics/app-metrics.ts';
import { maxLineLength } from '../../src/agent/app-metrics/exposition.ts';
import { maxAppMetricsBytes } from '../../src/agent/app-metrics/fetch.ts';
import { auditLimits } from '../../src/agent/audit/audit.ts';
import { canaryLimits } from '../../src/agent/audit/canary.ts';
import { socketTableLimits } from '../../src/agent/audit/socket-table.ts';
import { callerBookLimits, callerNames } from '../../src/agent/callers/caller-book.ts';
import { interceptionProbeLimits } from '../../src/agent/interception.ts';
import { policyPageLimits } from '../../src/agent/policy-page.ts';
import { policySourceLimits } from '../../src/agent/policy-source.ts';
import { workloadBookLimits, workloadBookTimes } from '../../src/agent/registry/workload-book.ts';
import { longestRetryMs, shortestLifetimeMs, shortestRenewalMs } from '../../src/agent/renewal-timetable.ts';
import { longestRetryAfterMs } from '../../src/agent/reply.ts';
import { reportLimits, reportTimes } from '../../src/agent/reports.ts';
import { maxReportedModes } from '../../src/agent/sidecar-state.ts';
import { streamSilenceMs } from '../../src/agent/stream-session.ts';
import { trafficBookLimits } from '../../src/agent/traffic-book.ts';
import { appProbeLimits } from '../../src/app-probes.ts';
import { adminTimeoutMs, maxPageBytes } from '../../src/cli/admin/client.ts';
import { explainTimeoutMs } from '../../src/cli/explain/command.ts';
import { agentTable } from '../../src/config/table.ts';
import { pagePlaces, sharedPagePlaces } from '../../src/connection-places.ts';
import * as api from '../../src/control-api.ts';
import { apiLimits } from '../../src/control-plane/api-server.ts';
import { canaryDialLimits } from '../../src/control-plane/canary.ts';
import { controlPlaneDefaults } from '../../src/control-plane/control-plane.ts';
import { fileLookTimesMs } from '../../src/control-plane/file-looks.ts';
import { authorityPollIntervalMs } from '../../src/control-plane/follow-authority.ts';
import { maxListedNames } from '../../src/control-plane/listed.ts';
import { maxMeshReplyBytes } from '../../src/control-plane/mesh/status.ts';
import { printedAtOnceBytes } from '../../src/control-plane/policy/printed-policy.ts';
import { registeredLimits } from '../../src/control-plane/policy/registered.ts';
import { maxPodsNotKnown, maxPreviewedBytes, maxPreviewedCallers } from '../../src/control-plane/preview/api.ts';
import { listLimits } from '../../src/control-plane/revocation/list.ts';
import { lockPatienceMs } from '../../src/control-plane/revocation/list-file.ts';
import { maxStateBytes } from '../../src/control-plane/revocation/message.ts';
import { maxListedObstacles } from '../../src/control-plane/rotation-status.ts';
import { maxNamedSidecars } from '../../src/control-plane/sidecar-book.ts';
import { directoryStoreDefaults } from '../../src/control-plane/store/directory.ts';
import { wordsInOneTurn } from '../../src/control-plane/store/documents.ts';
import { directoryLimits } from '../../src/control-plane/store/files.ts';
import { maxStreamsPerPod } from '../../src/control-plane/streams.ts';
import { tokenKeyPollIntervalMs } from '../../src/control-plane/token-key-file.ts';
import { tokenKeyLimits } from '../../src/control-plane/token-keys.ts';
import { pushedBundleLimits } from '../../src/control-plane/trust-bundles.ts';
import {
  admissionShape,
  maxAdmissionBytes,
  maxAdmissionReplyBytes,
  webhookLimits,
  webhookPlaces,
} from '../../src/control-plane/webhook.ts';
import { descriptorBudget, descriptorShares } from '../../src/descriptors.ts';
import { crlLimits } from '../../src/identity/crl.ts';
import { maxChainLength } from '../../src/identity/decide-peer.ts';
import { bundleLimits, maxRootNameBytes } from '../../src/identity/trust-bundle.ts';
import { warningLimits } from '../../src/injector/warnings.ts';
import { logOutputLimits } from '../../src/log-output.ts';
import { memoryMarks } from '../../src/memory-pressure.ts';
import { maxHeldBytes } from '../../src/metrics/held-answers.ts';
import { pageSpacingMs } from '../../src/metrics/shared-page.ts';
import { maxPortLabels, maxRootLabels } from '../../src/metrics/sidecar-families.ts';
import { maxTcpSeries } from '../../src/metrics/tcp/series.ts';
import { tcpTrafficLimits } from '../../src/metrics/tcp/traffic.ts';
import { maxAudited } from '../../src/policy/judge.ts';
import { maxAuditedNames } from '../../src/proxy/connection-line.ts';
import { longestWaitMs } from '../../src/proxy/explain/explain.ts';
import { maxAddressesOfName } from '../../src/proxy/explain/lookup.ts';
import { explainLimits } from '../../src/proxy/explain/outbound.ts';
import { maxHelloBytes, maxHelloRecordBytes } from '../../src/proxy/inbound/client-hello.ts';
import { dialLimits } from '../../src/proxy/inbound/dials.ts';
import { maxHandshakesInFlight } from '../../src/proxy/inbound/handshakes.ts';
import { sliceLimits } from '../../src/proxy/inbound/permissions.ts';
import { silenceLimits } from '../../src/proxy/inbound/silence.ts';
import { maxAffinities } from '../../src/proxy/outbound/affinities.ts';
import { setAsideLimits } from '../../src/proxy/outbound/endpoint-book.ts';
import { maxEndpointsTried } from '../../src/proxy/outbound/open.ts';
import { pausedCheckIntervalMs } from '../../src/proxy/paused.ts';
import { peerBookLimits } from '../../src/proxy/peer-book.ts';
import { refusalLineLimits } from '../../src/proxy/refusal-lines.ts';
import { closeTimeoutMs } from '../../src/proxy/transport/hbone/end-session.ts';
import { pingIntervalMs } from '../../src/proxy/transport/hbone/liveness.ts';
import { maxAttempts } from '../../src/proxy/transport/hbone/pool.ts';
import { readAheadLimits } from '../../src/proxy/transport/hbone/read-ahead.ts';
import { dialDeadlineMs } from '../../src/redirect/proof.ts';
import { lastBytesTimeoutMs } from '../../src/stopping.ts';

const fullPages = sharedPagePlaces(descriptorBudget(Number.POSITIVE_INFINITY).pages);

const document = readFileSync(join(resolve(import.meta.dirname, '../..'), 'docs/limits.md'), 'utf8');

/** The rows of every table, each by the headings of its columns. */
const rows = document.split(/\n\n+/).flatMap((block) => {
  if (!block.startsWith('|')) return [];
  const [headings = [], , ...cells] = block
    .trim()
    .split('\n')
    .map((line) => line.slice(1, -1).split('|'));
  return cells.map((row) => new Map(headings.map((heading, i) => [heading.trim(), row[i]?.trim() ?? ''])));
});
const settingRows = rows.filter((row) => !(row.get('setting') ?? 'fixed').startsWith('fixed'));

const factors: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  KiB: 1024,
  MiB: 1024 ** 2,
};

/** Every quantity of a cell, in milliseconds, bytes or pieces, in order; `never` is one. */
function quantities(cell: string): (number | 'never')[] {
  const found = cell.matchAll(/\bnever\b|(\d[\d,]*(?:\.\d+)?)(?: (ms|s|min|h|d|KiB|MiB)\b)?/g);
  return [...found].map(([, amount, unit = '']) =>
    amount === undefined ? 'never' : Number(amount.replaceAll(',', '')) * (factors[unit] ?? 1),
  );
}

/** The value cell of the one row whose first cell is `what`. */
function limitOf(what: string): string {
  const found = rows.map((row) => [...row.values()]).filter(([first]) => first === what);
  expect(found).toHaveLength(1);
  return found[0]?.[1] ?? '';
}

it('reads quantities as a person does', () => {
  expect(quantities('1,000 pieces, 64 KiB, 16 MiB, 5 min, 200 ms, 1 h, 30 d, 0.5 or never')).toEqual([
    1000,
    65_536,
    16_777_216,
    300_000,
    200,
    3_600_000,
    2_592_000_000,
    0.5,
    'never',
  ]);
});

it('names only settings that exist', () => {
  const names = [...document.matchAll(/`([a-z]+[A-Z][a-zA-Z]*)[^`]*`/g)].map(([, name]) => name);
  expect(names.length).toBeGreaterThan(20);
  expect(names.filter((name) => !Object.hasOwn(agentTable, name ?? ''))).toEqual([]);
});

describe('the default of a setting', () => {
  const named = settingRows.map((row) => [row.get('setting')?.replaceAll('`', '') ?? '', row.get('default') ?? '']);

  it.each(named)('%s is %s', (name, cell) => {
    const settings: Readonly<Record<string, { readonly default: unknown }>> = agentTable;
    expect(quantities(cell)[0]).toBe(settings[name]?.default);
  });

  it('stands beside every deadline and every limit', () => {
    const text = document.replaceAll(/^\|[^|]*\|[^|]*\| fixed.*$/gm, '');
    const missing = Object.entries(agentTable)
      .filter(([, { kind, default: value }]) => (kind.suffix as string) !== '' && value !== 0)
      .map(([name]) => name)
      .filter((name) => !text.includes(`\`${name}\``));
    expect(missing).toEqual([]);
  });
});

describe('a fixed value', () => {
  it.each<[string, readonly number[]]>([
    ["the peers' ends of the tunnels, at the end of a stop", [lastBytesTimeoutMs]],
    ["the peer's end of a tunnel that was closed", [closeTimeoutMs]],
    ['PING on every tunnel, or anything else that its peer sends', [pingIntervalMs]],
    ['between two looks at the TCP connection of a tunnel', [pingIntervalMs]],
    [
      'between two looks whether a write of a tunnel waits for the kernel',
      [readAheadLimits.intervalMs, readAheadLimits.waitingMs],
    ],
    ['attempts of a request that races a retiring tunnel', [maxAttempts]],
    [
      'proof that the redirect rules capture',
      [interceptionProbeLimits.intervalMs, interceptionProbeLimits.answerTimeoutMs],
    ],
    ['the same proof of `remora init`', [dialDeadlineMs]],
    [
      'between two looks for connections that go around the sidecar, and before a second one decides',
      [auditLimits.intervalMs, auditLimits.confirmMs],
    ],
    ['between two inbound proofs, and before the first', [canaryLimits.intervalMs, canaryLimits.firstWithinMs]],
    [
      'sockets of each family that a look for connections that go around the sidecar goes through',
      [socketTableLimits.lines],
    ],
    ['lines in the log about such connections, at one look', [auditLimits.linesPerLook]],
    ['between two dials of the canary port of a pod', [canaryDialLimits.perPodMs]],
    [
      'pods whose canary port is dialled at once, and pods in these 5 s',
      [canaryDialLimits.calls, canaryDialLimits.pods],
    ],
    [
      'a dial of a canary port, its addresses, and what is read of each answer',
      [canaryDialLimits.dialMs, canaryDialLimits.addresses, canaryDialLimits.bytes],
    ],
    ['between two looks at a connection that is not read because its other side is slow', [pausedCheckIntervalMs]],
    ['an endpoint that could not be reached, before it is tried again', [setAsideLimits.baseMs, setAsideLimits.capMs]],
    ['endpoints tried for one connection', [maxEndpointsTried]],
    ['endpoints that are remembered because they could not be reached', [setAsideLimits.endpoints]],
    ['destinations whose endpoint is remembered for session affinity', [maxAffinities]],
    ['log lines about endpoints that are set aside', [refusalLineLimits.linesPerSecond, refusalLineLimits.burst]],
    ["certificates in a peer's chain", [maxChainLength]],
    ['connections that are dialled at once to one address and port of the application', [dialLimits.perDestination]],
    [
      'a client that says nothing on a PERMISSIVE port, before the application is dialled for it',
      [silenceLimits.beforeDialMs],
    ],
    ['the same, before it gets what the application says first, from the accept on', [silenceLimits.greetingMs]],
    ['ports whose application is known to speak first', [silenceLimits.ports]],
    ['a ClientHello on a captured port, and its records together', [maxHelloBytes, maxHelloRecordBytes]],
    ["handshakes in flight, from the accept to the peer's HTTP/2 SETTINGS", [maxHandshakesInFlight]],
    [
      'connections that wait for such a turn, and those for one address and port',
      [dialLimits.waiting, dialLimits.waitingPerDestination],
    ],
    ['a connection', [descriptorShares.perConnection]],
    ['the program, its listeners and the control plane', [descriptorShares.program]],
    ['all of the reserve, at most', [descriptorShares.reserve]],
    ...['64', '128', '1,024', '4,096', '20,400'].map((nofile): [string, number[]] => [
      nofile,
      [descriptorBudget(Number(nofile.replace(',', ''))).connections],
    ]),
    ['nothing new is taken', [memoryMarks.high * 100, memoryMarks.headroomBytes]],
    ['it is taken again', [memoryMarks.hysteresis * 100]],
    ['roots, all trust domains together', [bundleLimits.roots]],
    ['names of the roots, all trust domains together', [maxRootNameBytes]],
    ['trust bundles, all trust domains together', [bundleLimits.characters]],
    ['entries in one file of revocation lists', [crlLimits.entries]],
    ['lists in one such file, and certificates beside them', [crlLimits.lists]],
    ['one file of revocation lists', [crlLimits.bytes]],
    [
      'log lines about connections that were refused, or were not authenticated or made, of one direction and reason',
      [refusalLineLimits.linesPerSecond, refusalLineLimits.burst],
    ],
    ["log lines that wait for whoever reads the sidecar's log", [logOutputLimits.bytes]],
    ["the log's reader, when the process ends", [logOutputLimits.exitRetries * 100]],
    ["log lines that wait for whoever reads the control plane's log", [logOutputLimits.bytes]],
    ['names in one line of the log about the registry or revocations', [maxListedNames]],
    ['an answer to `remora mesh`', [maxMeshReplyBytes]],
    ['its reader, when the process ends', [logOutputLimits.exitRetries * 100]],
    ['a reply of the control plane, a line of its stream', [api.maxReplyBytes]],
    ['a policy that comes in parts', [api.maxPolicyBytes]],
    ['shortest rest of a lifetime that is used', [shortestLifetimeMs]],
    ['between two renewals, at least', [shortestRenewalMs]],
    ['longest wait after a failed renewal', [longestRetryMs]],
    ['`Retry-After` of a 429 or 503', [longestRetryAfterMs]],
    ['silence on the stream', [streamSilenceMs]],
    ['one answer to `remora certs`', [adminTimeoutMs, maxPageBytes]],
    ['one answer to `remora explain`', [explainTimeoutMs]],
    ['while a connection is explained: the wait for the control plane, and for a name', [longestWaitMs]],
    [
      'endpoints, failures and addresses of a name that one explanation shows',
      [explainLimits.endpoints, explainLimits.failures, maxAddressesOfName],
    ],
    [
      'identities whose names are kept to say who needs which root, of one root and in all',
      [peerBookLimits.identitiesOfRoot, peerBookLimits.identities],
    ],
    ['roots of which it is known when a peer was there last', [peerBookLimits.roots]],
    ['roots with a value of their own in `remora_peers_by_root`', [maxRootLabels]],
    ['ports with a value of their own in `remora_mode_info`', [maxPortLabels]],
    ['names of AUDIT policies in the line of a connection', [maxAuditedNames]],
    ['AUDIT policies that are looked for at one connection', [maxAudited]],
    ['rules and texts of a policy that comes into force at once', [policySourceLimits.lightWeight]],
    ['ranges that ServiceEntries register in one that does', [policySourceLimits.lightRanges]],
    ['preparing a larger policy, in one turn of the event loop', [policySourceLimits.sliceMs]],
    ['judging what is carried after a change of the policy, in one turn of the event loop', [sliceLimits.ms]],
    ['cutting what is not permitted any more, in one turn of the event loop', [sliceLimits.cuts]],
    [
      'modes of ports, and AuthorizationPolicies, that a page shows',
      [policyPageLimits.modes, policyPageLimits.policies],
    ],
    [
      'modes of ports in a report, and the name of the policy that sets one',
      [maxReportedModes, api.maxReportedNameLength],
    ],
    ['sets of labels of the `istio_tcp_*` metrics', [maxTcpSeries]],
    ['connections that are not counted there yet, because it is asked who their peers are', [tcpTrafficLimits.waiting]],
    ['the name of a peer, before its connection is counted in the `istio_tcp_*` metrics', [tcpTrafficLimits.waitMs]],
    [
      'an answer of the control plane about the workload of an address, and one that there is none',
      [workloadBookTimes.known, workloadBookTimes.unknown],
    ],
    [
      'workloads of addresses that are remembered, and addresses that wait to be asked for',
      [workloadBookLimits.answers, workloadBookLimits.questions],
    ],
    [
      'addresses whose workloads one call of the control plane may ask for, and ports with a Service that are told of each',
      [api.maxWorkloads, api.maxServicePorts],
    ],
    ['between two pages of metrics in one format, at least', [pageSpacingMs]],
    ["pages of metrics of one listener that wait for clients to take them, the application's included", [maxHeldBytes]],
    ['between two looks whether there is something to report', [reportTimes.lookMs]],
    ['before numbers alone are reported anew: connections that are open, failures', [reportTimes.countsMs]],
    ['between two reports without a change', [reportTimes.repeatMs]],
    ['before a report that was not taken is sent again', [reportTimes.backoff.baseMs, reportTimes.backoff.capMs]],
    [
      'edges (who was connected with whom) that are remembered; edges, and kinds of failures in a report',
      [trafficBookLimits.edges, trafficBookLimits.reportedEdges, trafficBookLimits.reportedFailures],
    ],
    [
      'bytes of the peer and of the service of an edge in a report',
      [trafficBookLimits.peerBytes, trafficBookLimits.serviceBytes],
    ],
    [
      'callers that are remembered for previews: in plaintext, with an identity, and refused; ports with a place of their own',
      [callerBookLimits.plaintext, callerBookLimits.mutualTls, callerBookLimits.refused, callerBookLimits.ports],
    ],
    [
      "before the registry is asked again whose a caller's address is that it did not know, and callers that are asked for at once",
      [callerNames.askAgainMs, callerNames.askedAtOnce],
    ],
    [
      'callers in a report, and ports with further ones; characters of a SPIFFE ID',
      [api.maxReportedCallers, api.maxFurtherCallers, api.maxReportedPrincipal],
    ],
    ['characters of the name of a pod that the control plane tells', [api.maxPodNameLength]],
    ['roots of one kind in a report, and roots with peers', [reportLimits.roots, reportLimits.rootsOfPeers]],
    ['addresses that are being asked for', [api.maxDestinations]],
    ['a whole probe, its redirects included', [1000, appProbeLimits.maxTimeoutSeconds * 1000]],
    ['probes that run at once, of one path', [placeLimits.perPath]],
    ['the same for one caller', [placeLimits.perPathAndPeer]],
    ['connections for one request', [maxRequests]],
    ['bytes of a body that are read', [maxBodyBytes]],
    ["headers of an application's answer", [maxHeaderBytes]],
    ['a gRPC answer', [maxMessageBytes]],
    [
      "the application's part of a scrape",
      [appMetricsLimits.share * 100, appMetricsLimits.mostSeconds * 1000, appMetricsLimits.timeoutSeconds * 1000],
    ],
    ['what the application is told of how long a scrape waits', [appMetricsLimits.toldSeconds * 1000]],
    ['between two requests to the application, at least', [appMetricsLimits.spacingSeconds * 1000]],
    ['metrics of an application', [maxAppMetricsBytes]],
    ['a line of them', [maxLineLength]],
    ['headers of its answer', [maxHeaderBytes]],
    ['text of `appProbes`', [appProbeLimits.textBytes, appProbeLimits.probes]],
    ['connections to all servers together, and those of one address', [fullPages.all, fullPages.perAddress]],
    ['connections to the API', [apiLimits.connections]],
    ['TLS handshake', [apiLimits.handshakeMs]],
    ['connections that a page shows', [maxShownConnections]],
    ['headers of a request, time', [apiLimits.headersMs]],
    ['headers of a request, size', [apiLimits.headerBytes]],
    ['a whole request, its body included', [apiLimits.requestMs]],
    ['between two requests of a connection', [apiLimits.keepAliveMs]],
    ['requests that run at a stop', [apiLimits.drainMs]],
    ['body of a request', [api.maxRequestBytes]],
    ['body of a report', [api.maxReportBytes]],
    ['addresses in one request', [api.maxDestinations]],
    ['a reply', [api.maxReplyBytes]],
    ['endpoints of one destination', [api.maxReplyBytes / 2]],
    ['a line of a stream that tells of a policy', [api.maxPolicyLineBytes]],
    ['the policy of one workload', [api.maxPolicyBytes]],
    [
      'ranges that ServiceEntries register for a namespace, and pairs of a range and a port as they are written',
      [registeredLimits.ranges, registeredLimits.pairs],
    ],
    ['AuthorizationPolicies that are printed in one turn of the event loop', [printedAtOnceBytes]],
    ['streams of one pod', [maxStreamsPerPod]],
    ['heartbeat of a stream', [api.heartbeatIntervalMs]],
    ['a stream whose reader takes nothing', [4 * api.heartbeatIntervalMs]],
    [
      'lifetime of a workload certificate, shortest and longest',
      [controlPlaneDefaults.minimumCertificateLifetimeMs, controlPlaneDefaults.certificateLifetimeMs],
    ],
    ['how long an answer is up to date without a stream', [controlPlaneDefaults.destinationTtlSeconds * 1000]],
    ['connections to the metrics port, and those of one address', [pagePlaces.all, pagePlaces.perAddress]],
    ['connections to the webhook', [webhookLimits.connections]],
    ['TLS handshake, headers and whole request of the webhook', [webhookLimits.handshakeMs]],
    ['between two requests of a connection to the webhook', [webhookLimits.keepAliveMs]],
    ['body of an admission review', [maxAdmissionBytes]],
    ['levels of an admission review, and lists and mappings in it', [admissionShape.levels, admissionShape.containers]],
    ['reply to an admission review', [maxAdmissionReplyBytes]],
    ['admission reviews at once, and their bodies together', [webhookPlaces.requests, webhookPlaces.bytes]],
    ['warnings to one pod, each and together', [warningLimits.each, warningLimits.all]],
    [
      'file of the token keys, its keys, and an RSA key',
      [tokenKeyLimits.bytes, tokenKeyLimits.keys, tokenKeyLimits.leastRsaBits, tokenKeyLimits.mostRsaBits],
    ],
    ['between two looks at the token keys', [tokenKeyPollIntervalMs]],
    ['between two looks at the roots of an authority that somebody else keeps', [authorityPollIntervalMs]],
    ['policy that is previewed', [maxPreviewedBytes]],
    ['callers of one port of a workload that a preview of STRICT names', [maxPreviewedCallers]],
    ['pods that a preview names because too little is known of their callers', [maxPodsNotKnown]],
    ['sidecars that are known by name, with what they reported last', [maxNamedSidecars]],
    ['sidecars that stand in the way of a step, in one answer', [maxListedObstacles]],
    [
      "the operator's list of revocations: its file, and its part of a message",
      [listLimits.fileBytes, listLimits.pushedBytes],
    ],
    ['the reason beside a revocation', [listLimits.reasonCharacters]],
    ['a change of that list waits for another one', [lockPatienceMs]],
    ['all that is revoked, in one message', [maxStateBytes]],
    [
      'trust bundles that are pushed, our own and all others together',
      [pushedBundleLimits.characters, pushedBundleLimits.roots, maxRootNameBytes],
    ],
    ['between two looks at the bundles of other trust domains, besides being watched', [fileLookTimesMs.poll]],
    ['between two looks at revocations and CRLs, besides being watched', [fileLookTimesMs.poll]],
    ['file of the registry', [directoryLimits.bytesPerFile]],
    ['all files of the registry together', [directoryLimits.bytes, directoryLimits.files]],
    ['words of YAML that are read in one turn of the event loop', [wordsInOneTurn]],
    ['between two looks at the registry, besides being watched', [directoryStoreDefaults.pollIntervalMs]],
  ])('%s', (what, expected) => {
    expect(quantities(limitOf(what))).toEqual(expected);
  });
});
