import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { resetSocket } from '../../src/proxy/leg.ts';

/** What becomes of connections. */
export type Way =
  | { readonly kind: 'passes'; readonly port: number }
  /** Nobody listens. */
  | { readonly kind: 'refuses' }
  /** Accepts, and not a byte comes back. */
  | { readonly kind: 'swallows' }
  /** Passes so many bytes of the server and then resets. */
  | { readonly kind: 'resets'; readonly port: number; readonly afterBytes: number }
  /** Passes one byte of the server a second. */
  | { readonly kind: 'trickles'; readonly port: number };

/** A door in front of a server, at an address that stays while what is behind it breaks. */
export interface Gate {
  readonly port: number;
  /** For new connections. Those that are open are reset, or hear nothing any more and are not told, as in a partition. */
  set(way: Way, open?: 'reset' | 'silenced'): Promise<void>;
  close(): Promise<void>;
}

export async function createGate(first: Way): Promise<Gate> {
  let way = first;
  const open = new Set<Passage>();
  const server = createServer((near) => {
    const passage = createPassage(near, way);
    open.add(passage);
    near.once('close', () => open.delete(passage));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const shut = () => new Promise((resolve) => server.close(resolve));
  return {
    port,
    async set(next, fate = 'reset') {
      const wasShut = way.kind === 'refuses';
      way = next;
      for (const passage of open) fate === 'reset' ? passage.reset() : passage.silence();
      if (next.kind === 'refuses' && !wasShut) await shut();
      if (next.kind !== 'refuses' && wasShut) await once(server.listen(port, '127.0.0.1'), 'listening');
    },
    async close() {
      for (const passage of open) passage.reset();
      if (way.kind !== 'refuses') await shut();
    },
  };
}

interface Passage {
  reset(): void;
  silence(): void;
}

function createPassage(near: Socket, way: Way): Passage {
  let isSilent = way.kind === 'swallows';
  near.on('error', () => undefined).on('data', () => undefined);
  const far = 'port' in way ? connect({ host: '127.0.0.1', port: way.port }) : undefined;
  const reset = () => {
    resetSocket(near);
    far?.destroy();
  };
  let passed = 0;
  far?.on('error', reset).on('close', () => isSilent || near.end());
  far?.on('data', (chunk: Buffer) => {
    if (isSilent) return;
    if (way.kind === 'trickles') return void near.write(chunk.subarray(0, 1));
    if (way.kind !== 'resets') return void near.write(chunk);
    const rest = chunk.subarray(0, way.afterBytes - passed);
    passed += rest.length;
    near.write(rest, () => passed >= way.afterBytes && reset());
  });
  near.on('data', (chunk: Buffer) => isSilent || far?.write(chunk)).on('close', () => far?.destroy());
  return {
    reset,
    silence() {
      isSilent = true;
    },
  };
}
