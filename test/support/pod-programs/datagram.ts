/**
 * `listen host:port` answers every datagram with `here`, after a line `ready`. `send host:port` sends one and prints the
 * answer, or `nothing` when there is none.
 */
import { createSocket } from 'node:dgram';
import { splitHostPort } from '../../../src/addresses.ts';

const [role, target = ''] = process.argv.slice(2);
const { host, port } = splitHostPort(target) ?? { host: '', port: 0 };
const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');

if (role === 'listen') {
  socket.on('message', (_, peer) => socket.send('here', peer.port, peer.address));
  socket.bind(port, host, () => process.stdout.write('ready\n'));
} else {
  const finish = (answer: string) => {
    process.stdout.write(`${answer}\n`);
    socket.close();
    clearTimeout(timer);
  };
  const timer = setTimeout(() => finish('nothing'), 1500);
  socket.on('message', (message) => finish(message.toString()));
  socket.send('anybody?', port, host);
}
