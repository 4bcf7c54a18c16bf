import type { HandshakesPage, ShownFailure } from '../../admin-api.ts';
import { parseDate } from '../../clock.ts';
import { counted, indented, roughly } from '../../phrases.ts';
import { printable } from '../../printable.ts';
import { tally } from '../admin/amounts.ts';
import type { Column } from '../admin/columns.ts';
import { tableLines } from '../admin/columns.ts';

/** The page for a person: what the reasons mean and what to do, the most frequent first, then each failure, the latest first. */
export function handshakesText({ now, handshakes }: HandshakesPage, columns: number): string[] {
  if (handshakes.length === 0) return ['No handshake has failed'];
  const reasons = tally(handshakes.map(({ reason }) => reason));
  const summary = reasons.map(([reason, count]) => `${count} ${printable(reason)}`).join(', ');
  const nowMs = parseDate(now);
  return [
    `${counted(handshakes.length, 'handshake')} failed that the sidecar remembers: ${summary}`,
    ...reasons.flatMap(([reason]) => reasonLines(handshakes.find((one) => one.reason === reason))),
    '',
    ...tableLines(handshakes, tableAt(nowMs), columns),
  ];
}

/** In the words for the reason, with what exactly was found the last time. */
function reasonLines(latest: ShownFailure | undefined): string[] {
  if (latest === undefined) return [];
  const { reason, happened, remedy, detail, otherReason, otherHappened } = latest;
  const other = otherReason && `The other side says ${printable(otherReason)}: ${printable(otherHappened ?? '')}`;
  return [
    '',
    `${printable(reason)}: ${printable(happened)}`,
    ...indented(2, [
      printable(remedy),
      ...(detail === undefined ? [] : [`Last: ${printable(detail)}`]),
      ...(other ? [other] : []),
    ]),
  ];
}

const tableAt = (nowMs: number): readonly Column<ShownFailure>[] => [
  { title: 'AGO', text: ({ at }) => roughly(Math.max(0, nowMs - parseDate(at))) },
  { title: 'DIR', text: ({ direction }) => (direction === 'inbound' ? 'in' : 'out') },
  { title: 'REASON', text: ({ reason }) => printable(reason) },
  { title: 'PEER', text: peerOf, least: 14 },
  { title: 'TO', text: destinationOf, least: 14 },
  { title: 'CERTIFICATE', text: ({ presentedId }) => printable(presentedId ?? '(none seen)'), least: 16 },
  { title: 'ID', text: ({ id }) => printable(id), least: 16 },
];

/** Where the sidecar of the other side is. */
function peerOf({ direction, peerAddress, tunnelTo, endpoint }: ShownFailure): string {
  return printable(direction === 'inbound' ? peerAddress : (tunnelTo ?? endpoint ?? 'unknown'));
}

/** What was dialled: of a tunnel that comes in, our end of it, since nobody has said yet for which port it is. */
function destinationOf({ direction, originalDestination, tunnelTo }: ShownFailure): string {
  return printable(originalDestination ?? (direction === 'inbound' ? tunnelTo : undefined) ?? 'unknown');
}
