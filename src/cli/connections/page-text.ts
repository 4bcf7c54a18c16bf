import type { ConnectionsPage, ShownConnection } from '../../admin-api.ts';
import { counted, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import { shortBytes, tally } from '../admin/amounts.ts';
import type { Column } from '../admin/columns.ts';
import { tableLines } from '../admin/columns.ts';

/** The page for a person: a summary, then each connection, those that have moved most bytes first. */
export function connectionsText({ connections, leftOut }: ConnectionsPage, columns: number): string[] {
  if (connections.length === 0) return ['No connections'];
  const sorted = [...connections].sort(
    (one, other) => bytesOf(other) - bytesOf(one) || other.ageSeconds - one.ageSeconds,
  );
  const more = leftOut > 0 ? [`Not shown: ${counted(leftOut, 'connection')} more`] : [];
  return [summaryLine(connections), ...more, ...tlsLines(connections), '', ...tableLines(sorted, table, columns)];
}

const bytesOf = ({ bytesSent, bytesReceived }: ShownConnection) => bytesSent + bytesReceived;

function summaryLine(connections: readonly ShownConnection[]): string {
  const inbound = connections.filter(({ direction }) => direction === 'inbound').length;
  const plaintext = connections.filter(({ security }) => security === 'plaintext').length;
  const direct = connections.filter(({ transport }) => transport === 'direct').length;
  const tunnels = new Set(connections.flatMap(({ tunnel }) => (tunnel === undefined ? [] : [tunnel])));
  const parts = [`${inbound} inbound`, `${connections.length - inbound} outbound`];
  const carried = [
    ...(tunnels.size > 0 ? [`in ${counted(tunnels.size, 'tunnel')}`] : []),
    ...(direct > 0 ? [`${direct} directly`] : []),
    ...(plaintext > 0 ? [`${plaintext} in plaintext`] : []),
  ];
  return [`${counted(connections.length, 'connection')}: ${parts.join(', ')}`, ...carried].join('; ');
}

function tlsLines(connections: readonly ShownConnection[]): string[] {
  const kinds = connections.flatMap(({ tlsVersion, group, cipher }) =>
    tlsVersion === undefined ? [] : [[tlsVersion, group, cipher].map((part) => printable(part ?? '')).join(' ')],
  );
  return tally(kinds).map(([kind, count]) => `${kind}: ${counted(count, 'connection')}`);
}

const table: readonly Column<ShownConnection>[] = [
  { title: 'DIR', text: ({ direction }) => (direction === 'inbound' ? 'in' : 'out') },
  { title: 'AGE', text: ({ ageSeconds }) => roughly(ageSeconds * 1000) },
  { title: 'PEER', text: peerOf, least: 16 },
  { title: 'DESTINATION', text: destinationOf, least: 14 },
  { title: 'SENT', text: ({ bytesSent }) => shortBytes(bytesSent), isNumber: true },
  { title: 'RECEIVED', text: ({ bytesReceived }) => shortBytes(bytesReceived), isNumber: true },
  { title: 'TUNNEL', text: ({ tunnel, transport }) => printable(tunnel ?? transport) },
  { title: 'ID', text: ({ id }) => printable(id), least: 16 },
];

/** Who has proved to be at the other end; an address in plaintext, where nobody has. */
function peerOf({ direction, peerId, peerAddress, endpoint }: ShownConnection): string {
  return printable(peerId ?? (direction === 'outbound' ? endpoint : undefined) ?? peerAddress);
}

function destinationOf({ service, originalDestination }: ShownConnection): string {
  if (service === undefined) return printable(originalDestination);
  return printable(`${service}${originalDestination.slice(originalDestination.lastIndexOf(':'))}`);
}
