import type { Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { splitHostPort } from '../../../src/addresses.ts';

/*
 * Holds connections open until its standard input ends. `hold.ts accept ADDRESS…` listens on each and prints `ready`;
 * `hold.ts connect ADDRESS…` dials each and prints `connected`, with `--port N` all from that port.
 */
const [manner, ...rest] = process.argv.slice(2);
const sourcePort = rest[0] === '--port' ? Number(rest.splice(0, 2)[1]) : undefined;
const addresses = rest.map((text) => splitHostPort(text) ?? { host: text, port: 0 });

const sockets: Socket[] = [];
function hold(socket: Socket): Socket {
  sockets.push(socket);
  return socket.resume().on('error', (error) => console.log(`error ${error.message}`));
}

let pending = addresses.length;
function ready(word: string): void {
  pending -= 1;
  if (pending === 0) console.log(word);
}

for (const { host, port } of addresses) {
  if (manner === 'accept')
    createServer({ allowHalfOpen: true }, hold).listen({ host, port, ipv6Only: true }, () => ready('ready'));
  else
    hold(connect({ host, port, ...(sourcePort !== undefined && { localPort: sourcePort }) }, () => ready('connected')));
}
process.stdin.resume().on('end', () => process.exit(0));
