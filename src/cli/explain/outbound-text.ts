import { parseDate } from '../../clock.ts';
import type { OutboundPage, ShownEndpointFacts, ShownOutbound, ShownRefusal } from '../../explain-api.ts';
import { counted, indented, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import type { Found } from './lines.ts';
import { captureFact, failureStep, isSaid, saidBy, step, verdictLines } from './lines.ts';

/** A connection of the application, in the order in which it is made. */
export function outboundText(page: OutboundPage): string[] {
  const { to, now, destinations, lookupFailure } = page;
  if (lookupFailure !== undefined) return [`${printable(to)} would not even be dialled: ${printable(lookupFailure)}`];
  const isName = destinations.length !== 1 || destinations[0]?.destination !== to;
  const heading = isName && !destinations[0]?.tunnel ? [`${printable(to)} is ${namesOf(destinations)}`, ''] : [];
  return [...heading, ...destinations.flatMap((each, index) => [...(index > 0 ? [''] : []), ...oneText(each, now)])];
}

const namesOf = (destinations: readonly ShownOutbound[]) =>
  destinations.map(({ destination }) => printable(destination)).join(' and ');

function oneText(shown: ShownOutbound, now: string): string[] {
  return [
    ...verdictLines(shown.verdict, shown.lately),
    '',
    ...captureStep(shown),
    ...registryStep(shown),
    ...admitStep(shown),
    ...endpointStep(shown),
    ...failureStep(shown.recentFailures, saidBy(shown), parseDate(now)),
  ];
}

function captureStep({ capture, tunnel }: ShownOutbound): string[] {
  if (tunnel !== undefined) {
    const via = tunnel.via === null ? '' : ` through ${printable(tunnel.via)}`;
    return step('Tunnel', [`from ${printable(tunnel.listen)} to ${printable(tunnel.target)}${via}, declared by hand`]);
  }
  if (capture === null) return step('Captured', ['no: this sidecar has no redirect rules']);
  return step('Captured', [captureFact(capture)]);
}

function registryStep({ registry, endpoints }: ShownOutbound): string[] {
  if (registry === null) return [];
  const { answer, isRegistered, service, entry, why, heldForSeconds, isControlPlaneUp } = registry;
  const where = isRegistered ? 'registered by a ServiceEntry' : 'inside the mesh networks';
  const source =
    heldForSeconds === null
      ? 'the control plane was asked just now'
      : `known for ${roughly(heldForSeconds * 1000)}, and the control plane ${isControlPlaneUp ? 'says when it changes' : 'is away'}`;
  switch (answer) {
    case 'outside':
      return step('Registry', ['not asked: it is outside the mesh networks, and no ServiceEntry registers it']);
    case 'no_policy':
      return step('Registry', ['not asked: it is outside the mesh networks, and what is registered is not known yet']);
    case 'known':
      return step('Registry', [
        entry === undefined
          ? `knows it as ${service === undefined ? podOf(endpoints) : printable(service)}; ${source}`
          : `knows it by the ServiceEntry ${printable(entry)}; ${source}`,
      ]);
    case 'unknown':
      return step('Registry', [`${where}, and the control plane does not know it`]);
    case 'unavailable':
      return step('Registry', [`${where}, and there is no answer: ${printable(why ?? '')}`]);
    default:
      return answer satisfies never;
  }
}

/** What belongs to no Service is the address of a pod. */
const podOf = (endpoints: readonly ShownEndpointFacts[]) =>
  `a pod ${endpoints.some(({ expectedId }) => expectedId !== undefined) ? 'with' : 'without'} a sidecar`;

function admitStep({ verdict, endpoints, registry, outboundPolicy, minimumOutbound, tunnel }: ShownOutbound): string[] {
  if (tunnel !== undefined || registry === null) return [];
  const isAdmitted = endpoints.some(({ use }) => use !== 'not_used');
  const reason = verdict.kind === 'refused' ? `no: ${verdict.reason}` : 'no';
  return step('Admitted', [
    isAdmitted ? 'yes' : reason,
    `--minimum-outbound is ${minimumOutbound}, --outbound-policy ${outboundPolicy}`,
  ]);
}

function endpointStep({ endpoints, endpointsNotShown, keptAt, ...judged }: ShownOutbound): string[] {
  const said = saidBy(judged);
  const lines = endpoints.flatMap((endpoint) => endpointLines(endpoint, said));
  const more = endpointsNotShown === 0 ? [] : [`and ${endpointsNotShown} more`];
  const kept = keptAt === null ? [] : [`All connections of this pod go to ${printable(keptAt)} for now`];
  return step('Endpoints', [...lines, ...more, ...kept]);
}

function endpointLines(endpoint: ShownEndpointFacts, said: readonly Found[]): string[] {
  const { address, via, transport, expectedId, use, why, refusal, setAside } = endpoint;
  const how = expectedId === undefined ? transport : `${transport}${via ? ` through ${printable(via)}` : ''}`;
  const who = expectedId === undefined ? '' : `, expected as ${printable(expectedId)}`;
  return [
    `${printable(address)} by ${how}${who}`,
    ...indented(2, [
      ...(use === 'chosen_from' ? [] : [`${use === 'reserve' ? 'In reserve' : 'Not used'}: ${printable(why ?? '')}`]),
      ...(setAside ? [setAsideLine(setAside, said)] : []),
      ...(refusal ? [`Would be refused: ${refusalLine(refusal, said)}`] : []),
      ...openLine(endpoint),
    ]),
  ];
}

function setAsideLine(setAside: NonNullable<ShownEndpointFacts['setAside']>, said: readonly Found[]): string {
  const { failures, forSeconds } = setAside;
  const until = forSeconds === 0 ? 'while one connection tries it' : `for ${roughly(forSeconds * 1000)} more`;
  return `Set aside ${until}, after ${counted(failures, 'failure')}: ${refusalLine(setAside, said)}`;
}

function refusalLine({ reason, happened, detail }: ShownRefusal, said: readonly Found[]): string {
  if (isSaid({ reason, detail }, said)) return `${printable(reason)}, as above`;
  return `${printable(happened)} (${printable(reason)})${detail === undefined ? '' : `: ${printable(detail)}`}`;
}

function openLine({ tunnels, streams, connections, transport, use }: ShownEndpointFacts): string[] {
  if (use === 'not_used') return [];
  if (transport !== 'hbone') return connections === 0 ? [] : [`${counted(connections, 'connection')} open`];
  if (tunnels === 0) return ['No tunnel is open'];
  return [`${counted(tunnels, 'tunnel')} open, with ${counted(streams, 'connection')}`];
}
