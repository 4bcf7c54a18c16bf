import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';

/*
 * Many downloads at once, by a client that knows nothing of the mesh. `parallel.ts HOST PORT BYTES COUNT`; prints how many
 * arrived whole, and in which time, as one JSON line.
 */
const [host = '', port = '', bytes = '', count = ''] = process.argv.slice(2);

async function isWhole(): Promise<boolean> {
  const socket = connect({ host, port: Number(port), allowHalfOpen: true });
  await once(socket, 'connect');
  socket.write(bytes);
  const all = await buffer(socket);
  const hash = createHash('sha256').update(all.subarray(0, -64)).digest('hex');
  return all.length === Number(bytes) + 64 && all.subarray(-64).toString() === hash;
}

const startedMs = performance.now();
const downloads = await Promise.all(Array.from({ length: Number(count) }, isWhole));
const tookMs = performance.now() - startedMs;
console.log(JSON.stringify({ whole: downloads.filter(Boolean).length, tookMs }));
process.exit(0);
