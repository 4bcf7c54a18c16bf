import type { Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import { parseArgs } from 'node:util';
import { splitHostPort } from '../../../src/addresses.ts';

/*
 * Holds connections open until its standard input ends. `hold.ts accept ADDRESS…` listens on each and prints `ready`;
 * `hold.ts connect ADDRESS…` dials each and prints `connected`, with `--port N` all from that port, with `--served-port N`
 * from one that it also listens on, with `--half` saying at once that it sends nothing.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { port: { type: 'string' }, 'served-port': { type: 'string' }, half: { type: 'boolean' } },
});
const [manner, ...targets] = positionals;
const servedPort = values['served-port'];
const sourcePort = values.port ?? servedPort;
const addresses = targets.map((text) => splitHostPort(text) ?? { host: text, port: 0 });

const sockets: Socket[] = [];
function hold(socket: Socket): Socket {
  sockets.push(socket);
  return socket.resume().on('error', (error) => console.log(`error ${error.message}`));
}

let pending = addresses.length;
function ready(word: string): void {
  pending -= 1;
  if (pending > 0) return;
  if (servedPort === undefined) console.log(word);
  else createServer().listen(Number(servedPort), () => console.log(word));
}

for (const { host, port } of addresses) {
  if (manner === 'accept') {
    createServer({ allowHalfOpen: true }, hold).listen({ host, port, ipv6Only: true }, () => ready('ready'));
    continue;
  }
  const from = sourcePort === undefined ? {} : { localPort: Number(sourcePort) };
  const socket = hold(connect({ host, port, ...from }, () => ready('connected')));
  if (values.half) socket.end();
}
process.stdin.resume().on('end', () => process.exit(0));
