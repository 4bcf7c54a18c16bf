import type { ClientFacts } from './client-report.ts';
import type { Picture, PodPicture, RefusalPicture } from './picture.ts';
import { meshMarker } from './report.ts';
import type { Edge } from './sidecar-log.ts';
import { counted, tally, wordsOf } from './words.ts';

/** The proof stands first: a small terminal cuts the end. The picture as lines of text of at most `columns` characters, without any control character. */
export function renderTable(picture: Picture, columns: number): string[] {
  const lines = [
    ...titleLines(picture),
    '',
    ...columnsOf([podHeader, ...picture.pods.map((pod) => podRow(pod, picture.nowMs))]),
    '',
    ...applicationLines(picture),
    '',
    ...columnsOf([['TRY', 'IN ANOTHER TERMINAL'], ...picture.hints.map(({ title, command }) => [title, command])]),
    '',
    ...edgeLines(picture),
    '',
    ...refusalLines(picture.refusals),
    ...(picture.notes.length === 0 ? [] : ['', ...picture.notes]),
  ];
  return lines.map((line) => shortened(printable(line), columns));
}

/** The picture as one line, for an output that is no terminal. */
export function renderLine({ elapsedMs, now, pods, clients, refusals, wire, notes }: Picture): string {
  const facts = pods.flatMap(({ sidecar }) => (sidecar?.facts === undefined ? [] : [sidecar.facts]));
  const sum = (pick: (one: (typeof facts)[number]) => number) => facts.reduce((total, one) => total + pick(one), 0);
  const refused = refusals.map(({ peer, reason, count }) => `${peer} ${reason} ${count}×`);
  return [
    clockText(elapsedMs),
    now,
    counted(
      sum((one) => one.handshakes.accepted),
      'handshake',
    ),
    counted(
      sum((one) => one.renewals),
      'renewal',
    ),
    ...Object.entries(clients).map(([name, client]) => `${name}: ${clientText(client)}`),
    refused.length === 0 ? 'nothing refused' : `refused: ${refused.join(', ')}`,
    wireText(wire.clearBytes[meshMarker] ?? 0, wire.frames, wire.tunnelFrames),
    ...notes,
  ].join(' · ');
}

function titleLines({ elapsedMs, where, now }: Picture): string[] {
  return [`remora demo · ${clockText(elapsedMs)} · Ctrl-C ends it and removes everything`, where, now];
}

const podHeader = ['POD', 'IDENTITY', 'CERTIFICATE', 'RENEWED', 'HANDSHAKES', 'CONNECTIONS'];

function podRow({ name, sidecar }: PodPicture, nowMs: number): string[] {
  if (sidecar === undefined) return [name, 'none: it has no sidecar'];
  const { identity = 'not yet', facts } = sidecar;
  if (facts === undefined) return [name, identity, 'not yet'];
  const { handshakes, connections, renewals, certificateEndsMs } = facts;
  return [
    name,
    identity,
    certificateEndsMs === undefined
      ? 'not yet'
      : `ends in ${Math.max(0, Math.round((certificateEndsMs - nowMs) / 1000))} s`,
    `${renewals}×`,
    nonZero(handshakes),
    `${connections.total.toLocaleString('en-US')} carried, ${connections.open} open`,
  ];
}

/** `2 accepted, 10 failed`. */
function nonZero(counts: Readonly<Record<string, number>>): string {
  const parts = Object.entries(counts).filter(([, count]) => count > 0);
  return parts.length === 0 ? 'none' : parts.map(([what, count]) => `${count} ${what}`).join(', ');
}

function edgeLines({ edges }: Picture): string[] {
  if (edges.length === 0) return ['WHO TALKS TO WHOM', 'nobody yet'];
  return columnsOf([['WHO TALKS TO WHOM', 'DIALLED', 'SERVICE', 'SECURITY', 'CONNECTIONS'], ...edges.map(edgeRow)]);
}

function edgeRow({ from, to, destination, service, security, connections }: Edge): string[] {
  const secured = security === 'mutual_tls' ? 'mutual TLS' : security;
  return [`${workloadOf(from)} → ${workloadOf(to)}`, destination, service || 'pod address', secured, `${connections}`];
}

/** `web` of `spiffe://cluster.local/ns/demo/sa/web`: the whole identity stands above. */
function workloadOf(identity: string): string {
  return identity.replace(/^.*\/sa\//, '');
}

function refusalLines(refusals: readonly RefusalPicture[]): string[] {
  // Who refused has said so already; the other end only tells of it.
  const told = refusals.filter(({ reason }) => reason !== 'peer_refused');
  if (told.length === 0) return ['REFUSED SINCE THE START', 'nobody yet'];
  return columnsOf([
    ['REFUSED SINCE THE START', 'TIMES', 'REASON', 'WHY, AND WHAT TO DO'],
    ...told.flatMap(refusalRows),
  ]);
}

function refusalRows({ peer, sidecar, reason, count }: RefusalPicture): string[][] {
  const { happened, remedy } = wordsOf(reason);
  return [
    [`${peer} by ${sidecar}`, `${count}`, reason, happened],
    ['', '', '', `→ ${remedy}`],
  ];
}

function applicationLines({ clients, wire }: Picture): string[] {
  const rows = Object.entries(clients).map(([name, client]) => [name, clientText(client)]);
  const read = wireText(wire.clearBytes[meshMarker] ?? 0, wire.frames, wire.tunnelFrames);
  return columnsOf([['APPLICATIONS', ''], ...rows, ['the wire', read]]);
}

function clientText({ sent, ok, saw }: ClientFacts): string {
  const instead = tally(saw);
  return `${counted(sent, 'request')}, ${ok.toLocaleString('en-US')} answered${instead && `, saw ${instead}`}`;
}

function wireText(clearBytes: number, frames: number, tunnelFrames: number): string {
  return `${counted(clearBytes, 'byte')} between web and api in clear (${counted(frames, 'frame')} seen, ${tunnelFrames.toLocaleString('en-US')} of tunnels)`;
}

/** Pads every column but the last of each row to the widest of its cells. */
function columnsOf(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) {
      // A cell at the end of a row may run on beneath the columns of the others.
      if (index < row.length - 1) widths[index] = Math.max(widths[index] ?? 0, cell.length);
    }
  }
  return rows.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

function clockText(elapsedMs: number): string {
  const seconds = Math.floor(elapsedMs / 1000);
  return `${String(Math.floor(seconds / 60)).padStart(2, '0')}:${String(seconds % 60).padStart(2, '0')}`;
}

function shortened(line: string, columns: number): string {
  return line.length <= columns ? line : `${line.slice(0, Math.max(0, columns - 1))}…`;
}

/** What peers said stands in some of the cells; it must not steer the terminal. */
function printable(line: string): string {
  return line.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '\uFFFD');
}
