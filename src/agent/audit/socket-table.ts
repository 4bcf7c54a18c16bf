import { open } from 'node:fs/promises';
import type { Address } from '../../addresses.ts';
import { canonicalIp } from '../../addresses.ts';

/** A TCP socket of this network namespace, as the kernel shows it to everybody in there. */
export interface SocketLine {
  /** Half-closed: one side has said that it sends no more, the other one may go on for ever. */
  readonly state: 'established' | 'half-closed' | 'listening' | 'other';
  readonly local: Address;
  readonly remote: Address;
  readonly uid: number;
  /** Names the socket for as long as it is open; 0 when no process has it: not yet accepted, or closed already. */
  readonly inode: number;
}

export const socketTableLimits = { lines: 50_000 } as const;

/** The columns of `/proc/net/tcp` and `/proc/net/tcp6` as the kernel writes them (proc(5)), as far as they are needed. */
const line =
  /^ *\d+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) ([0-9A-F]{2}) [0-9A-F]{8}:[0-9A-F]{8} [0-9A-F]{2}:[0-9A-F]{8} [0-9A-F]{8} +(\d{1,10}) +\d{1,10} +(\d{1,20}) /;
const heading = /^ +sl +local_address +(?:rem_address|remote_address) /;

/** As in the kernel's tcp_states.h: FIN_WAIT1, FIN_WAIT2 and CLOSE_WAIT are open in one direction. */
const states: Readonly<Record<string, SocketLine['state']>> = {
  '01': 'established',
  '04': 'half-closed',
  '05': 'half-closed',
  '08': 'half-closed',
  '0A': 'listening',
};

/** Undefined for the heading; throws `SyntaxError` for anything else that is not a line of the kernel's. */
export function parseSocketLine(text: string): SocketLine | undefined {
  const match = line.exec(text);
  if (match === null) {
    if (heading.test(text)) return undefined;
    throw new SyntaxError(`The table of sockets has a line that cannot be read: ${JSON.stringify(text.slice(0, 160))}`);
  }
  const [, localIp = '', localPort = '', remoteIp = '', remotePort = '', state = '', uid, inode] = match;
  return {
    state: states[state] ?? 'other',
    local: { ip: ipOf(localIp), port: Number.parseInt(localPort, 16) },
    remote: { ip: ipOf(remoteIp), port: Number.parseInt(remotePort, 16) },
    uid: Number(uid),
    inode: Number(inode),
  };
}

const mapped = '0000000000000000FFFF0000';

/** Words of 32 bits, each as a little-endian number: every platform that the sidecar ships for is one. */
function ipOf(hex: string): string {
  if (hex.length === 8) return ipv4Of(hex);
  if (hex.startsWith(mapped)) return ipv4Of(hex.slice(24));
  const groups: string[] = [];
  for (let at = 0; at < 32; at += 8) {
    const word = hex.slice(at, at + 8);
    groups.push(word.slice(6) + word.slice(4, 6), word.slice(2, 4) + word.slice(0, 2));
  }
  return canonicalIp(groups.join(':')) ?? '::';
}

function ipv4Of(word: string): string {
  const bytes = Number.parseInt(word, 16);
  return `${bytes & 255}.${(bytes >>> 8) & 255}.${(bytes >>> 16) & 255}.${bytes >>> 24}`;
}

/**
 * Calls `visit` for each socket of one of the kernel's tables. The kernel gives it out in pieces of some 30 lines, between
 * which everything else goes on, so this is no picture of one moment. Resolves with `false` when it ended at the limit;
 * rejects when it cannot be read. A table that is not there, as without IPv6, is an empty one.
 */
export async function readSocketTable(
  path: string,
  visit: (socket: SocketLine) => void,
  maxLines: number = socketTableLimits.lines,
): Promise<boolean> {
  const file = await open(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (file === undefined) return true;
  try {
    const buffer = Buffer.allocUnsafe(64 * 1024);
    let rest = '';
    let lines = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return true;
      const pieces = (rest + buffer.toString('latin1', 0, bytesRead)).split('\n');
      rest = pieces.pop() ?? '';
      for (const piece of pieces) {
        const socket = parseSocketLine(piece);
        if (socket === undefined) continue;
        if (lines === maxLines) return false;
        lines += 1;
        visit(socket);
      }
    }
  } finally {
    await file.close();
  }
}
